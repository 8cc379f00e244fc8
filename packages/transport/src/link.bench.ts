/**
 * Two nodes' links over a real loopback connection, both in this process: calls in flights of 64, Raft messages 64 to a
 * turn. Prints CPU of both ends together, per message, and the time of a round trip.
 *
 * Run by hand: `npx rolldown packages/transport/src/link.bench.ts --platform node --format esm -o bench.mjs
 * --external ws --external msgpackr`, then `node bench.mjs`.
 */
import { Buffer } from 'node:buffer'
import { SeededRandom, silentLogger } from '@cordillera/base'
import { type PeerHandlers, PeerLinks } from '@cordillera/wire'
import { formatAddress } from './address.js'
import { RealClock, until } from './testing/real-clock.js'
import { WebSocketTransport } from './web-socket-transport.js'

const FLIGHT = 64
const FLIGHTS = 20_000
const clock = new RealClock()
let arrived = 0
let onArrived = (): void => {}

async function open(nodeId: number): Promise<{ links: PeerLinks; address: string }> {
  const listen = { host: '127.0.0.1', port: 0 }
  const transport = new WebSocketTransport({ listen, clock, random: new SeededRandom(nodeId), logger: silentLogger })
  const handlers: PeerHandlers = {
    onRaft: () => {
      if (++arrived % FLIGHT === 0) onArrived()
    },
    onRangeRequest: (_from, _request, reply) => reply({ kind: 'written', outcomes: [7] }),
    onSnapshot: () => {},
    onAsk: async () => null,
    onLinkUp: () => {},
    onLinkDown: () => {},
    onNodeGone: () => {},
    onOutdated: () => {},
    onGuest: async (body) => body,
    onFatal: (error) => {
      throw error
    },
  }
  const links = new PeerLinks({ transport, clock, logger: silentLogger, handlers, durableBatch: () => 0 })
  await links.start()
  links.identify({ clusterId: 'bench', nodeId, incarnation: 1 }, { recoveredBatch: 0, nonce: nodeId })
  return { links, address: formatAddress(transport.address!) }
}

async function report(name: string, flight: () => Promise<void>): Promise<void> {
  for (let i = 0; i < FLIGHTS / 10; i++) await flight()
  const cpu = process.cpuUsage()
  const start = performance.now()
  for (let i = 0; i < FLIGHTS; i++) await flight()
  const { user, system } = process.cpuUsage(cpu)
  const flightUs = ((performance.now() - start) * 1000) / FLIGHTS
  const cpuUs = (user + system) / FLIGHTS
  console.log(`${name}: ${flightUs.toFixed(1)} µs and ${cpuUs.toFixed(1)} µs of CPU a flight of ${FLIGHT}, both ends`)
}

const [a, b] = [await open(1), await open(2)]
a.links.setPeers(new Map([[2, b.address]]))
b.links.setPeers(new Map([[1, a.address]]))
await until(() => a.links.isUp(2) && b.links.isUp(1), 'the link is up')
const write = { kind: 'write', rangeId: 5, count: 1, block: Buffer.alloc(300) } as const
const ids = { from: 1, to: 2, term: 3 }
const heartbeat = { kind: 'heartbeat', ...ids, commitIndex: 123_456, readRound: 0, quiesce: false } as const
for (const [name, sender, to] of [
  ['from 1', a.links, 2],
  ['from 2', b.links, 1],
] as const) {
  await report(`calls of 300 B ${name}`, () => {
    return new Promise((resolve) => {
      let left = FLIGHT
      const onReply = (): void => {
        if (--left === 0) resolve()
      }
      for (let i = 0; i < FLIGHT; i++) sender.call(to, write, onReply)
    })
  })
  await report(`heartbeats ${name}`, () => {
    return new Promise((resolve) => {
      onArrived = resolve
      for (let i = 1; i <= FLIGHT; i++) sender.sendRaft(to, i, heartbeat)
    })
  })
}
await Promise.all([a.links.close(), b.links.close()])
