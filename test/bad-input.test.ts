import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exchange, get, put, type Sending, send } from './http-client.js'
import { UnharmedNode } from './unharmed-node.js'

/** What nobody should send over HTTP: a clear answer with a code, nothing is written, and the node goes on. */
const KEY_BYTES_MAX = 4096
const VALUE_BYTES_MAX = 1 << 20

const node = new UnharmedNode()
beforeAll(() => node.start())
afterAll(() => node.close())

type Row = readonly [what: string, target: string, sending: Sending, status: number, code: string]

const write = (body: string | Uint8Array = 'x'): Sending => ({ method: 'PUT', body })

const refused: readonly Row[] = [
  ['an empty key', '/v1/kv/', write(), 400, 'KEY_EMPTY'],
  ['an empty key, read', '/v1/kv/', {}, 400, 'KEY_EMPTY'],
  ['a key too large', `/v1/kv/${'k'.repeat(KEY_BYTES_MAX + 1)}`, write(), 413, 'KEY_TOO_LARGE'],
  ['a key too large, decoded', `/v1/kv/${'%C3%A9'.repeat(KEY_BYTES_MAX / 2)}k`, write(), 413, 'KEY_TOO_LARGE'],
  ['a value too large', '/v1/kv/large', write(Buffer.alloc(VALUE_BYTES_MAX + 1)), 413, 'VALUE_TOO_LARGE'],
  [
    'a value too large, in chunks',
    '/v1/kv/large',
    { ...write(Buffer.alloc(VALUE_BYTES_MAX + 1)), headers: { 'transfer-encoding': 'chunked' } },
    413,
    'VALUE_TOO_LARGE',
  ],
  ['a wrong method on a key', '/v1/kv/a', { method: 'POST', body: 'x' }, 405, 'METHOD_NOT_ALLOWED'],
  ['a wrong method on an endpoint', '/v1/admin/cluster', { method: 'DELETE' }, 405, 'METHOD_NOT_ALLOWED'],
  ['an unknown path', '/v1/keys', {}, 404, 'NOT_FOUND'],
  ['an unknown path, written', '/v2/kv/a', write(), 404, 'NOT_FOUND'],
  ['broken percent-encoding', '/v1/kv/%zz', write(), 400, 'BAD_ENCODING'],
  ['percent-encoding cut off', '/v1/kv/a%4', write(), 400, 'BAD_ENCODING'],
  ['a key that is not UTF-8', '/v1/kv/%ff%fe', write(), 400, 'BAD_ENCODING'],
  ['an overlong UTF-8 form', '/v1/kv/%c0%80', write(), 400, 'BAD_ENCODING'],
  ['half a byte of hex', '/v1/kv/abc?encoding=hex', write(), 400, 'BAD_ENCODING'],
  ['hex that is none', '/v1/kv/zz?encoding=hex', write(), 400, 'BAD_ENCODING'],
  ['an unknown encoding', '/v1/kv/a?encoding=rot13', write(), 400, 'BAD_REQUEST'],
  ['an unknown parameter', '/v1/kv/a?ttl=5', write(), 400, 'BAD_REQUEST'],
  ['a deadline that is no number', '/v1/kv/a?timeoutMs=soon', write(), 400, 'BAD_REQUEST'],
  [
    'a condition on a weak tag, which no write can meet',
    '/v1/kv/a',
    { ...write(), headers: { 'if-match': 'W/"1"' } },
    400,
    'BAD_REQUEST',
  ],
  ['a scan with both forms', '/v1/kv?prefix=a&start=b', {}, 400, 'BAD_REQUEST'],
  ['a scan for too many', '/v1/kv?prefix=a&limit=10001', {}, 400, 'BAD_REQUEST'],
  ['a cursor that nobody gave', '/v1/kv?cursor=AAAA', {}, 400, 'BAD_REQUEST'],
]

describe('over HTTP', () => {
  test.each(refused)('%s', async (_what, target, sending, status, code) => {
    const answer = await send(node.url, target, sending)
    expect([answer.status, answer.code]).toEqual([status, code])
    const problem = JSON.parse(answer.body.toString('utf8'))
    expect(problem).toMatchObject({ status, code, type: expect.any(String), title: expect.any(String), retry: 'never' })
    await node.expectUnharmed()
  })

  test('a method that is not allowed names those that are', async () => {
    const { headers } = await send(node.url, '/v1/kv/a', { method: 'POST', body: 'x' })
    expect(headers.allow).toContain('PUT')
  })

  test('a body that stops half-way', async () => {
    const head = 'PUT /v1/kv/half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n'
    await abandon(`${head}only this`)
    await node.expectUnharmed()
  })

  test('a chunked body that stops half-way', async () => {
    const head = 'PUT /v1/kv/half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
    await abandon(`${head}4\r\nonly\r\n`)
    await node.expectUnharmed()
  })

  test.each([
    ['noise', randomBytes(1000).toString('latin1')],
    ['a head without an end', `GET / HTTP/1.1\r\nX-Long: ${'x'.repeat(1 << 20)}`],
    ['two lengths', 'PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
  ])('%s instead of HTTP', async (_what, bytes) => {
    const answer = await exchange(node.process.httpAddress, Buffer.from(bytes, 'latin1'))
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /)
    expect(answer).toMatch(/"code":"[A-Z_]+"/)
    await node.expectUnharmed()
  })

  test('the largest key and value, and an empty value, are values', async () => {
    const largest = 'k'.repeat(KEY_BYTES_MAX)
    await put(node.url, largest, Buffer.alloc(VALUE_BYTES_MAX, 'v'))
    const answer = await send(node.url, `/v1/kv/${largest}`)
    expect([answer.status, answer.body.length]).toEqual([200, VALUE_BYTES_MAX])
    await put(node.url, 'empty', '')
    expect(await get(node.url, 'empty')).toBe('')
    for (const key of [largest, 'empty']) {
      expect((await send(node.url, `/v1/kv/${key}`, { method: 'DELETE' })).status).toBe(204)
      expect(await get(node.url, key)).toBeNull()
    }
    await node.expectUnharmed()
  })
})

/** Sends what there is and hangs up once the node has it. */
async function abandon(bytes: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const [host, port] = node.process.httpAddress.split(':')
    const socket = connect({ host: host!, port: Number(port) }, () => {
      socket.write(bytes, () => socket.destroy())
    })
    socket.once('close', () => resolve())
  })
}
