import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PROTOCOL_VERSION } from '@cordillera/wire'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { LocalCluster, type NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { exchange, get, put, type Sending, send } from './http-client.js'

/**
 * What nobody should send. Each gets a clear answer with a code, nothing is written, and the same process still serves:
 * that is checked after every test.
 */
const KEY_BYTES_MAX = 4096
const VALUE_BYTES_MAX = 1 << 20

let directory: string
let cluster: LocalCluster
let node: NodeProcess
let pid: number

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cordillera-test-'))
  cluster = await LocalCluster.create({ directory, nodes: 1 })
  await cluster.start()
  node = cluster.nodes[0]!
  pid = node.pid
})

afterAll(async () => {
  await cluster?.close()
  rmSync(directory, { recursive: true, force: true })
})

async function expectServing(): Promise<void> {
  expect(node.isRunning && node.pid).toBe(pid)
  await put(node.url, 'alive', 'yes')
  expect(await get(node.url, 'alive')).toBe('yes')
}

async function expectNothingWritten(): Promise<void> {
  const { entries } = await node.json('/v1/kv?prefix=&limit=10000')
  expect(entries.map(({ key }: { key: string }) => key)).toEqual(['alive'])
}

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
    'a condition that is not supported yet',
    '/v1/kv/a',
    { ...write(), headers: { 'if-none-match': '*' } },
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
    await expectServing()
    await expectNothingWritten()
  })

  test('a method that is not allowed names those that are', async () => {
    const { headers } = await send(node.url, '/v1/kv/a', { method: 'POST', body: 'x' })
    expect(headers.allow).toContain('PUT')
  })

  test('a body that stops half-way', async () => {
    const head = 'PUT /v1/kv/half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n'
    await abandon(`${head}only this`)
    await expectServing()
    await expectNothingWritten()
  })

  test('a chunked body that stops half-way', async () => {
    const head = 'PUT /v1/kv/half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
    await abandon(`${head}4\r\nonly\r\n`)
    await expectServing()
    await expectNothingWritten()
  })

  test.each([
    ['noise', randomBytes(1000).toString('latin1')],
    ['a head without an end', `GET / HTTP/1.1\r\nX-Long: ${'x'.repeat(1 << 20)}`],
    ['two lengths', 'PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
  ])('%s instead of HTTP', async (_what, bytes) => {
    const answer = await exchange(node.httpAddress, Buffer.from(bytes, 'latin1'))
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /)
    expect(answer).toMatch(/"code":"[A-Z_]+"/)
    await expectServing()
    await expectNothingWritten()
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
    await expectNothingWritten()
  })
})

describe('on the peer port', () => {
  test.each([
    ['noise', () => randomBytes(4096)],
    ['zeros', () => Buffer.alloc(4096)],
    ['an HTTP request', () => Buffer.from('PUT /v1/kv/peer HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx')],
  ])('%s', async (_what, bytes) => {
    expect(await exchange(node.peerAddress, bytes())).toMatch(/^HTTP\/1\.1 4\d\d /)
    await expectServing()
    await expectNothingWritten()
  })

  test.each([
    ['noise', () => randomBytes(4096)],
    ['noise, as text', () => randomBytes(500).toString('hex')],
    ['an empty message', () => Buffer.alloc(0)],
    ['a message beyond the limit', () => Buffer.alloc((16 << 20) + 1)],
    ['another protocol version', () => hello({ version: PROTOCOL_VERSION + 1 })],
    ['a peer without an identity', () => hello({ nodeId: undefined })],
    ['a peer of another cluster', () => hello({ clusterId: 'another' })],
    ['a peer that claims to be this node', () => hello({ nodeId: 1 })],
  ])('a WebSocket with %s is refused and closed', async (_what, message) => {
    const socket = await connectPeer()
    socket.send(await message())
    await closed(socket)
    await expectServing()
    await expectNothingWritten()
  })

  test('a peer of another cluster is told so', async () => {
    const socket = await connectPeer()
    const said = new Promise<string>((resolve) => socket.once('message', (data) => resolve(data.toString())))
    socket.send(await hello({ clusterId: 'another' }))
    expect(JSON.parse(await said)).toMatchObject({ refused: 'cluster', detail: expect.stringContaining('another') })
    await closed(socket)
  })

  test('noise from a guest', async () => {
    const socket = await connectPeer()
    socket.send(await hello({ role: 'guest' }))
    await new Promise((resolve) => socket.once('message', resolve))
    socket.send(randomBytes(1000))
    const answer = await new Promise<Buffer>((resolve) => socket.once('message', (data: Buffer) => resolve(data)))
    expect(answer.toString('latin1')).toMatch(/"code":"[A-Z_]+"/)
    socket.terminate()
    await expectServing()
    await expectNothingWritten()
  })

  test('noise from a peer that was let in', async () => {
    const socket = await connectPeer()
    socket.send(await hello({}))
    await new Promise((resolve) => socket.once('message', resolve))
    for (let i = 0; i < 20; i++) socket.send(randomBytes(1 + i * 50))
    await closed(socket)
    await expectServing()
    await expectNothingWritten()
  })
})

/** What a node of this cluster would say first, with changes. */
async function hello(changes: Record<string, unknown>): Promise<string> {
  const { clusterId } = await node.json('/v1/admin/cluster')
  const identity = { role: 'node', clusterId, nodeId: 2, incarnation: 1 }
  return JSON.stringify({ magic: 'cordillera', version: PROTOCOL_VERSION, ...identity, ...changes })
}

function connectPeer(): Promise<WebSocket> {
  const socket = new WebSocket(`ws://${node.peerAddress}/`)
  socket.on('error', () => {})
  return new Promise((resolve) => socket.once('open', () => resolve(socket)))
}

async function closed(socket: WebSocket): Promise<void> {
  await eventually('the node closes the connection', () => socket.readyState === WebSocket.CLOSED)
}

/** Sends what there is and hangs up once the node has it. */
async function abandon(bytes: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const [host, port] = node.httpAddress.split(':')
    const socket = connect({ host: host!, port: Number(port) }, () => {
      socket.write(bytes, () => socket.destroy())
    })
    socket.once('close', () => resolve())
  })
}
