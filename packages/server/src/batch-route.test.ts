import { keyspacePrefix, spreadKey } from '@cordillera/ranges'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Served, serveFake } from './testing/http-client.js'

/** `POST /v1/batch`: what is taken, what is refused, and that a refusal has written nothing. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())
beforeEach(() => served.node.data.clear())

const send = (body: unknown, query = '', headers: Record<string, string> = {}) =>
  served.send({
    ...{ method: 'POST', path: `/v1/batch${query}`, headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
const put = (key: string, value: string, more: object = {}) => ({ op: 'put', key, value, ...more })
const held = () =>
  Object.fromEntries([...served.node.data].map(([key, { value }]) => [key, Buffer.from(value).toString()]))

describe('a batch', () => {
  it('is written whole, at the version that it is answered with', async () => {
    await send({ ops: [put('gone', 'x')] })
    const answer = await send({ ops: [put('a', '1'), put('b/é', ''), { op: 'del', key: 'gone' }] })
    expect([answer.status, answer.json()]).toEqual([200, { version: expect.any(Number) }])
    expect(held()).toEqual({ 'default\0a': '1', [`default\0b/${Buffer.from('é').toString('latin1')}`]: '' })
    const { version } = answer.json<{ version: number }>()
    expect((await served.get('/v1/kv/a')).headers.etag).toBe(`"${version}"`)
  })

  it('goes to the keyspace that is named, and takes bytes in their encodings', async () => {
    const key = Buffer.from([0xff, 0]).toString('base64url')
    await send({ ops: [put(key, Buffer.from([1]).toString('base64url'))] }, '?keyspace=orders&encoding=base64url')
    await send({ ops: [put('ff01', '02')] }, '?keyspace=orders&encoding=hex')
    await send({ ops: [put(key, '', { encoding: 'base64url' }), put('text', 't')] }, '?keyspace=orders&spread=true')
    const [plain, spread] = [keyspacePrefix('orders'), keyspacePrefix('orders', true)]
    expect([...served.node.data.keys()]).toEqual([
      ...[`${plain}\xff\0`, `${plain}\xff\x01`, spreadKey(spread, '\xff\0'), spreadKey(spread, 'text')],
    ])
  })

  it('has conditions for its keys, of which all hold or nothing is written', async () => {
    const { version } = (await send({ ops: [put('a', '1')] })).json<{ version: number }>()
    const refused = await send({ ops: [put('b', '2', { ifVersion: 0 }), put('a', '2', { ifVersion: version + 1 })] })
    expect([refused.status, refused.json<{ code: string }>().code]).toEqual([412, 'VERSION_MISMATCH'])
    expect(held()).toEqual({ 'default\0a': '1' })
    expect((await send({ ops: [put('b', '2', { ifVersion: 0 }), put('a', '2', { ifVersion: version })] })).status).toBe(
      200,
    )
  })

  it('that is sent again under its Idempotency-Key has its outcome again; another one under that key is refused', async () => {
    const once = { 'idempotency-key': 'transfer-7' }
    const first = (await send({ ops: [put('a', '1')] }, '', once)).json()
    await send({ ops: [put('a', 'later')] })
    expect((await send({ ops: [put('a', '1')] }, '?timeoutMs=900', once)).json()).toEqual(first)
    expect(held()).toEqual({ 'default\0a': 'later' })
    expect((await send({ ops: [put('a', 'other')] }, '', once)).status).toBe(422)
  })

  it.each([
    ['nothing', { ops: [] }, 400, 'BAD_REQUEST', 'ops has at least 1'],
    ['no list', { ops: 'all' }, 400, 'BAD_REQUEST', 'ops is a list'],
    ['no member', {}, 400, 'BAD_REQUEST', 'the member ops is missing'],
    ['an unknown operation', { ops: [put('a', '1'), { op: 'incr', key: 'a' }] }, 400, 'BAD_REQUEST', 'ops[1] is not'],
    ['a put without a value', { ops: [{ op: 'put', key: 'a' }] }, 400, 'BAD_REQUEST', 'ops[0] is not'],
    ['an unknown member', { ops: [put('a', '1', { ttl: 5 })] }, 400, 'BAD_REQUEST', 'ops[0] is not'],
    ['a version that is none', { ops: [put('a', '1', { ifVersion: -1 })] }, 400, 'BAD_REQUEST', 'ops[0] is not'],
    ['an empty key', { ops: [put('', '1')] }, 400, 'KEY_EMPTY', ''],
    ['half a character', '{"ops":[{"op":"put","key":"\\ud800","value":""}]}', 400, 'BAD_ENCODING', 'surrogate'],
    [
      'half a character as a value',
      '{"ops":[{"op":"put","key":"a","value":"\\udc00"}]}',
      400,
      'BAD_ENCODING',
      'surrogate',
    ],
    ['an encoding that does not fit', { ops: [put('a=b', '', { encoding: 'base64url' })] }, 400, 'BAD_ENCODING', ''],
    ['a key that is too large', { ops: [put('k'.repeat(4097), '')] }, 413, 'KEY_TOO_LARGE', '4096'],
    ['a body beyond any batch', { ops: [put('a', 'v'.repeat(33 << 20))] }, 413, 'BATCH_TOO_LARGE', 'bytes'],
  ] as const)('of %s is refused, and nothing is written', async (_, body, status, code, detail) => {
    const answer = await send(body)
    expect([answer.status, answer.json<{ code: string }>().code]).toEqual([status, code])
    expect(answer.json<{ detail: string }>().detail).toContain(detail)
    expect(served.node.data.size).toBe(0)
  })

  it('is not taken by another method, nor with a parameter that it does not know', async () => {
    expect((await served.get('/v1/batch')).status).toBe(405)
    expect((await send({ ops: [put('a', '1')] }, '?prefix=a')).status).toBe(400)
  })
})
