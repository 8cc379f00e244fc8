import { Buffer } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Served, serveFake, testClock } from './testing/http-client.js'

/** Single keys over a real loopback socket: what is stored under which key, and what each kind of bad input answers. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())
beforeEach(() => {
  served.node.data.clear()
  served.node.failure = undefined
})

const put = (path: string, body: string | Uint8Array = '', headers: Record<string, string> = {}) =>
  served.send({ method: 'PUT', path, body, headers })

describe('a key', () => {
  it('is written, read, described and deleted', async () => {
    const written = await put('/v1/kv/a', 'hello')
    expect(written.status).toBe(204)
    expect(written.headers.etag).toMatch(/^"\d+"$/)
    expect(served.node.data.has('default\x00a')).toBe(true)

    const read = await served.get('/v1/kv/a')
    expect(read).toMatchObject({ status: 200, text: 'hello' })
    expect(read.headers).toMatchObject({ etag: written.headers.etag, 'content-length': '5' })
    expect(read.headers['content-type']).toBe('application/octet-stream')

    const head = await served.send({ method: 'HEAD', path: '/v1/kv/a' })
    expect(head).toMatchObject({ status: 200, text: '' })
    expect(head.headers).toMatchObject({ etag: written.headers.etag, 'content-length': '5' })

    const deleted = await served.send({ method: 'DELETE', path: '/v1/kv/a' })
    expect(deleted.status).toBe(204)
    expect(deleted.headers.etag).toMatch(/^"\d+"$/)
    expect((await served.get('/v1/kv/a')).json()).toMatchObject({ status: 404, code: 'KEY_NOT_FOUND', retry: 'never' })
    expect((await served.send({ method: 'DELETE', path: '/v1/kv/a' })).status).toBe(204)
    expect(await served.send({ method: 'HEAD', path: '/v1/kv/a' })).toMatchObject({ status: 404, text: '' })
  })

  it('may have an empty value, declared or chunked', async () => {
    expect((await put('/v1/kv/empty')).status).toBe(204)
    const chunked = await put('/v1/kv/chunked', '', { 'transfer-encoding': 'chunked' })
    expect(chunked.status).toBe(204)
    for (const key of ['empty', 'chunked']) {
      expect(await served.get(`/v1/kv/${key}`)).toMatchObject({ status: 200, text: '' })
    }
  })

  it.each([
    ['slashes, dots and double slashes', '/v1/kv/a/../b//c/./d', 'a/../b//c/./d'],
    ['a slash alone', '/v1/kv//', '/'],
    ['a percent-encoded slash', '/v1/kv/a%2Fb', 'a/b'],
    ['decoded once', '/v1/kv/%2541', '%41'],
    ['a plus sign', '/v1/kv/a+b', 'a+b'],
    ['a space and a question mark', '/v1/kv/a%20b%3Fc', 'a b?c'],
    ['a zero byte', '/v1/kv/a%00b', 'a\x00b'],
    ['UTF-8', '/v1/kv/%C3%A9', '\xc3\xa9'],
    ['decomposed UTF-8, not normalized', '/v1/kv/e%CC%81', 'e\xcc\x81'],
    ['hex', '/v1/kv/00ff?encoding=hex', '\x00\xff'],
    ['base64url', '/v1/kv/_-8?encoding=base64url', '\xff\xef'],
    ['an empty query', '/v1/kv/a?', 'a'],
    ['an absolute target', 'http://cordillera.example/v1/kv/abs', 'abs'],
  ])('%s', async (_, path, key) => {
    expect((await put(path, 'v')).status).toBe(204)
    expect([...served.node.data.keys()]).toEqual([`default\x00${key}`])
    expect((await served.get(path)).text).toBe('v')
  })

  it('and its value may have the largest size', async () => {
    const path = `/v1/kv/${'%6B'.repeat(4096)}`
    const value = Buffer.alloc(1 << 20, 7)
    expect((await put(path, value)).status).toBe(204)
    expect((await served.get(path)).body.equals(value)).toBe(true)
  })

  it('keeps any bytes as they are', async () => {
    const value = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    await put('/v1/kv/bytes', value)
    expect((await served.get('/v1/kv/bytes')).body.equals(value)).toBe(true)
  })

  it('has a deadline of five seconds, or the one asked for', async () => {
    const before = testClock.now()
    await served.get('/v1/kv/a')
    await served.get('/v1/kv/a?timeoutMs=200')
    await put('/v1/kv/a?timeoutMs=300', 'x')
    const waits = served.node.deadlines.slice(-3).map((deadline) => deadline - before)
    expect(waits[0]).toBeGreaterThanOrEqual(5_000)
    expect(waits[1]).toBeLessThan(5_000)
    expect(waits[2]).toBeLessThan(5_000)
  })
})

describe('bad input', () => {
  it.each([
    ['PUT', '/v1/kv/', 400, 'KEY_EMPTY'],
    ['GET', '/v1/kv/', 400, 'KEY_EMPTY'],
    ['DELETE', '/v1/kv/?encoding=hex', 400, 'KEY_EMPTY'],
    ['PUT', '/v1/kv/%', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/a%2', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/a%zz', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/%FF', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/%C0%80', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/%ED%A0%80', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/abc?encoding=hex', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/xy?encoding=hex', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/a?encoding=base64url', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/YR?encoding=base64url', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/a?encoding=utf8', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/kv/a?%zz=1', 400, 'BAD_ENCODING'],
    ['PUT', '/v1/kv/a?ttl=1', 400, 'BAD_REQUEST'],
    ['PUT', '/v1/kv/a?__proto__=1', 400, 'BAD_REQUEST'],
    ['GET', '/v1/kv/a?timeoutMs=0', 400, 'BAD_REQUEST'],
    ['GET', '/v1/kv/a?timeoutMs=-5', 400, 'BAD_REQUEST'],
    ['GET', '/v1/kv/a?timeoutMs=1e3', 400, 'BAD_REQUEST'],
    ['GET', '/v1/kv/a?timeoutMs=100000000', 400, 'BAD_REQUEST'],
    ['GET', '/v1/kv/a?timeoutMs=5&timeoutMs=6', 400, 'BAD_REQUEST'],
    ['POST', '/v1/kv/a', 405, 'METHOD_NOT_ALLOWED'],
    ['PATCH', '/v1/kv/a', 405, 'METHOD_NOT_ALLOWED'],
    ['PROPFIND', '/v1/kv/a', 405, 'METHOD_NOT_ALLOWED'],
    ['OPTIONS', '/v1/kv/a', 405, 'METHOD_NOT_ALLOWED'],
  ])('%s %s → %i %s', async (method, path, status, code) => {
    const body = method === 'PUT' ? 'value' : undefined
    const answer = await served.send({ method, path, ...(body && { body }) })
    expect(answer.status).toBe(status)
    expect(answer.headers['content-type']).toBe('application/problem+json')
    expect(answer.json()).toMatchObject({ status, code, retry: 'never' })
    expect(Object.keys(answer.json()).sort()).toEqual(['code', 'detail', 'retry', 'status', 'title', 'type'])
    if (status === 405) expect(answer.headers.allow).toBe('GET, HEAD, PUT, DELETE')
    expect(served.node.data.size).toBe(0)
  })

  it.each([
    ['as text', 'k'.repeat(4097)],
    ['percent-encoded', '%6B'.repeat(4097)],
    ['in base64url', `${Buffer.alloc(4097).toString('base64url')}?encoding=base64url`],
    ['longer than any request line', 'k'.repeat(100_000)],
  ])('a key that is too large (%s) → 413 KEY_TOO_LARGE', async (_, key) => {
    const answer = await put(`/v1/kv/${key}`, 'value')
    expect(answer.json()).toMatchObject({ status: 413, code: 'KEY_TOO_LARGE' })
    expect(served.node.data.size).toBe(0)
  })

  it('a part of a value is refused, not taken for the whole', async () => {
    for (const method of ['PUT', 'DELETE']) {
      const answer = await served.send({ method, path: '/v1/kv/a', headers: { 'content-range': 'bytes 0-1/2' } })
      expect(answer.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
      expect(answer.json().detail).toContain('content-range')
    }
    expect(served.node.data.size).toBe(0)
  })

  it.each([
    ['by its declared length', {}],
    ['while it arrives', { 'transfer-encoding': 'chunked' }],
  ])('a value that is too large is refused %s, and the connection goes on', async (_, headers) => {
    const answer = await put('/v1/kv/a', Buffer.alloc((1 << 20) + 1), headers)
    expect(answer.json()).toMatchObject({ status: 413, code: 'VALUE_TOO_LARGE' })
    const large = await put('/v1/kv/a', Buffer.alloc(12 << 20), headers)
    expect(large.json()).toMatchObject({ status: 413, code: 'VALUE_TOO_LARGE' })
    expect((await put('/v1/kv/b', 'next')).status).toBe(204)
    expect([...served.node.data.keys()]).toEqual(['default\x00b'])
  })
})

describe('a failure of the node', () => {
  it.each([
    ['OVERLOADED', 429, '1'],
    ['UNAVAILABLE', 503, '1'],
    ['CLOSED', 503, '1'],
    ['OUTCOME_UNKNOWN', 504, undefined],
  ] as const)('%s', async (code, status, retryAfter) => {
    served.node.failure = new CordilleraError(code, { detail: 'why' })
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const answer = await served.send({ method, path: '/v1/kv/a' })
      expect(answer.status).toBe(status)
      expect(answer.json()).toMatchObject({ code, status, detail: 'why' })
      expect(answer.headers['retry-after']).toBe(retryAfter)
    }
  })

  it('that has no code is INTERNAL, logged, and does not show', async () => {
    served.node.failure = new TypeError('secret') as unknown as CordilleraError
    const answer = await served.get('/v1/kv/a')
    expect(answer.json()).toMatchObject({ status: 500, code: 'INTERNAL' })
    expect(answer.text).not.toContain('secret')
    expect(served.logged).toContain('request-failed')
  })
})
