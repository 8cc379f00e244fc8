import { type NodeId, SeededRandom, silentLogger } from '@cordillera/base'
import { type PeerHandlers, PeerLinks, type RangeReply } from '@cordillera/wire'
import { afterEach, expect, it } from 'vitest'
import { formatAddress } from './address.js'
import { RealClock, until } from './testing/real-clock.js'
import { WebSocketTransport } from './web-socket-transport.js'

/** The links of `wire` over real sockets. */
const closers: (() => Promise<void>)[] = []

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

async function open(nodeId: NodeId, incarnation: number, port = 0) {
  const clock = new RealClock()
  const listen = { host: '127.0.0.1', port }
  const transport = new WebSocketTransport({ listen, clock, random: new SeededRandom(nodeId), logger: silentLogger })
  const events: string[] = []
  const replies: ((reply: RangeReply) => void)[] = []
  const handlers: PeerHandlers = {
    onRaft: (from, rangeId, { term }) => events.push(`raft ${from} ${rangeId} ${term}`),
    onRangeRequest: (_from, _request, reply) => replies.push(reply),
    onSnapshot: (from, { streamId }) => events.push(`snapshot ${from} ${streamId}`),
    onAsk: async (_from, method, body) => [method, body],
    onLinkUp: (node, its) => events.push(`up ${node}/${its}`),
    onLinkDown: (node) => events.push(`down ${node}`),
    onNodeGone: (node) => events.push(`gone ${node}`),
    onOutdated: (by, detail) => events.push(`outdated ${by} ${detail}`),
    onGuest: async (body) => body,
    onFatal: (error) => events.push(`fatal ${error}`),
  }
  const links = new PeerLinks({ transport, clock, logger: silentLogger, handlers, durableBatch: () => 0 })
  await links.start()
  links.identify({ clusterId: 'c', nodeId, incarnation }, { recoveredBatch: 0, nonce: port })
  closers.push(() => links.close())
  return { links, events, replies, address: formatAddress(transport.address!), port: transport.address!.port }
}

it('links carry Raft messages, calls of 40 MiB and questions, and settle everything when a process goes', async () => {
  const [a, b] = [await open(1, 1), await open(2, 1)]
  a.links.setPeers(new Map([[2, b.address]]))
  b.links.setPeers(new Map([[1, a.address]]))
  await until(() => a.links.isUp(2) && b.links.isUp(1), 'the link is up')
  a.links.sendRaft(2, 9, { kind: 'timeout-now', from: 1, to: 2, term: 3 })
  expect(await a.links.ask(2, 'report', { x: 1 }, 5_000)).toEqual(['report', { x: 1 }])
  expect(b.events).toEqual(['up 1/1', 'raft 1 9 3'])

  const answers: (RangeReply | undefined)[] = []
  const read = {
    kind: 'read',
    rangeId: 1,
    epochVersion: 1,
    at: 0,
    byFollower: false,
    keys: new Array<string>(40).fill('k'),
  } as const
  const call = (): boolean => a.links.call(2, read, (reply) => answers.push(reply))
  expect(call()).toBe(true)
  await until(() => b.replies.length === 1, 'the call has arrived')
  b.replies[0]!({ kind: 'values', values: new Array(40).fill({ version: 1, value: Buffer.alloc(1 << 20, 7) }) })
  await until(() => answers.length === 1, 'the answer has arrived')
  expect(answers[0]).toMatchObject({ kind: 'values', values: { length: 40 } })

  expect(call()).toBe(true)
  await until(() => b.replies.length === 2, 'the second call has arrived')
  await b.links.close()
  await until(() => answers.length === 2 && a.events.includes('gone 2'), 'everything is settled')
  expect(answers[1]).toBeUndefined()
  expect(a.events.slice(0, 3)).toEqual(['up 2/1', 'down 2', 'gone 2'])

  const again = await open(2, 2, b.port)
  again.links.setPeers(new Map([[1, a.address]]))
  await until(() => a.links.isUp(2) && again.links.isUp(1), 'the new incarnation is up')
  expect(a.events.at(-1)).toBe('up 2/2')
  expect([...a.events, ...b.events].filter((event) => event.startsWith('fatal'))).toEqual([])
})
