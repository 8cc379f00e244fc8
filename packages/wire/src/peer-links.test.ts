import { CordilleraError, InvariantViolation, type NodeId, silentLogger } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import { beforeEach, describe, expect, it } from 'vitest'
import type { PeerHandlers } from './peer-handlers.js'
import type { PeerLinkLimits } from './peer-link.js'
import { PeerLinks } from './peer-links.js'
import type { RangeReply, RangeRequest } from './range-call.js'
import { FRAME_BYTES_LEAVE, FRAME_HEAD_BYTES, RecordKind } from './record.js'
import { ManualClock } from './testing/manual-clock.js'
import { MemoryNetwork, type MemoryTransport } from './testing/memory-network.js'

const head = new Uint8Array(FRAME_HEAD_BYTES)
const heartbeat = (term: number, readRound = 0): Message => ({
  ...{ kind: 'heartbeat', from: 1, to: 2, term, commitIndex: 3 },
  ...{ readRound, quiesce: false },
})
const write: RangeRequest = { kind: 'write', rangeId: 4, count: 1, block: Buffer.from('block') }
const written: RangeReply = { kind: 'written', outcomes: [9] }
const read = (count: number): RangeRequest => ({
  kind: 'read',
  rangeId: 4,
  epochVersion: 1,
  at: 0,
  byFollower: false,
  keys: new Array<string>(count).fill('k'),
})

interface Peer {
  readonly node: NodeId
  readonly links: PeerLinks
  durableBatch: number
  readonly transport: MemoryTransport
  readonly events: unknown[]
  readonly requests: { readonly request: RangeRequest; readonly reply: (reply: RangeReply) => void }[]
  readonly fatal: unknown[]
  /** Replaces handlers for the rest of the test. */
  readonly handlers: PeerHandlers
}

let clock: ManualClock
let network: MemoryNetwork

async function peer(node: NodeId, limits: Partial<PeerLinkLimits> = {}, incarnation = 1): Promise<Peer> {
  const transport = network.transport(node, incarnation)
  const events: unknown[] = []
  const requests: Peer['requests'] = []
  const fatal: unknown[] = []
  const handlers: PeerHandlers = {
    onRaft: (from, rangeId, message) => events.push(['raft', from, rangeId, message.term]),
    onRangeRequest: (_from, request, reply) => requests.push({ request, reply }),
    onSnapshot: (from, message) => events.push(['snapshot', from, message.streamId]),
    onAsk: async (from, method, body) => ({ from, method, body }),
    onLinkUp: (other, incarnation) => events.push(['up', other, incarnation]),
    onLinkDown: (other) => events.push(['down', other]),
    onNodeGone: (other) => events.push(['gone', other]),
    onOutdated: (by, detail) => events.push(['outdated', by, detail]),
    onGuest: async (body) => body,
    onFatal: (error) => fatal.push(error),
  }
  const peer = { durableBatch: 0 }
  const links = new PeerLinks({
    ...{ transport, clock, logger: silentLogger, handlers, limits },
    durableBatch: () => peer.durableBatch,
  })
  await links.start()
  return Object.assign(peer, { node, links, transport, events, requests, fatal, handlers })
}

async function pair(limits: Partial<PeerLinkLimits> = {}): Promise<[Peer, Peer]> {
  const peers: [Peer, Peer] = [await peer(1, limits), await peer(2, limits)]
  network.connect(1, 2)
  clock.settle()
  return peers
}

beforeEach(() => {
  clock = new ManualClock()
  network = new MemoryNetwork(clock)
})

describe('a link', () => {
  it('is up only once a ping was echoed, and says so once', async () => {
    const [a, b] = [await peer(1), await peer(2)]
    network.connect(1, 2)
    expect(a.links.isUp(2)).toBe(false)
    expect(a.links.sendRaft(2, 1, heartbeat(1))).toBe(false)
    expect(a.links.call(2, write, () => {})).toBe(false)
    clock.settle()
    expect(a.links.isUp(2)).toBe(true)
    clock.pass(5_000)
    expect(a.events).toEqual([['up', 2, 1]])
    expect(b.events).toEqual([['up', 1, 1]])
  })

  it('that works in one direction only never comes up, and is dropped', async () => {
    const [a, b] = [await peer(1), await peer(2)]
    b.transport.mode = 'deaf'
    network.connect(1, 2)
    clock.pass(900)
    expect(a.links.isUp(2) || b.links.isUp(1)).toBe(false)
    clock.pass(200)
    expect(a.transport.disconnected).toEqual([2])
    expect([...a.events, ...b.events]).toEqual([])
  })

  it('does not come up by echoes of pings that were never sent', async () => {
    const [a, b] = [await peer(1), await peer(2)]
    b.transport.mode = 'deaf'
    network.connect(1, 2)
    clock.settle()
    for (const sequence of [0, 2, 99]) {
      a.transport.handlers.onFrame(2, Buffer.from([...head, RecordKind.pong, sequence]))
      expect(a.links.isUp(2)).toBe(false)
    }
    a.transport.handlers.onFrame(2, Buffer.from([...head, RecordKind.pong, 1]))
    expect(a.links.isUp(2)).toBe(true)
  })

  it('that is replaced by a connection to a newer incarnation goes down first, and its calls are settled', async () => {
    const [a] = await pair()
    const replies: unknown[] = []
    a.links.call(2, write, (reply) => replies.push(reply))
    a.transport.handlers.onUp(2, 7)
    expect(replies).toEqual([undefined])
    clock.settle()
    expect(a.events).toEqual([
      ['up', 2, 1],
      ['down', 2],
      ['up', 2, 7],
    ])
  })

  it('goes down when pings are not echoed for a second, and not before', async () => {
    const [a, b] = await pair()
    clock.pass(10_000)
    b.transport.mode = 'deaf'
    clock.pass(690)
    expect(a.events).toEqual([['up', 2, 1]])
    clock.pass(700)
    expect(a.events).toEqual([
      ['up', 2, 1],
      ['down', 2],
    ])
    expect(a.transport.disconnected).toEqual([2])
    expect(a.links.sendRaft(2, 1, heartbeat(1))).toBe(false)
  })

  it('is not dropped because this process itself stood still', async () => {
    const [a] = await pair()
    clock.pass(1_000)
    clock.stall(30_000)
    clock.pass(5_000)
    expect(a.events).toEqual([['up', 2, 1]])
  })

  it('that is lost is told, once, and comes up again with another connection', async () => {
    const [a] = await pair()
    network.cut(1, 2)
    network.connect(1, 2)
    clock.settle()
    expect(a.events).toEqual([
      ['up', 2, 1],
      ['down', 2],
      ['up', 2, 1],
    ])
  })

  it('passes on that a dial was refused', async () => {
    const [a] = await pair()
    a.transport.handlers.onRefused(2)
    expect(a.events.at(-1)).toEqual(['gone', 2])
  })
})

describe('frames', () => {
  it('carry everything of one turn, in order', async () => {
    const [a, b] = await pair()
    a.transport.sent.length = 0
    for (let i = 1; i <= 50; i++) expect(a.links.sendRaft(2, i, heartbeat(i))).toBe(true)
    expect(a.transport.sent.length).toBe(0)
    clock.settle()
    expect(a.transport.sent.length).toBe(1)
    expect(b.events.slice(1)).toEqual(Array.from({ length: 50 }, (_, i) => ['raft', 1, i + 1, i + 1]))
  })

  it('leave within the turn when they are large, or when flushed', async () => {
    const [a, b] = await pair()
    a.transport.sent.length = 0
    const large = { ...write, block: Buffer.alloc(FRAME_BYTES_LEAVE) } as RangeRequest
    for (let i = 0; i < 3; i++) a.links.call(2, large, () => {})
    expect(a.transport.sent.length).toBe(3)
    a.links.sendRaft(2, 1, heartbeat(1))
    a.links.flush()
    expect(a.transport.sent.length).toBe(4)
    clock.settle()
    expect(a.transport.sent.length).toBe(4)
    expect(b.requests.length).toBe(3)
    expect(b.events.at(-1)).toEqual(['raft', 1, 1, 1])
  })

  it('with timestamps, or the round that confirms them, leave at once', async () => {
    const turnsOf = async (send: (links: PeerLinks) => void): Promise<number> => {
      const [a] = await pair()
      a.transport.sent.length = 0
      send(a.links)
      let turns = 0
      const count = (): void => {
        if (a.transport.sent.length > 0) return
        turns++
        clock.defer(count)
      }
      count()
      clock.settle()
      return turns
    }
    const ask: RangeRequest = {
      kind: 'timestamps',
      rangeId: 1,
      nodeId: 1,
      replicaId: 1,
      term: 1,
      count: 1,
      oldestSnapshot: 0,
    }
    const round = heartbeat(1, 3)
    const usual = await turnsOf((links) => links.sendRaft(2, 7, round))
    expect(usual).toBeGreaterThan(2)
    expect(await turnsOf((links) => links.call(2, ask, () => {}))).toBe(0)
    expect(await turnsOf((links) => links.sendRaft(2, 1, round))).toBe(0)
    expect(await turnsOf((links) => links.sendRaft(2, 1, heartbeat(1)))).toBe(usual)
  })

  it('to other peers go on gathering meanwhile', async () => {
    const [a] = await pair()
    await peer(3)
    network.connect(1, 3)
    clock.settle()
    a.transport.sent.length = 0
    const perTurn: number[] = []
    const count = (): void => {
      perTurn.push(a.transport.sent.length)
      if (perTurn.length < 6) clock.defer(count)
    }
    a.links.sendRaft(3, 7, heartbeat(1))
    a.links.sendRaft(2, 1, heartbeat(1, 3))
    count()
    clock.settle()
    expect(perTurn).toEqual([1, 1, 1, 2, 2, 2])
  })

  it('of garbage drop the connection and nothing else', async () => {
    const [a, b] = await pair()
    b.transport.handlers.onFrame(1, Buffer.from([...head, 255, 1]))
    b.transport.handlers.onFrame(1, Buffer.from([0, 0]))
    expect(b.transport.disconnected).toEqual([1])
    clock.settle()
    expect(b.events.at(-1)).toEqual(['down', 1])
    expect(a.events.at(-1)).toEqual(['down', 2])
    expect([...a.fatal, ...b.fatal]).toEqual([])
  })

  it('go on behind a handler that throws, unless what it met is corrupt', async () => {
    const [a, b] = await pair()
    const seen: number[] = []
    b.handlers.onRaft = (_from, rangeId) => {
      seen.push(rangeId)
      if (rangeId === 1) throw new CordilleraError('CLOSED')
      if (rangeId === 2) throw new InvariantViolation('broken')
      if (rangeId === 4) throw new CordilleraError('CORRUPT')
    }
    for (let i = 1; i <= 6; i++) a.links.sendRaft(2, i, heartbeat(1))
    clock.settle()
    expect(seen).toEqual([1, 2, 3, 4])
    expect(b.fatal).toEqual([expect.any(InvariantViolation)])
    expect(b.transport.disconnected).toEqual([1])
  })

  it('that the transport has no room for wait, in order, and more is refused meanwhile', async () => {
    const [a, b] = await pair()
    a.transport.mode = 'full'
    expect(a.links.sendRaft(2, 1, heartbeat(1))).toBe(true)
    a.links.flush()
    expect(a.links.sendRaft(2, 2, heartbeat(2))).toBe(false)
    expect(a.links.call(2, write, () => {})).toBe(false)
    await expect(a.links.ask(2, 'm', null, 10)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    a.transport.mode = 'open'
    clock.pass(100)
    expect(a.links.sendRaft(2, 3, heartbeat(3))).toBe(true)
    clock.settle()
    expect(b.events.slice(1)).toEqual([
      ['raft', 1, 1, 1],
      ['raft', 1, 3, 3],
    ])
  })
})

describe('a call', () => {
  it('gets its reply, whatever the order of the replies', async () => {
    const [a, b] = await pair()
    const replies: unknown[] = []
    a.links.call(2, write, (reply) => replies.push(reply))
    a.links.call(2, read(1), (reply) => replies.push(reply))
    clock.settle()
    expect(b.requests.map(({ request }) => request.kind)).toEqual(['write', 'read'])
    b.requests[1]!.reply({ kind: 'values', values: [undefined] })
    b.requests[0]!.reply(written)
    clock.settle()
    expect(replies).toEqual([{ kind: 'values', values: [undefined] }, written])
  })

  it('is answered with undefined, exactly once, when the connection is lost; a late reply goes nowhere', async () => {
    const [a, b] = await pair()
    const replies: unknown[] = []
    a.links.call(2, write, (reply) => replies.push(['lost', reply, a.links.isUp(2)]))
    clock.settle()
    network.cut(1, 2)
    expect(replies).toEqual([['lost', undefined, false]])
    network.connect(1, 2)
    clock.settle()
    a.links.call(2, write, (reply) => replies.push(['new', reply]))
    clock.settle()
    b.requests[0]!.reply({ kind: 'unknown' })
    clock.settle()
    expect(replies.length).toBe(1)
    b.requests[1]!.reply(written)
    clock.settle()
    expect(replies[1]).toEqual(['new', written])
  })

  it('may call again from within its reply', async () => {
    const [a] = await pair()
    const results: boolean[] = []
    a.links.call(2, write, () => results.push(a.links.call(2, write, () => {})))
    network.cut(1, 2)
    expect(results).toEqual([false])
  })

  it('is refused beyond the bounds in number and in bytes', async () => {
    const [a, b] = await pair({ callsMax: 3, callBytesMax: 100 })
    for (let i = 0; i < 3; i++) expect(a.links.call(2, write, () => {})).toBe(true)
    expect(a.links.call(2, write, () => {})).toBe(false)
    clock.settle()
    for (const { reply } of b.requests) reply(written)
    clock.settle()
    const large = { ...write, block: Buffer.alloc(200) } as RangeRequest
    expect(a.links.call(2, large, () => {})).toBe(true)
    expect(a.links.call(2, write, () => {})).toBe(false)
  })

  it('answered with something else drops the connection', async () => {
    const [a, b] = await pair()
    const replies: unknown[] = []
    a.links.call(2, read(2), (reply) => replies.push(reply))
    clock.settle()
    b.requests[0]!.reply({ kind: 'values', values: [undefined, undefined, undefined] })
    clock.settle()
    expect(replies).toEqual([undefined])
    expect(a.transport.disconnected).toEqual([2])
  })

  it('to read may be answered for its first keys alone, but not for none', async () => {
    const [a, b] = await pair()
    const replies: unknown[] = []
    for (let i = 0; i < 2; i++) a.links.call(2, read(2), (reply) => replies.push(reply))
    clock.settle()
    b.requests[0]!.reply({ kind: 'values', values: [undefined] })
    clock.settle()
    expect(replies).toEqual([{ kind: 'values', values: [undefined] }])
    expect(a.transport.disconnected).toEqual([])
    b.requests[1]!.reply({ kind: 'values', values: [] })
    clock.settle()
    expect(replies).toEqual([{ kind: 'values', values: [undefined] }, undefined])
    expect(a.transport.disconnected).toEqual([2])
  })

  it('answered twice is a broken invariant of the answering node', async () => {
    const [a, b] = await pair()
    a.links.call(2, write, () => {})
    clock.settle()
    b.requests[0]!.reply(written)
    expect(() => b.requests[0]!.reply(written)).toThrow(InvariantViolation)
  })

  it('whose values would pile up behind a peer that does not read is refused instead', async () => {
    const [a, b] = await pair({ waitingBytesMax: 3 << 20 })
    const replies: (RangeReply | undefined)[] = []
    for (let i = 0; i < 3; i++) a.links.call(2, read(1), (reply) => replies.push(reply))
    clock.settle()
    b.transport.mode = 'full'
    const values = [{ version: 1, value: Buffer.alloc(1 << 20) }]
    for (const { reply } of b.requests) reply({ kind: 'values', values })
    b.transport.mode = 'open'
    clock.pass(50)
    expect(replies.map((reply) => reply?.kind)).toEqual(['values', 'values', 'refused'])
  })

  it('is settled by close, which calls no handler afterwards', async () => {
    const [a] = await pair()
    const replies: unknown[] = []
    a.links.call(2, write, (reply) => replies.push(reply))
    await a.links.close()
    network.cut(1, 2)
    clock.pass(1_000)
    expect(replies).toEqual([undefined])
    expect(a.transport.isClosed).toBe(true)
    expect(a.events).toEqual([['up', 2, 1]])
    expect(a.links.sendRaft(2, 1, heartbeat(1))).toBe(false)
  })
})

describe('a call of open shape', () => {
  const settled = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      await undefined
      clock.settle()
    }
  }

  it('is answered', async () => {
    const [a] = await pair()
    const answer = a.links.ask(2, 'report', { x: [1, 'two'] }, 100)
    await settled()
    expect(await answer).toEqual({ from: 1, method: 'report', body: { x: [1, 'two'] } })
  })

  it('rejects with the code of the other side, or INTERNAL', async () => {
    const [a, b] = await pair()
    b.handlers.onAsk = async (_from, method) => {
      if (method === 'coded') throw new CordilleraError('NOT_FOUND', { detail: 'no such thing' })
      throw method === 'broken' ? new InvariantViolation('broken') : new TypeError('secret')
    }
    const asked = ['coded', 'defect', 'broken'].map((method) => a.links.ask(2, method, null, 100))
    const results = Promise.allSettled(asked)
    await settled()
    const reasons = (await results).map((result) => (result as PromiseRejectedResult).reason)
    expect(reasons[0]).toMatchObject({ code: 'NOT_FOUND', message: 'no such thing' })
    expect(reasons.slice(1)).toMatchObject([{ code: 'INTERNAL' }, { code: 'INTERNAL' }])
    expect(reasons[1].message).not.toContain('secret')
    expect(b.fatal).toEqual([expect.any(InvariantViolation)])
  })

  it('rejects when no answer comes in time, the link goes or was never there, and beyond the bound', async () => {
    const [a, b] = await pair({ asksMax: 2 })
    b.handlers.onAsk = () => new Promise(() => {})
    const late = a.links.ask(2, 'm', null, 50)
    const lost = a.links.ask(2, 'm', null, 5_000)
    await expect(a.links.ask(2, 'm', null, 50)).rejects.toMatchObject({ code: 'OVERLOADED' })
    const expected = Promise.all([
      expect(late).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' }),
      expect(lost).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' }),
    ])
    clock.pass(60)
    network.cut(1, 2)
    await expected
    await expect(a.links.ask(2, 'm', null, 50)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(a.links.ask(2, 'm'.repeat(100), null, 50)).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  })
})

describe('a peer that comes back', () => {
  const start = (node: Peer, incarnation: number, recoveredBatch: number, nonce = incarnation): void =>
    node.links.identify({ clusterId: 'c', nodeId: node.node, incarnation }, { recoveredBatch, nonce })

  /** Nodes 1 and 2 speak, 2 through batch 105 of its log; then 2 goes, and comes back as the given start. */
  async function comeBack(incarnation: number, recoveredBatch: number, nonce?: number): Promise<[Peer, Peer]> {
    const [a, b] = [await peer(1), await peer(2, {}, 3)]
    start(a, 1, 0)
    start(b, 3, 100)
    network.connect(1, 2)
    clock.settle()
    b.durableBatch = 105
    b.links.sendRaft(1, 7, heartbeat(1))
    clock.settle()
    network.cut(1, 2)
    await b.links.close()
    const again = await peer(2, {}, incarnation)
    start(again, incarnation, recoveredBatch, nonce)
    network.connect(1, 2)
    clock.settle()
    return [a, again]
  }

  it('with all that it was heard to have is met again', async () => {
    const [a, b] = await comeBack(4, 105)
    expect(a.events.slice(-2)).toEqual([
      ['down', 2],
      ['up', 2, 4],
    ])
    expect(b.events).toEqual([['up', 1, 1]])
  })

  it.each([
    ['has lost the end of its log', 4, 104, undefined, /durable through batch 105, and start 4 found 104/],
    ['is an earlier start', 2, 105, undefined, /start 3 was met before, and this one says it is start 2/],
    ['is another process of the same start', 3, 105, 9, /another process says that it is start 3 too/],
  ])('and %s is told so, and nothing of it is read', async (_, incarnation, recoveredBatch, nonce, detail) => {
    const [a, b] = await comeBack(incarnation, recoveredBatch, nonce)
    b.transport.send(1, Buffer.concat([head, Buffer.from([RecordKind.ping, 7])]))
    clock.settle()
    expect(a.events.at(-1)).toEqual(['down', 2])
    expect(a.links.isUp(2)).toBe(false)
    expect(b.events).toEqual([['outdated', 1, expect.stringMatching(detail)]])
    expect(b.links.isUp(1)).toBe(false)
    clock.pass(2_000)
    expect(a.transport.disconnected).toContain(2)
    expect([...a.fatal, ...b.fatal]).toEqual([])
  })
})
