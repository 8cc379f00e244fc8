import type { Version } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import type { RangeReply, RangeRequest } from '@cordillera/wire'
import { describe, expect, it } from 'vitest'
import { keyIn, readOf, type Store, Stores, writeOf } from './testing/stores.js'

/**
 * A schedule made by hand for each rule of `TimestampOrder`: with the rule taken out, two reads at one timestamp
 * disagree, or an invariant of the order breaks.
 */
function textOf(reply: RangeReply | undefined): string | undefined {
  if (reply?.kind !== 'values') throw new Error(`a reply of kind ${reply?.kind}`)
  const value = reply.values[0]
  return value && new TextDecoder().decode(value.value)
}

/** Begins at a store; the reply is the first element once it is there. */
function begin({ replicas }: Store, request: RangeRequest): RangeReply[] {
  const replies: RangeReply[] = []
  replicas.execute(request, (reply) => replies.push(reply))
  return replies
}

function versionOf(reply: RangeReply | undefined): Version {
  if (reply?.kind !== 'written') throw new Error(`a reply of kind ${reply?.kind}`)
  return reply.outcomes[0]!
}

/** The process of the store is gone, as far as the others can tell; it does not know. */
function cutOff(stores: Stores, gone: Store): void {
  stores.cutOff.add(gone.nodeId)
  for (const store of stores.stores.values()) if (store !== gone) store.replicas.onNodeGone(gone.nodeId)
}

async function open(nodes = 3): Promise<{ stores: Stores; descriptor: Descriptor; key: string; leader: Store }> {
  const stores = await Stores.open(nodes, 1)
  await stores.untilLed()
  const descriptor = stores.descriptors[1]!
  await stores.pass(1_000)
  return { stores, descriptor, key: keyIn(descriptor, 'k'), leader: stores.leaderOf(descriptor.rangeId)! }
}

describe('two reads at one timestamp agree', () => {
  it('although a write had its timestamp before the first one began, and was not proposed yet', async () => {
    const { stores, descriptor, key, leader } = await open()
    stores.oracle.isHolding = true
    const written = begin(leader, writeOf(descriptor, key, 'late'))
    await stores.until(() => stores.oracle.onTheWay === 1, 'the write has its timestamp')
    const at = stores.oracle.take()
    const first = textOf(await stores.execute(readOf(descriptor, key, at)))
    stores.oracle.deliver()
    await stores.until(() => written.length > 0, 'the write')
    expect(versionOf(written[0])).toBeGreaterThan(at)
    expect([first, textOf(await stores.execute(readOf(descriptor, key, at)))]).toEqual([undefined, undefined])
    expect(textOf(await stores.execute(readOf(descriptor, key, stores.oracle.take())))).toBe('late')
  })

  it('although a write was proposed before the first one began, and had not committed', async () => {
    const { stores, descriptor, key, leader } = await open()
    stores.loses = (message) => message.kind === 'append-request' && message.entries.length > 0
    const { core } = leader.replicas.replica(descriptor.rangeId)!
    const lastIndex = core.lastIndex
    const written = begin(leader, writeOf(descriptor, key, 'early'))
    await stores.until(() => core.lastIndex > lastIndex, 'the write is proposed')
    const at = stores.oracle.take()
    const read = begin(leader, readOf(descriptor, key, at))
    const newest = begin(leader, readOf(descriptor, `${key}2`))
    await stores.until(() => newest.length > 0, 'a read of the newest, which waits for nothing')
    expect(read).toEqual([])
    stores.loses = () => false
    await stores.until(() => read.length + written.length === 2, 'both')
    expect(versionOf(written[0])).toBeLessThan(at)
    expect(textOf(read[0])).toBe('early')
  })

  it('although the leader that served the first one was deposed with a write under way', async () => {
    const { stores, descriptor, key, leader } = await open()
    stores.oracle.isHolding = true
    const lost = begin(leader, writeOf(descriptor, key, 'lost'))
    await stores.until(() => stores.oracle.onTheWay === 1, 'the write has its timestamp')
    cutOff(stores, leader)
    stores.oracle.isHolding = false
    await stores.untilLed()
    const at = stores.oracle.take()
    expect(textOf(await stores.execute(readOf(descriptor, key, at)))).toBeUndefined()
    stores.cutOff.clear()
    stores.oracle.deliver()
    await stores.until(() => lost.length > 0, 'an answer to the write')
    expect(lost).toMatchObject([{ kind: 'refused' }])
    await stores.pass(1_000)
    expect(textOf(await stores.execute(readOf(descriptor, key, at)))).toBeUndefined()
    expect(textOf(await stores.execute(readOf(descriptor, key)))).toBeUndefined()
  })

  it('and are refused once the safe point has passed the timestamp', async () => {
    const { stores, descriptor, key, leader } = await open()
    await stores.execute(writeOf(descriptor, key, 'v'))
    const at = stores.oracle.take()
    leader.state.advanceSafePoint(at)
    expect(textOf(await stores.execute(readOf(descriptor, key, at)))).toBe('v')
    leader.state.advanceSafePoint(at + 1)
    expect(await stores.execute(readOf(descriptor, key, at))).toMatchObject({ reason: 'snapshot-expired' })
  })
})

describe('a write', () => {
  it('that came after the request for timestamps had left is not served by its answer', async () => {
    const { stores, descriptor, key, leader } = await open()
    stores.oracle.isHolding = true
    const early = begin(leader, writeOf(descriptor, key, 'early'))
    await stores.until(() => stores.oracle.onTheWay === 1, 'the request has left')
    const between = stores.oracle.take()
    const late = begin(leader, writeOf(descriptor, `${key}2`, 'late'))
    await stores.pass(100)
    stores.oracle.deliver()
    await stores.until(() => early.length + late.length === 2, 'both')
    expect(versionOf(early[0])).toBeLessThan(between)
    expect(versionOf(late[0])).toBeGreaterThan(between)
  })

  it('gets versions of its own in one entry, rising with its commands', async () => {
    const { stores, descriptor, key, leader } = await open()
    const replies = ['a', 'b', 'c'].map((suffix) => begin(leader, writeOf(descriptor, key + suffix, 'v')))
    const { core } = leader.replicas.replica(descriptor.rangeId)!
    const lastIndex = core.lastIndex
    await stores.until(() => replies.every(({ length }) => length === 1), 'all')
    const versions = replies.map(([reply]) => versionOf(reply))
    expect(versions).toEqual([versions[0], versions[0]! + 1, versions[0]! + 2])
    expect(core.lastIndex).toBe(lastIndex + 1)
  })
})

describe('the leader of the system range', () => {
  const system = (stores: Stores): Descriptor => stores.descriptors[0]!
  const ask = (nodeId: number, term: number): RangeRequest => {
    return { kind: 'timestamps', rangeId: 1, nodeId, replicaId: nodeId, term, count: 5, oldestSnapshot: 0 }
  }

  it('is told once it knows everything that was committed, and when it is deposed', async () => {
    const { stores } = await open()
    const leader = stores.leaderOf(system(stores).rangeId)!
    const { core, state } = leader.replicas.replica(1)!
    expect(leader.seat.leadership?.term).toBe(core.term)
    expect(state.appliedTerm).toBe(core.term)
    const others = [...stores.stores.values()].filter((store) => store !== leader)
    for (const { seat } of others) expect(seat.leadership).toBeUndefined()
    cutOff(stores, leader)
    await stores.until(() => others.some(({ seat }) => seat.leadership !== undefined), 'another one leads')
    stores.cutOff.clear()
    await stores.until(() => leader.seat.leadership === undefined, 'the former one has heard')
  })

  it('gives out timestamps at once when the request shows that it still leads, else after a round', async () => {
    const { stores } = await open()
    const leader = stores.leaderOf(1)!
    const { term } = leader.replicas.replica(1)!.core
    const other = [...stores.stores.values()].find((store) => store !== leader)!
    expect(begin(leader, ask(other.nodeId, term))).toEqual([{ kind: 'timestamps', first: 1000, safePoint: 7 }])
    for (const request of [ask(leader.nodeId, term), ask(other.nodeId, term - 1), ask(99, term)]) {
      const replies = begin(leader, request)
      expect(replies).toEqual([])
      await stores.until(() => replies.length > 0, 'a round')
      expect(replies).toMatchObject([{ kind: 'timestamps' }])
    }
  })

  it('gives out none when it was deposed and does not know it', async () => {
    const { stores } = await open()
    const former = stores.leaderOf(1)!
    const { core } = former.replicas.replica(1)!
    const { term } = core
    cutOff(stores, former)
    await stores.until(() => stores.leaderOf(1) !== undefined, 'a new leader')
    expect([core.role, core.term]).toEqual(['leader', term])
    const successor = stores.leaderOf(1)!
    // Of its own node, and of a node that already knows better: what its process says now counts.
    const later = successor.replicas.replica(1)!.core.term
    const replies = [former.nodeId, successor.nodeId].map((nodeId) => begin(former, ask(nodeId, later)))
    await stores.pass(200)
    stores.cutOff.clear()
    await stores.until(() => replies.every(({ length }) => length > 0), 'answers')
    for (const reply of replies.flat()) expect(reply).toMatchObject({ kind: 'refused' })
    expect(former.seat.next).toBe(1000)
  })

  it('proposes what the oracle writes above timestamps that are on their way, which are asked for again', async () => {
    const { stores } = await open()
    const leader = stores.leaderOf(1)!
    stores.oracle.isHolding = true
    const written = begin(leader, writeOf(system(stores), '\x00a', 'v'))
    await stores.until(() => stores.oracle.onTheWay === 1, 'the write has its timestamp')
    const version = stores.oracle.take()
    const ends: boolean[] = []
    leader.seat.leadership!.propose(version, '\x00b', new Uint8Array(1), (isApplied) => ends.push(isApplied))
    stores.oracle.deliver()
    await stores.until(() => ends.length + written.length === 2, 'both')
    expect(ends).toEqual([true])
    expect(versionOf(written[0])).toBeGreaterThan(version)
    expect(leader.seat.leadership!.get('\x00b')).toMatchObject({ version })
    expect(leader.fatal).toEqual([])
  })

  it('says that a proposal never applies when another leader’s entry has taken its place', async () => {
    const { stores } = await open()
    const former = stores.leaderOf(1)!
    const { leadership } = former.seat
    cutOff(stores, former)
    const ends: boolean[] = []
    leadership!.propose(stores.oracle.take(), '\x00b', new Uint8Array(1), (isApplied) => ends.push(isApplied))
    await stores.until(() => stores.leaderOf(1) !== undefined, 'a new leader')
    expect(ends).toEqual([])
    stores.cutOff.clear()
    await stores.until(() => ends.length > 0, 'the news')
    expect(ends).toEqual([false])
  })

  it('alone answers for timestamps', async () => {
    const { stores, descriptor, leader } = await open()
    const replies = begin(leader, { ...ask(leader.nodeId, 1), rangeId: descriptor.rangeId })
    await stores.until(() => replies.length > 0, 'an answer')
    expect(replies).toMatchObject([{ kind: 'refused', reason: 'not-ready' }])
  })
})
