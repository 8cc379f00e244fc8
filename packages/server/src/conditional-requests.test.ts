import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Answer, type Served, serveFake } from './testing/http-client.js'

/** Conditions and Idempotency-Key over a real socket: what reaches the node, what has an effect, and what is answered. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())
beforeEach(() => {
  served.node.data.clear()
  served.node.guards.length = 0
})

type Headers = Record<string, string>

const PATH = '/v1/kv/a'
const write = (method: string, headers: Headers = {}, body = 'new', path = PATH) =>
  served.send({ method, path, headers, ...(method === 'PUT' && { body }) })
const put = (headers: Headers = {}, body = 'new', path = PATH) => write('PUT', headers, body, path)
const value = () => served.node.data.get('default\x00a')?.value.toString()
const version = (answer: Answer) => Number(answer.headers.etag!.slice(1, -1))

/** The key exists, and its tag is returned. */
async function existing(): Promise<string> {
  return (await put({}, 'old')).headers.etag!
}

function expectMismatch(answer: Answer, etag: string | undefined): void {
  expect(answer.json()).toMatchObject({ status: 412, code: 'VERSION_MISMATCH', retry: 'never' })
  expect(answer.headers['content-type']).toBe('application/problem+json')
  expect(answer.headers.etag).toBe(etag)
}

describe('a plain write', () => {
  it('has no guard', async () => {
    await put()
    await write('DELETE')
    expect(served.node.guards).toEqual([undefined, undefined])
  })
})

describe.each(['PUT', 'DELETE'])('%s', (method) => {
  const effect = method === 'PUT' ? 'new' : undefined

  it('with If-Match takes effect on that version alone', async () => {
    const etag = await existing()
    expectMismatch(await write(method, { 'if-match': '"9007199254740991"' }), etag)
    expect(value()).toBe('old')
    const written = await write(method, { 'if-match': etag })
    expect(written.status).toBe(204)
    expect(`"${version(written)}"`).not.toBe(etag)
    expect(value()).toBe(effect)
    expect(served.node.guards.slice(1)).toEqual([{ ifVersion: 2 ** 53 - 1 }, { ifVersion: Number(etag.slice(1, -1)) }])
    expectMismatch(await write(method, { 'if-match': etag }), method === 'PUT' ? written.headers.etag : undefined)
  })

  it('with If-Match: * takes effect on what is there', async () => {
    expectMismatch(await write(method, { 'if-match': '*' }), undefined)
    await existing()
    expect((await write(method, { 'if-match': '*' })).status).toBe(204)
    expect(value()).toBe(effect)
    expect(served.node.guards[0]).toEqual({ ifPresent: true })
  })

  it('with If-None-Match: * takes effect on what is not there', async () => {
    const created = await write(method, { 'if-none-match': '*' })
    expect(created.status).toBe(204)
    expect(version(created)).toBeGreaterThan(0)
    expect(served.node.guards[0]).toEqual({ ifVersion: 0 })
    const etag = await existing()
    expectMismatch(await write(method, { 'if-none-match': '*' }), etag)
    expect(value()).toBe('old')
  })

  it.each<[string, Headers, string]>([
    ['both', { 'if-match': '"1"', 'if-none-match': '*' }, 'not both'],
    ['both stars', { 'if-match': '*', 'if-none-match': '*' }, 'not both'],
    ['a list', { 'if-match': '"1", "2"' }, 'not a list'],
    ['a weak tag', { 'if-match': 'W/"1"' }, 'strong'],
    ['a star in a list', { 'if-match': '*, "1"' }, 'If-Match is *'],
    ['no tag', { 'if-match': '' }, 'If-Match is *'],
    ['a tag without quotes', { 'if-match': '1' }, 'double quotes'],
    ['version 0', { 'if-match': '"0"' }, 'from 1'],
    ['a leading zero', { 'if-match': '"01"' }, 'from 1'],
    ['a version beyond 53 bits', { 'if-match': '"9007199254740992"' }, '2^53-1'],
    ['a tag of someone else', { 'if-match': '"abc"' }, 'from 1'],
    ['If-None-Match with a tag', { 'if-none-match': '"1"' }, '* alone'],
    ['If-None-Match with a list', { 'if-none-match': '*, "1"' }, '* alone'],
    ['an empty If-None-Match', { 'if-none-match': '' }, '* alone'],
    ['an empty Idempotency-Key', { 'idempotency-key': '' }, 'Idempotency-Key'],
    ['an Idempotency-Key with a space', { 'idempotency-key': 'a b' }, 'visible ASCII'],
    ['two Idempotency-Keys', { 'idempotency-key': 'a, b' }, 'visible ASCII'],
    ['an Idempotency-Key that is too long', { 'idempotency-key': 'x'.repeat(256) }, '255'],
    ['an Idempotency-Key that is not ASCII', { 'idempotency-key': '\xe9' }, 'visible ASCII'],
  ])('with %s is refused, and nothing is written', async (_, headers, detail) => {
    const answer = await write(method, headers)
    expect(answer.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(answer.json().detail).toContain(detail)
    expect(served.node.guards).toEqual([])
  })

  it('with an Idempotency-Key takes effect once, and a retry has the first answer', async () => {
    const first = await write(method, { 'idempotency-key': `once-${method}` })
    expect(first.status).toBe(204)
    await put({}, 'later')
    const retry = await write(method, { 'idempotency-key': `"once-${method}"` })
    expect([retry.status, retry.headers.etag]).toEqual([204, first.headers.etag])
    expect(value()).toBe('later')
    expect(served.node.guards[0]!.idempotency).toHaveLength(32)
    expect(served.node.guards[0]).toEqual(served.node.guards[2])
  })

  it('with an Idempotency-Key remembers a mismatch as well', async () => {
    const headers = { 'if-match': '"9007199254740991"', 'idempotency-key': `mismatch-${method}` }
    const etag = await existing()
    expectMismatch(await write(method, headers), etag)
    await put({}, 'later')
    expectMismatch(await write(method, headers), etag)
  })
})

describe('an Idempotency-Key', () => {
  it('used for another request is 422', async () => {
    const headers = { 'idempotency-key': 'reused' }
    await put(headers, 'one')
    const others = [
      put(headers, 'two'),
      write('DELETE', headers),
      put({ ...headers, 'if-match': '*' }, 'one'),
      put({ ...headers, 'if-none-match': '*' }, 'one'),
      put({ ...headers, 'if-match': '"1"' }, 'one'),
    ]
    for (const other of await Promise.all(others)) {
      expect(other.json()).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_REUSED', retry: 'never' })
    }
    expect(value()).toBe('one')
  })

  it('belongs to one key of the store, however that is spelled, and to one keyspace', async () => {
    const headers = { 'idempotency-key': 'scope' }
    const first = version(await put(headers, 'v'))
    expect(version(await put(headers, 'v', '/v1/kv/61?encoding=hex&timeoutMs=900'))).toBe(first)
    expect(version(await put(headers, 'v', '/v1/kv/a?keyspace=default'))).toBe(first)
    expect(version(await put(headers, 'other', '/v1/kv/b'))).toBeGreaterThan(first)
    expect((await put(headers, 'other', '/v1/kv/a?keyspace=orders')).status).toBe(204)
  })

  it('is nothing that a read looks at', async () => {
    const etag = await existing()
    const read = await served.send({ path: PATH, headers: { 'idempotency-key': 'a b' } })
    expect([read.status, read.headers.etag]).toEqual([200, etag])
  })
})

describe.each(['GET', 'HEAD'])('%s', (method) => {
  const read = (headers: Headers) => served.send({ method, path: PATH, headers })
  const content = method === 'GET' ? 'old' : ''

  it('with If-None-Match is 304 without a body when the version is among them', async () => {
    const etag = await existing()
    for (const field of [etag, `W/${etag}`, '*', `"x", ${etag}`, `"5,6",W/${etag},`]) {
      const answer = await read({ 'if-none-match': field })
      expect([answer.status, answer.text, answer.headers.etag]).toEqual([304, '', etag])
      expect(answer.headers['content-type']).toBeUndefined()
    }
    for (const field of ['"9007199254740991"', `"0${etag.slice(1)}`, '"x", W/"y"']) {
      const answer = await read({ 'if-none-match': field })
      expect([answer.status, answer.text, answer.headers.etag]).toEqual([200, content, etag])
    }
  })

  it('with If-Match is 412 when the version is not among them', async () => {
    const etag = await existing()
    for (const field of ['"9007199254740991"', `W/${etag}`, '"x"']) {
      const answer = await read({ 'if-match': field })
      expect([answer.status, answer.headers.etag]).toEqual([412, etag])
      if (method === 'GET') expectMismatch(answer, etag)
    }
    for (const field of [etag, '*', `"x", ${etag}`]) expect((await read({ 'if-match': field })).status).toBe(200)
  })

  it('with both looks at If-Match first', async () => {
    const etag = await existing()
    expect((await read({ 'if-match': etag, 'if-none-match': etag })).status).toBe(304)
    expect((await read({ 'if-match': '"x"', 'if-none-match': etag })).status).toBe(412)
    expect((await read({ 'if-match': etag, 'if-none-match': '"x"' })).status).toBe(200)
  })

  it('of a key that is not there is 404 under every condition', async () => {
    for (const header of ['if-match', 'if-none-match']) {
      for (const field of ['*', '"1"']) expect((await read({ [header]: field })).status).toBe(404)
    }
  })

  it('with a garbled condition is refused', async () => {
    await existing()
    for (const header of ['if-match', 'if-none-match']) {
      for (const field of ['', '1', '"1', '"1" "2"', '*, "1"']) {
        expect((await read({ [header]: field })).status).toBe(400)
      }
    }
  })
})

describe('a read that was not changed', () => {
  it('leaves the connection in order, and is counted', async () => {
    const fresh = await serveFake()
    const { etag } = (await fresh.send({ method: 'PUT', path: PATH, body: 'v' })).headers
    await fresh.send({ path: PATH, headers: { 'if-none-match': etag! } })
    expect((await fresh.get(PATH)).text).toBe('v')
    const lines = (await fresh.get('/metrics')).text.split('\n')
    expect(lines).toContain('cordillera_http_requests_total{method="GET",status="3xx"} 1')
    await fresh.close()
  })
})
