import type { Descriptor, ReplicaChange } from '@cordillera/ranges'
import type { SnapshotMessage } from '@cordillera/wire'
import { describe, expect, it } from 'vitest'
import type { Replica } from './replica.js'
import { keyIn, readOf, type Store, Stores, writeOf } from './testing/stores.js'

const limits = { laggardEntriesMax: 20, stateFlushMs: 300 }

/** A cluster of three, one range of it, and who leads it. */
async function open(spares = 0): Promise<{ stores: Stores; range: Descriptor; leader: Store }> {
  const stores = await Stores.open(3, 2, limits, spares)
  await stores.untilLed()
  const range = stores.descriptors[1]!
  return { stores, range, leader: stores.leaderOf(range.rangeId)! }
}

function replicaAt({ replicas }: Store, { rangeId }: Descriptor): Replica {
  return replicas.replica(rangeId)!
}

async function write(stores: Stores, range: Descriptor, count: number, name = 'k'): Promise<void> {
  for (let i = 0; i < count; i++) {
    const reply = await stores.execute(writeOf(range, keyIn(range, `${name}${i}`), `${name} ${i}`))
    expect(reply.kind).toBe('written')
  }
}

function values(store: Store, range: Descriptor, count: number, name = 'k'): string[] {
  return Array.from({ length: count }, (_, i) => {
    const found = store.state.get(keyIn(range, `${name}${i}`))
    return found === undefined ? '' : `${Buffer.from(found.value)}@${found.version}`
  })
}

async function untilEqual(stores: Stores, range: Descriptor, one: Store, other: Store): Promise<void> {
  await stores.until(() => {
    const [a, b] = [replicaAt(one, range)?.state, replicaAt(other, range)?.state]
    return a !== undefined && a.appliedIndex === b?.appliedIndex
  }, 'two replicas that have applied as much')
}

/** Until it is taken: who is to be promoted must have been heard. */
async function propose(stores: Stores, range: Descriptor, ...changes: ReplicaChange[]): Promise<void> {
  const refusals = new Set<string>()
  await stores.until(
    () => {
      const result = replicaAt(stores.leaderOf(range.rangeId)!, range).proposeChanges(changes)
      if (result.kind === 'refused') refusals.add(result.reason)
      return result.kind === 'proposed'
    },
    `the proposal of ${JSON.stringify(changes)}, refused: ${[...refusals]}`,
  )
}

/** A follower that was away for so long that the log has forgotten what it needs. */
async function withLaggard(): Promise<{ stores: Stores; range: Descriptor; leader: Store; laggard: Store }> {
  const { stores, range, leader } = await open()
  await write(stores, range, 3)
  const laggard = [...stores.stores.values()].find((store) => store !== leader)!
  stores.isolate(laggard.nodeId)
  await write(stores, range, 60)
  await stores.pass(1_000)
  return { stores, range, leader, laggard }
}

describe('a follower that fell behind', () => {
  it('holds no log back beyond the limits, and gets a snapshot when it returns', async () => {
    const { stores, range, leader, laggard } = await withLaggard()
    for (const store of [leader, ...[...stores.stores.values()].filter((one) => one !== laggard)]) {
      const { log } = replicaAt(store, range)
      expect(log.lastIndex - log.compactedIndex).toBeLessThanOrEqual(limits.laggardEntriesMax)
    }
    const { lastIndex } = replicaAt(laggard, range).core
    expect(replicaAt(leader, range).log.compactedIndex).toBeGreaterThan(lastIndex)
    stores.rejoin(laggard.nodeId)
    await write(stores, range, 5, 'later')
    await untilEqual(stores, range, leader, laggard)
    expect(values(laggard, range, 60)).toEqual(values(leader, range, 60))
    expect(values(laggard, range, 5, 'later')).toEqual(values(leader, range, 5, 'later'))
    expect([leader.replicas.counts.snapshotsSent, laggard.replicas.counts.snapshotsInstalled]).toEqual([1, 1])
    expect([leader.fatal, laggard.fatal]).toEqual([[], []])
  })

  it('is caught up by the log as long as it is within the limits', async () => {
    const { stores, range, leader } = await open()
    const laggard = [...stores.stores.values()].find((store) => store !== leader)!
    stores.isolate(laggard.nodeId)
    await write(stores, range, limits.laggardEntriesMax - 5)
    await stores.pass(1_000)
    stores.rejoin(laggard.nodeId)
    await untilEqual(stores, range, leader, laggard)
    expect(laggard.replicas.counts.snapshotsInstalled).toBe(0)
  })

  it('begins again with the snapshot when the connection is lost in the middle of it', async () => {
    const { stores, range, leader, laggard } = await withLaggard()
    stores.rejoin(laggard.nodeId)
    const isChunk = ({ kind }: SnapshotMessage): boolean => kind === 'snapshot-chunk'
    for (let times = 1; times <= 3; times++) {
      const before = stores.snapshotMessages.length
      await stores.until(() => stores.snapshotMessages.slice(before).some(isChunk), 'a chunk')
      stores.isolate(laggard.nodeId)
      await stores.pass(50)
      expect(laggard.replicas.counts.snapshotsInstalled).toBe(0)
      stores.rejoin(laggard.nodeId)
    }
    await untilEqual(stores, range, leader, laggard)
    expect(laggard.replicas.counts.snapshotsInstalled).toBe(1)
    expect(values(laggard, range, 60)).toEqual(values(leader, range, 60))
  })

  it('owes what the connection had no room for: credits, and the word that it is installed', async () => {
    const { stores, range, leader, laggard } = await withLaggard()
    const refused = new Map<string, number>()
    stores.refusesSnapshot = ({ kind }) => {
      const times = (refused.get(kind) ?? 0) + 1
      refused.set(kind, times)
      return kind !== 'snapshot-offer' && times % 2 === 1
    }
    stores.rejoin(laggard.nodeId)
    await untilEqual(stores, range, leader, laggard)
    expect(laggard.replicas.counts.snapshotsInstalled).toBe(1)
    await stores.until(() => leader.replicas.counts.snapshotsSent === 1, 'the word that it is installed')
    expect([...refused.keys()].sort()).toEqual([
      'snapshot-chunk',
      'snapshot-credit',
      'snapshot-ended',
      'snapshot-offer',
    ])
  })

  it('is sent as slowly as the rate of the node says, and neither side gives up on it', async () => {
    const { stores, range, leader, laggard } = await withLaggard()
    const isChunk = ({ kind }: SnapshotMessage): boolean => kind === 'snapshot-chunk'
    stores.snapshotMessages.length = 0
    // A piece is ahead of it that takes 100 s: more than a silent sender, or receiver, is given.
    leader.replicas.snapshotRate.bytesPerSec = 1_000
    leader.replicas.snapshotRate.claim(100_000, stores.clock.now())
    stores.rejoin(laggard.nodeId)
    await stores.pass(50_000)
    await stores.pass(45_000)
    expect(stores.snapshotMessages.some(isChunk)).toBe(false)
    await stores.until(() => laggard.replicas.counts.snapshotsInstalled > 0, 'the snapshot')
    const credited = stores.snapshotMessages.filter(({ kind }) => kind === 'snapshot-credit')
    const ended = stores.snapshotMessages.filter(
      ({ kind }) => kind === 'snapshot-cancelled' || kind === 'snapshot-ended',
    )
    expect([ended.length, new Set(credited.map(({ streamId }) => streamId)).size]).toEqual([1, 1])
    await untilEqual(stores, range, leader, laggard)
  })

  it('is whole after a crash at any moment of the installation', async () => {
    // The state's own tests try every moment; here, that the log begins again behind it.
    const { stores, range, leader, laggard } = await withLaggard()
    const { replicaId } = replicaAt(laggard, range)
    stores.rejoin(laggard.nodeId)
    await stores.until(() => laggard.replicas.counts.snapshotsInstalled > 0, 'the snapshot')
    const { log, state } = replicaAt(laggard, range)
    expect(log.compactedIndex).toBe(state.flushedIndex)
    expect(log.termAt(state.flushedIndex)).toBe(state.appliedTerm)
    expect(laggard.log.groups.get(replicaId)).toBe(log)
    await untilEqual(stores, range, leader, laggard)
  })

  it('takes what a deposed leader sends as well, and not what brings nothing new', async () => {
    const { stores, range, leader, laggard } = await withLaggard()
    stores.rejoin(laggard.nodeId)
    await untilEqual(stores, range, leader, laggard)
    const from = leader.nodeId
    const [a, b] = [replicaAt(leader, range).replicaId, replicaAt(laggard, range).replicaId]
    const offer = { kind: 'snapshot-offer', streamId: 99, rangeId: range.rangeId, from: a, to: b, span: range } as const
    stores.snapshotMessages.length = 0
    laggard.replicas.onSnapshot(from, offer)
    // The leader knows nothing of this stream, and says so when it is asked for the first chunk.
    await stores.until(
      () => stores.snapshotMessages.some(({ kind }) => kind === 'snapshot-cancelled'),
      'the end of a stream that the sender does not know',
    )
    const snapshot = await stores.clock.run(leader.state.openSnapshot(replicaAt(leader, range).state))
    laggard.replicas.onSnapshot(from, { ...offer, streamId: 100 })
    const head = (await stores.clock.run(snapshot.next()))!
    stores.loses = () => true
    laggard.replicas.onSnapshot(from, { kind: 'snapshot-chunk', streamId: 100, chunk: head })
    await stores.until(
      () => stores.snapshotMessages.some((each) => each.kind === 'snapshot-ended' && each.outcome === 'unwanted'),
      'a refusal',
    )
    await snapshot.close()
  })
})

describe('the log of a store', () => {
  it('that has outgrown its bound forgets all that is flushed of the groups that keep it', async () => {
    const { stores, range, leader } = await open()
    const laggard = [...stores.stores.values()].find((store) => store !== leader)!
    stores.isolate(laggard.nodeId)
    await write(stores, range, 10)
    await stores.pass(1_000)
    const { log, replicaId, state } = replicaAt(leader, range)
    expect(log.lastIndex - log.compactedIndex).toBeGreaterThanOrEqual(10)
    leader.replicas.retention.onLogBytesMax([replicaId])
    await stores.until(() => log.compactedIndex === state.flushedIndex && state.flushedIndex > 0, 'the compaction')
    stores.rejoin(laggard.nodeId)
    await untilEqual(stores, range, leader, laggard)
    expect(laggard.replicas.counts.snapshotsInstalled).toBe(1)
  })
})

describe('a replica on another node', () => {
  it('begins as a learner with a snapshot, becomes a voter, and the old one goes when a quorum knows', async () => {
    const { stores, range, leader } = await open(1)
    await write(stores, range, 5)
    const spare = stores.stores.get(4)!
    const leaving = [...stores.stores.values()].find((store) => store !== leader && store !== spare)!
    const old = replicaAt(leaving, range)
    await propose(stores, range, { kind: 'add-learner', replicaId: 100, nodeId: 4 })
    await stores.until(() => replicaAt(spare, range) !== undefined, 'the learner')
    await untilEqual(stores, range, leader, spare)
    expect(values(spare, range, 5)).toEqual(values(leader, range, 5))
    expect(replicaAt(spare, range).core.configuration.learners).toEqual([100])
    await propose(
      stores,
      range,
      { kind: 'promote', replicaId: 100, nodeId: 4 },
      { kind: 'remove', replicaId: old.replicaId, nodeId: leaving.nodeId },
    )
    const { core } = replicaAt(leader, range)
    await stores.until(
      () => core.configuration.voters.includes(100) && core.configuration.outgoing.length === 0,
      'the swap',
    )
    const { descriptor } = replicaAt(leader, range)
    expect(descriptor.replicas.map(({ nodeId, type }) => `${nodeId} ${type}`).sort()).toEqual(
      [1, 2, 3, 4].filter((nodeId) => nodeId !== leaving.nodeId).map((nodeId) => `${nodeId} voter`),
    )
    expect(descriptor.epoch).toEqual({ version: 1, confVersion: 4 })
    await write(stores, range, 5, 'after')
    await untilEqual(stores, range, leader, spare)
    await stores.clock.run(leaving.replicas.destroy(old.state))
    expect([replicaAt(leaving, range), leaving.log.groups.get(old.replicaId)]).toEqual([undefined, undefined])
    expect(leaving.state.mayCreate(old.replicaId)).toBe(false)
    // What was destroyed is not destroyed again.
    await stores.clock.run(leaving.replicas.destroy(old.state))
    expect([...leaving.fatal, ...leader.fatal, ...spare.fatal]).toEqual([])
  })

  it('is not made under an id that was there before, nor beside another replica of its range', async () => {
    const { stores, range, leader } = await open()
    const other = [...stores.stores.values()].find((store) => store !== leader)!
    const old = replicaAt(other, range)
    await propose(stores, range, { kind: 'add-learner', replicaId: 100, nodeId: other.nodeId })
    await stores.pass(3_000)
    expect(replicaAt(other, range)).toBe(old)
    expect(other.state.replicas.has(100)).toBe(false)
    await propose(stores, range, { kind: 'remove', replicaId: 100, nodeId: other.nodeId })
    await stores.pass(1_000)
    await stores.clock.run(other.replicas.destroy(old.state))
    // It is a voter still, and its leader goes on speaking to it: nothing may begin again under its id.
    await stores.pass(3_000)
    expect(replicaAt(other, range)).toBeUndefined()
    await write(stores, range, 3)
  })

  it('takes the place of a silenced one on the same node', async () => {
    const { stores, range, leader } = await open()
    await write(stores, range, 5)
    const damaged = [...stores.stores.values()].find((store) => store !== leader)!
    const old = replicaAt(damaged, range)
    damaged.replicas.onLogDamaged(old, new Error('rot') as never)
    await propose(stores, range, { kind: 'add-learner', replicaId: 100, nodeId: damaged.nodeId })
    await stores.until(() => replicaAt(damaged, range)?.replicaId === 100, 'the successor')
    await untilEqual(stores, range, leader, damaged)
    expect(damaged.replicas.silenced.size).toBe(0)
    expect(damaged.state.mayCreate(old.replicaId)).toBe(false)
    expect(values(damaged, range, 5)).toEqual(values(leader, range, 5))
  })
})

describe('a leader with a lease', () => {
  it('serves reads without a message, and with messages once it does not hear the others any more', async () => {
    const lease = { durationMs: 900, clockDriftMax: 0.1 }
    const stores = await Stores.open(3, 2, { ...limits, lease })
    await stores.untilLed()
    const range = stores.descriptors[1]!
    await write(stores, range, 1)
    const leader = stores.leaderOf(range.rangeId)!
    const { core } = replicaAt(leader, range)
    await stores.until(() => core.hasLease, 'a lease')
    const read = (): unknown[] => {
      const replies: unknown[] = []
      leader.replicas.execute(readOf(range, keyIn(range, 'k0')), (reply) => replies.push(reply))
      return replies
    }
    stores.loses = () => true
    const first = read()
    await stores.until(() => first.length > 0, 'an answer')
    expect(first).toMatchObject([{ kind: 'values', values: [{ value: Buffer.from('k 0') }] }])
    await stores.until(() => !core.hasLease, 'the end of the lease')
    const second = read()
    await stores.until(() => second.length > 0, 'a refusal')
    expect(second).toMatchObject([{ kind: 'refused', reason: 'not-leader' }])
  })
})

describe('a follower', () => {
  it('serves reads that say that it may, once it has applied what the leader says', async () => {
    const { stores, range, leader } = await open()
    const follower = [...stores.stores.values()].find((store) => store !== leader)!
    const ask = (at = 0): unknown[] => {
      const replies: unknown[] = []
      const read = readOf(range, keyIn(range, 'k0'), at)
      follower.replicas.execute({ ...read, byFollower: true } as typeof read, (reply) => replies.push(reply))
      return replies
    }
    await write(stores, range, 1)
    const [first, second] = [ask(), ask()]
    const messages = stores.snapshotMessages.length
    await stores.until(() => first.length + second.length === 2, 'two answers')
    expect(first).toMatchObject([{ kind: 'values', values: [{ value: Buffer.from('k 0') }] }])
    expect(second).toEqual(first)
    expect(stores.snapshotMessages.length).toBe(messages)
    const plain: unknown[] = []
    follower.replicas.execute(readOf(range, keyIn(range, 'k0')), (reply) => plain.push(reply))
    expect(plain).toMatchObject([{ kind: 'refused', reason: 'not-leader', leader: leader.nodeId }])
  })

  it('raises the leader’s floor with a read at a timestamp', async () => {
    const { stores, range, leader } = await open()
    const follower = [...stores.stores.values()].find((store) => store !== leader)!
    await write(stores, range, 1)
    const at = stores.oracle.next + 20
    const replies: unknown[] = []
    const read = readOf(range, keyIn(range, 'k0'), at)
    follower.replicas.execute({ ...read, byFollower: true } as typeof read, (reply) => replies.push(reply))
    await stores.until(() => replies.length > 0, 'an answer')
    expect(replies).toMatchObject([{ kind: 'values' }])
    const written = await stores.execute(writeOf(range, keyIn(range, 'k0'), 'above'))
    if (written.kind !== 'written') throw new Error(`a write was ${written.kind}`)
    expect(written.outcomes[0]).toBeGreaterThan(at)
  })

  it('refuses them when nobody is known to lead, and when the leader cannot be reached', async () => {
    const { stores, range, leader } = await open()
    const follower = [...stores.stores.values()].find((store) => store !== leader)!
    stores.isolate(leader.nodeId)
    const replies: { readonly kind: string }[] = []
    const read = readOf(range, keyIn(range, 'k0'))
    follower.replicas.execute({ ...read, byFollower: true } as typeof read, (reply) => replies.push(reply))
    await stores.until(() => replies.length > 0, 'an answer')
    expect(replies).toMatchObject([{ kind: 'refused', reason: 'not-leader' }])
    expect(replicaAt(follower, range).isIdle).toBe(true)
  })
})
