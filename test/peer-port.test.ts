import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Clock, LogFields, Logger } from '@cordillera/base'
import { WebSocketTransport } from '@cordillera/transport'
import type { NodeIdentity } from '@cordillera/wire'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { eventually } from './eventually.js'
import { exchange } from './http-client.js'
import { afterTest } from './scratch.js'
import { UnharmedNode } from './unharmed-node.js'

/**
 * What nobody should send to the peer port: garbage, and nodes that do not belong here. The connection ends, with a code
 * for those who can understand one, nothing is written, and the node goes on.
 */
const node = new UnharmedNode()
beforeAll(() => node.start())
afterAll(() => node.close())

describe('garbage', () => {
  test.each([
    ['noise', () => randomBytes(4096)],
    ['zeros', () => Buffer.alloc(4096)],
    ['a WebSocket that is not for nodes', () => Buffer.from(UPGRADE)],
    ['an HTTP request', () => Buffer.from('PUT /v1/kv/peer HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx')],
  ])('%s', async (_what, bytes) => {
    expect(await exchange(node.process.peerAddress, bytes())).toMatch(/^(HTTP\/1\.1 4\d\d |$)/)
    await node.expectUnharmed()
  })

  test.each([
    ['noise', () => randomBytes(4096)],
    ['text', () => randomBytes(500).toString('hex')],
    ['nothing', () => Buffer.alloc(0)],
    ['more than the limit', () => Buffer.alloc((16 << 20) + 1)],
  ])('a WebSocket message of %s', async (_what, message) => {
    const socket = new WebSocket(`ws://${node.process.peerAddress}${await pathThatNodesDial()}`)
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    socket.on('error', () => {})
    socket.send(message())
    await eventually('the node closes the connection', () => socket.readyState === WebSocket.CLOSED)
    await node.expectUnharmed()
  })

  test('a question that is none', async () => {
    const transport = new WebSocketTransport({ listen: ANY_PORT, clock: platformClock, logger: recordTo([]) })
    const asked = transport.ask(node.process.peerAddress, randomBytes(1000), 5_000)
    await expect(asked).rejects.toMatchObject({ code: expect.stringMatching(/^[A-Z_]+$/) })
    await node.expectUnharmed()
  })

  test('frames of noise from a peer that was let in', async () => {
    const { clusterId } = await node.process.json('/v1/admin/cluster')
    const peer = await joinMesh({ clusterId, nodeId: 2, incarnation: 1 })
    await eventually('the node lets it in', () => peer.ups > 0)
    for (let i = 0; i < 20; i++) peer.transport.send(NODE_ID, randomBytes(64 + i * 50))
    await eventually('the node ends the connection', () => peer.downs > 0)
    await node.expectUnharmed()
  })
})

describe('nodes that do not belong here', () => {
  test.each([
    ['another cluster', { clusterId: 'another' }],
    ['this very node', { nodeId: 1 }],
  ])('%s', async (_what, changes) => {
    const { clusterId } = await node.process.json('/v1/admin/cluster')
    const peer = await joinMesh({ clusterId, nodeId: 2, incarnation: 1, ...changes })
    await eventually('it is refused with a code', () =>
      peer.logged.some((fields) => fields.code === 'HANDSHAKE_REFUSED' && fields.by === 'peer'),
    )
    expect(peer.ups).toBe(0)
    expect(node.process.log(1e6)).toContain('HANDSHAKE_REFUSED')
    await node.expectUnharmed()
  })
})

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
const NODE_ID = 1
const ANY_PORT = { host: '127.0.0.1', port: 0 }

/** A real transport that dials the node and says that it is `identity`. */
async function joinMesh(identity: NodeIdentity) {
  const logged: LogFields[] = []
  const transport = new WebSocketTransport({ listen: ANY_PORT, clock: platformClock, logger: recordTo(logged) })
  afterTest(() => transport.close())
  const peer = { transport, logged, ups: 0, downs: 0 }
  await transport.start({
    onUp: () => {
      peer.ups++
    },
    onDown: () => {
      peer.downs++
    },
    onRefused: () => {},
    onFrame: () => {},
    onGuest: () => Promise.reject(new Error('nobody asks here')),
  })
  transport.identify(identity)
  // Under its own number the node would not be dialled at all.
  const target = identity.nodeId === NODE_ID ? NODE_ID + 1 : NODE_ID
  transport.setPeers(new Map([[target, node.process.peerAddress]]))
  return peer
}

/** Seen from the other end: where a transport knocks when it is sent to an address. */
async function pathThatNodesDial(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const knock = once(server, 'upgrade')
  const transport = new WebSocketTransport({ listen: ANY_PORT, clock: platformClock, logger: recordTo([]) })
  const asked = transport.ask(`127.0.0.1:${port}`, Buffer.alloc(0), 5_000).catch(() => {})
  const [request, socket] = await knock
  socket.destroy()
  await asked
  server.close()
  return request.url
}

function recordTo(logged: LogFields[]): Logger {
  const record = (_event: string, fields: LogFields = {}): void => {
    logged.push(fields)
  }
  return { debug: record, info: record, warn: record, error: record }
}

const platformClock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  defer: (callback) => {
    setImmediate(callback)
  },
}
