import type { NodeId } from '@cordillera/base'
import { type Descriptor, type SplitCommand, WriteBlockBuilder } from '@cordillera/ranges'
import type { RangeReply, RangeRequest } from '@cordillera/wire'
import { describe, expect, it } from 'vitest'
import type { Replica } from './replica.js'
import { readOf, type Store, Stores, writeOf } from './testing/stores.js'

const RIGHT = 50
const REPLICAS = [101, 102, 103]
const limits = { laggardEntriesMax: 20, stateFlushMs: 300 }

/** A cluster of three and one range of it, with a key in either half. */
async function open(some: object = {}): Promise<{ stores: Stores; range: Descriptor; leader: Store }> {
  const stores = await Stores.open(3, 1, some)
  await stores.untilLed()
  const range = stores.descriptors[1]!
  for (const key of ['b', 'y']) await write(stores, range, key, `${key} before`)
  return { stores, range, leader: stores.leaderOf(range.rangeId)! }
}

async function write(stores: Stores, range: Descriptor, key: string, value: string): Promise<void> {
  expect(await stores.execute(writeOf(range, key, value))).toMatchObject({ kind: 'written' })
}

async function read(stores: Stores, range: Descriptor, key: string): Promise<string | undefined> {
  const reply = await stores.execute(readOf(range, key))
  if (reply.kind !== 'values') throw new Error(`${reply.kind} ${'reason' in reply ? reply.reason : ''}`)
  const [value] = reply.values
  return value && new TextDecoder().decode(value.value)
}

function replicaAt({ replicas }: Store, rangeId: number): Replica | undefined {
  return replicas.replica(rangeId)
}

function commandFor({ epoch }: Descriptor, key = 'm'): SplitCommand {
  return { kind: 'split', epoch, key, rangeId: RIGHT, replicaIds: REPLICAS }
}

async function split(stores: Stores, range: Descriptor, key = 'm'): Promise<RangeReply> {
  const replies: RangeReply[] = []
  const leader = stores.leaderOf(range.rangeId)!
  replicaAt(leader, range.rangeId)!.proposeAdmin(commandFor(range, key), (reply) => replies.push(reply))
  await stores.until(() => replies.length > 0, 'the end of a split')
  return replies[0]!
}

function halvesAt(store: Store, { rangeId }: Descriptor): (Descriptor | undefined)[] {
  return [rangeId, RIGHT].map((id) => replicaAt(store, id)?.descriptor)
}

function isCutAt(store: Store, range: Descriptor): boolean {
  return replicaAt(store, RIGHT) !== undefined && replicaAt(store, range.rangeId)?.descriptor.end === 'm'
}

async function untilCut(stores: Stores, range: Descriptor): Promise<void> {
  const isCut = (): boolean => [...stores.stores.values()].every((store) => isCutAt(store, range))
  await stores.until(isCut, 'both halves on every store')
}

/** A follower that was away while the range was cut, and what its halves are. */
async function withoutOne(): Promise<{ stores: Stores; left: Descriptor; right: Descriptor; away: Store }> {
  const { stores, range, leader } = await open(limits)
  const away = [...stores.stores.values()].find((store) => store !== leader)!
  stores.isolate(away.nodeId)
  expect(await split(stores, range)).toMatchObject({ kind: 'written' })
  await stores.until(() => stores.leaderOf(RIGHT) !== undefined, 'a leader of the right half')
  const [left, right] = halvesAt(leader, range)
  return { stores, left: left!, right: right!, away }
}

async function untilEqual(stores: Stores, rangeId: number, one: Store, other: Store): Promise<void> {
  await stores.until(() => {
    const [a, b] = [replicaAt(one, rangeId)?.state, replicaAt(other, rangeId)?.state]
    return a !== undefined && a.appliedIndex === b?.appliedIndex
  }, 'two replicas that have applied as much')
}

describe('a range that is cut', () => {
  it('has both halves on every store, each with everything that it held, and the right one a leader at once', async () => {
    const { stores, range, leader } = await open()
    const begin = stores.clock.now()
    expect(await split(stores, range)).toEqual({ kind: 'written', outcomes: [] })
    await stores.until(() => stores.leaderOf(RIGHT) !== undefined, 'a leader of the right half')
    expect(stores.leaderOf(RIGHT)).toBe(leader)
    // Neither a heartbeat nor an election timeout was waited for.
    expect(stores.clock.now() - begin).toBeLessThan(50)
    await untilCut(stores, range)
    const epoch = { version: 2, confVersion: 1 }
    const replicas = REPLICAS.map((replicaId, i) => ({ replicaId, nodeId: i + 1, type: 'voter' as const }))
    const left = { ...range, end: 'm', epoch }
    const right = { rangeId: RIGHT, start: 'm', end: range.end, epoch, replicas }
    for (const store of stores.stores.values()) expect(halvesAt(store, range)).toEqual([left, right])
    expect([await read(stores, left, 'b'), await read(stores, right, 'y')]).toEqual(['b before', 'y before'])
    await write(stores, left, 'c', 'left')
    await write(stores, right, 'z', 'right')
    expect([await read(stores, left, 'c'), await read(stores, right, 'z')]).toEqual(['left', 'right'])
    for (const { fatal } of stores.stores.values()) expect(fatal).toEqual([])
  })

  it('refuses what was meant for the whole, with both halves for an answer, also when it was proposed before', async () => {
    const { stores, range, leader } = await open()
    const replies: RangeReply[] = []
    const replica = replicaAt(leader, range.rangeId)!
    replica.proposeAdmin(commandFor(range), () => {})
    // Behind the split in the log, with the epoch that it still had.
    leader.replicas.execute(writeOf(range, 'y', 'too late'), (reply) => replies.push(reply))
    leader.replicas.execute(readOf(range, 'y', stores.oracle.take()), (reply) => replies.push(reply))
    await stores.until(() => replies.length === 2, 'answers')
    const [left, right] = halvesAt(leader, range)
    for (const request of [writeOf(range, 'b', 'x'), readOf(range, 'b')]) replies.push(await stores.execute(request))
    const refusal = { kind: 'refused', reason: 'epoch-mismatch', leader: leader.nodeId, descriptors: [left, right] }
    expect(replies).toEqual([refusal, refusal, refusal, refusal])
    await stores.until(() => stores.leaderOf(RIGHT) !== undefined, 'a leader of the right half')
    expect(await read(stores, right!, 'y')).toBe('y before')
  })

  it('is not cut for another epoch, nor where it ends, and says so', async () => {
    const { stores, range, leader } = await open()
    expect(await split(stores, { ...range, epoch: { version: 1, confVersion: 0 } })).toMatchObject({
      kind: 'refused',
      reason: 'epoch-mismatch',
    })
    expect(await split(stores, range, range.start)).toMatchObject({ reason: 'epoch-mismatch' })
    expect(halvesAt(leader, range)).toEqual([range, undefined])
    await write(stores, range, 'y', 'still here')
  })

  it('remembers in its right half what was done there before: a retry has one effect', async () => {
    const { stores, range, leader } = await open()
    const retry = ({ rangeId, epoch }: Descriptor): RangeRequest => {
      const builder = new WriteBlockBuilder(epoch.version, { nodeId: 9, incarnation: 1 })
      const block = builder.put(7, 'y', Buffer.from('once'), { ifPresent: true }).take(7)
      return { kind: 'write', rangeId, count: 1, block }
    }
    const first = await stores.execute(retry(range))
    await write(stores, range, 'y', 'another')
    await split(stores, range)
    await stores.until(() => stores.leaderOf(RIGHT) !== undefined, 'a leader of the right half')
    const right = halvesAt(leader, range)[1]!
    expect(await stores.execute(retry(right))).toEqual(first)
    expect(await read(stores, right, 'y')).toBe('another')
  })
})

describe('a store that was away while a range was cut', () => {
  it('cuts it by its log, when that is all it lacks', async () => {
    const { stores, left, right, away } = await withoutOne()
    await write(stores, right, 'z', 'meanwhile')
    stores.rejoin(away.nodeId)
    await untilCut(stores, left)
    await untilEqual(stores, RIGHT, stores.leaderOf(RIGHT)!, away)
    expect(Buffer.from(away.state.get('z')!.value).toString()).toBe('meanwhile')
    expect(away.replicas.counts.snapshotsInstalled).toBe(0)
  })

  it('gets no snapshot of the right half before the whole has made room for it, and then both halves', async () => {
    const { stores, left, right, away } = await withoutOne()
    for (let i = 0; i < 50; i++) {
      await write(stores, left, `c${i}`, 'left')
      await write(stores, right, `z${i}`, 'right')
    }
    await stores.pass(1_000)
    const offered = new Set<number>()
    const asked: boolean[] = []
    stores.refusesSnapshot = (message) => {
      if (message.kind === 'snapshot-offer' && message.rangeId === RIGHT) offered.add(message.streamId)
      const isAsked = message.kind === 'snapshot-credit' && offered.has(message.streamId)
      if (isAsked) asked.push(replicaAt(away, left.rangeId)!.descriptor.end === 'm')
      return false
    }
    // The right half's leader is heard first.
    const losing = stores.leaderOf(RIGHT)!
    stores.loses = ({ from }) => from === replicaAt(losing, left.rangeId)!.replicaId && offered.size === 0
    stores.rejoin(away.nodeId)
    await untilCut(stores, left)
    for (const { rangeId } of [left, right]) await untilEqual(stores, rangeId, stores.leaderOf(rangeId)!, away)
    expect(new Set(asked)).toEqual(new Set([true]))
    for (const key of ['b', 'c49', 'y', 'z49']) {
      expect(away.state.get(key)).toEqual(stores.leaderOf(left.rangeId)!.state.get(key))
    }
    expect(away.replicas.counts.snapshotsInstalled).toBe(2)
    expect(away.fatal).toEqual([])
  })
})

describe('a right half that one store has leapt over', () => {
  it('has its leader, by the vote of that store, while another one is gone', async () => {
    const { stores, left, right, away } = await withoutOne()
    for (let i = 0; i < 50; i++) await write(stores, left, `c${i}`, 'left')
    await stores.pass(1_000)
    const [one, other] = [...stores.stores.values()].filter((store) => store !== away)
    // What is said of the right half is lost until the left one is cut, by a snapshot.
    const halves = new Set(right.replicas.map(({ replicaId }) => replicaId))
    stores.loses = ({ to }) => halves.has(to)
    stores.rejoin(away.nodeId)
    await stores.until(() => replicaAt(away, left.rangeId)!.descriptor.end === 'm', 'the left half')
    expect(replicaAt(away, RIGHT)).toBeUndefined()
    stores.isolate(other!.nodeId)
    await stores.pass(5_000)
    expect(stores.leaderOf(RIGHT)).toBeUndefined()
    stores.loses = () => false
    await stores.until(() => stores.leaderOf(RIGHT) !== undefined, 'a leader of the right half')
    await untilEqual(stores, RIGHT, one!, away)
    expect(await read(stores, right, 'y')).toBe('y before')
  })
})

describe('a crash', () => {
  it('of every store, before anything of a split is in the state database, loses nothing of either half', async () => {
    const { stores, range } = await open()
    await split(stores, range)
    await stores.until(() => stores.leaderOf(RIGHT) !== undefined, 'a leader of the right half')
    await untilCut(stores, range)
    const [left, right] = halvesAt(stores.leaderOf(RIGHT)!, range)
    await write(stores, left!, 'c', 'left')
    await write(stores, right!, 'z', 'right')
    const votes = new Map<NodeId, { term: number; vote: number }>()
    for (const store of stores.stores.values()) {
      expect(store.state.replicas.get(REPLICAS[store.nodeId - 1]!)!.flushedIndex).toBe(0)
      votes.set(store.nodeId, replicaAt(store, RIGHT)!.log.hardState)
    }
    for (const nodeId of [1, 2, 3]) await stores.restart(nodeId)
    for (const { log, nodeId } of stores.stores.values()) {
      const { term, vote } = votes.get(nodeId)!
      expect(log.groups.get(REPLICAS[nodeId - 1]!)!.hardState).toMatchObject({ term, vote })
    }
    const isLed = (): boolean => stores.leaderOf(RIGHT) !== undefined && stores.leaderOf(range.rangeId) !== undefined
    await stores.until(isLed, 'leaders of both halves')
    await untilCut(stores, range)
    for (const [half, key] of [[left, 'b'] as const, [right, 'y'] as const]) {
      expect(await read(stores, half!, key)).toBe(`${key} before`)
    }
    expect([await read(stores, left!, 'c'), await read(stores, right!, 'z')]).toEqual(['left', 'right'])
  })

  it('behind the flush of a split finds both halves at once', async () => {
    const { stores, range } = await open({ stateFlushMs: 100 })
    await split(stores, range)
    await untilCut(stores, range)
    await stores.pass(1_000)
    for (const nodeId of [1, 2, 3]) {
      await stores.restart(nodeId)
      expect(isCutAt(stores.stores.get(nodeId)!, range)).toBe(true)
    }
  })

  it('behind a state flush that was faster than the log finds a right half that has promised nothing', async () => {
    for (const nodes of [3, 1]) {
      const stores = await Stores.open(nodes, 1, { stateFlushMs: 1e9 })
      await stores.untilLed()
      await stores.pass(1_000)
      const range = stores.descriptors[1]!
      const isLed = (store: Store): boolean => replicaAt(store, range.rangeId)!.core.role === 'leader'
      const store = [...stores.stores.values()].find((one) => nodes === 1 || !isLed(one))!
      const command = { ...commandFor(range), replicaIds: REPLICAS.slice(0, nodes) }
      replicaAt(stores.leaderOf(range.rangeId)!, range.rangeId)!.proposeAdmin(command, () => {})
      await stores.until(() => replicaAt(store, RIGHT) !== undefined, 'the right half')
      await stores.clock.run(store.state.flush())
      await stores.restart(store.nodeId)
      const { replicas, fatal } = stores.stores.get(store.nodeId)!
      expect([...replicas.silenced.keys()]).toEqual([])
      expect(replicas.replica(RIGHT)).toBeDefined()
      await stores.until(() => stores.leaderOf(RIGHT) !== undefined, 'a leader of the right half')
      expect(fatal).toEqual([])
    }
  })
})
