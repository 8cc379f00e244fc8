import { InvariantViolation, SeededRandom } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { ENTRY_HEADER_BYTES, EntryType, sealEntry } from './entry.js'
import { defaultRaftLimits, READS_WAITING_MAX } from './options.js'
import { RaftGroup } from './raft-group.js'
import { MemoryLog } from './testing/memory-log.js'
import { VirtualCluster } from './testing/virtual-cluster.js'

function leaderOf(voters: readonly number[], limits = {}): VirtualCluster {
  const cluster = new VirtualCluster({ configuration: { voters, outgoing: [], learners: [] }, limits })
  cluster.step(cluster.replica(1), ({ group }) => group.campaign())
  cluster.settle()
  return cluster
}

/** A follower of term 1 with an empty log, which was told so by replica 2. */
function follower(): RaftGroup {
  const group = new RaftGroup({
    ...defaultRaftLimits,
    replicaId: 1,
    configuration: { voters: [1, 2, 3], outgoing: [], learners: [] },
    log: new MemoryLog(),
    hardState: { term: 0, vote: 0, commitIndex: 0 },
    appliedIndex: 0,
    random: new SeededRandom(1),
  })
  group.step({ kind: 'heartbeat', from: 2, to: 1, term: 1, commitIndex: 0, readRound: 0, quiesce: false })
  return group
}

describe('RaftGroup', () => {
  it('is confirmed as the leader by a peer of its own term alone, with whom it is a quorum', () => {
    const { group } = leaderOf([1, 2, 3]).replica(1)
    expect(group.isConfirmedBy(2, group.term)).toBe(true)
    expect(group.isConfirmedBy(2, group.term + 1)).toBe(false)
    expect(group.isConfirmedBy(2, group.term - 1)).toBe(false)
    expect(group.isConfirmedBy(9, group.term)).toBe(false)
    expect(leaderOf([1, 2, 3, 4, 5]).replica(1).group.isConfirmedBy(2, group.term)).toBe(false)
    expect(leaderOf([1]).replica(1).group.isConfirmedBy(0, 0)).toBe(true)
    expect(follower().isConfirmedBy(2, 1)).toBe(false)
  })

  it('steps down when a peer of its term knows of more that is committed than its own log has', () => {
    // By a snapshot of a later term's leader, or by a vote: then that leader has been elected, and there is nothing to assert.
    const { group } = leaderOf([1, 2, 3]).replica(1)
    const { lastIndex, commitIndex, term } = group
    const reply = { kind: 'append-reply', from: 2, to: 1, term, accepted: true, hintIndex: 0, hintTerm: 0 } as const
    group.step({ ...reply, index: lastIndex + 1 })
    expect([group.role, group.term, group.commitIndex]).toEqual(['follower', term, commitIndex])
  })

  it('draws election timeouts uniformly from n to 2n - 1 ticks', () => {
    const timeouts = new Map<number, number>()
    const cluster = new VirtualCluster({
      configuration: { voters: [1, 2], outgoing: [], learners: [] },
      random: new SeededRandom(5),
      limits: { electionTimeoutTicks: 5, heartbeatIntervalTicks: 1 },
    })
    const { group } = cluster.replica(1)
    let ticks = 0
    group.takeReady()
    for (let i = 0; i < 20_000; i++) {
      group.tick()
      ticks++
      if (!group.takeReady().messages.some(({ kind }) => kind === 'vote-request')) continue
      timeouts.set(ticks, (timeouts.get(ticks) ?? 0) + 1)
      ticks = 0
    }
    expect([...timeouts.keys()].sort()).toEqual([5, 6, 7, 8, 9])
    for (const count of timeouts.values()) expect(count).toBeGreaterThan(400)
  })

  it('campaigns so much later than its timeout as it is told to, from one tick to the next', () => {
    const group = follower()
    group.takeReady()
    const campaigns = (): boolean => {
      group.tick()
      return group.takeReady().messages.some(({ kind }) => kind === 'vote-request')
    }
    const { electionTimeoutTicks } = defaultRaftLimits
    group.campaignDelayTicks = 2 * electionTimeoutTicks
    for (let i = 0; i < 3 * electionTimeoutTicks - 1; i++) expect(campaigns()).toBe(false)
    group.campaignDelayTicks = 0
    expect(campaigns()).toBe(true)
  })

  it('refuses proposals from the first answer of the one it hands over to, until that one cannot be reached', () => {
    const cluster = leaderOf([1, 2, 3])
    const { group } = cluster.replica(1)
    const propose = (): string => group.propose(Buffer.alloc(ENTRY_HEADER_BYTES)).kind
    expect(group.transferLeadership(2)).toBe('started')
    expect(propose()).toBe('proposed')
    const { term, lastIndex: index } = group
    group.step({ kind: 'append-reply', from: 2, to: 1, term, accepted: true, index, hintIndex: 0, hintTerm: 0 })
    group.onPeerUnreachable(3)
    expect(propose()).toBe('refused')
    group.onPeerUnreachable(2)
    expect(propose()).toBe('proposed')
  })

  it('hands the same bytes to the log and to every peer', () => {
    const cluster = leaderOf([1, 2, 3])
    const leader = cluster.replica(1)
    cluster.propose(leader, 'x')
    const { entries, messages } = leader.group.takeReady()
    const sent = messages.flatMap((message) => (message.kind === 'append-request' ? message.entries : []))
    expect(sent.map(({ bytes }) => bytes === entries[0]!.bytes)).toEqual([true, true])
  })

  it('refuses reads beyond a bound, and takes them again when the first are answered', () => {
    const cluster = leaderOf([1, 2, 3])
    const leader = cluster.replica(1)
    for (let i = 0; i < READS_WAITING_MAX; i++) expect(cluster.read(leader)).toBeTypeOf('number')
    expect(cluster.read(leader)).toBe('overloaded')
    cluster.settle()
    expect(cluster.confirmedReadCount).toBe(READS_WAITING_MAX)
    expect(cluster.read(leader)).toBeTypeOf('number')
  })

  it('counts the window in bytes as well as in messages', () => {
    const cluster = leaderOf([1, 2], { inflightBytesMax: 50, appendBytesMax: 30 })
    const leader = cluster.replica(1)
    for (const payload of ['aaaaaaaaaa', 'bbbbbbbbbb', 'cccccccccc']) cluster.propose(leader, payload)
    expect(cluster.take(leader).messages.length).toBe(2)
  })

  it('delivers no more than the limit before it is told that it was applied', () => {
    const cluster = leaderOf([1], { committedBytesMax: 40 })
    const { group } = cluster.replica(1)
    const { log } = cluster.replica(1)
    for (let i = 0; i < 5; i++) cluster.propose(cluster.replica(1), 'x')
    const ready = group.takeReady()
    log.write(ready.entries, ready.hardState)
    group.onSynced(ready.syncToken)
    expect(group.takeReady().committed.map(({ index }) => index)).toEqual([2, 3])
    expect(group.takeReady().committed.map(({ index }) => index)).toEqual([4, 5])
    expect(group.hasReady()).toBe(false)
    group.onApplied(3)
    expect(group.hasReady()).toBe(false)
    group.onApplied(5)
    expect(group.takeReady().committed.map(({ index }) => index)).toEqual([6])
  })

  it('has nothing ready when nothing happened, and says everything once', () => {
    const cluster = leaderOf([1, 2, 3])
    for (const { group } of cluster.replicas) {
      expect(group.hasReady()).toBe(false)
      const ready = group.takeReady()
      expect(ready.syncToken).toBe(0)
      expect(ready.hardState ?? ready.load ?? ready.roleChange).toBeUndefined()
      const lists = [ready.entries, ready.messages, ready.messagesAfterSync, ready.committed, ready.reads]
      expect(lists.flat()).toEqual([])
    }
  })

  it('waits with an acknowledgement for a write of an earlier ready that is not synced', () => {
    const cluster = leaderOf([1, 2])
    const [leader, receiver] = [cluster.replica(1), cluster.replica(2)]
    cluster.propose(leader, 'x')
    const append = cluster.take(leader).messages[0]!
    receiver.group.step(append)
    const first = receiver.take()
    receiver.group.step(append)
    const second = receiver.take()
    expect([first.entries.length, second.entries.length]).toEqual([1, 0])
    expect([second.mustSync, second.messages.length, second.messagesAfterSync.length]).toEqual([true, 0, 1])
    receiver.syncNext()
    receiver.syncNext()
    // Everything is durable now: the same answer need not wait for anything.
    receiver.group.step(append)
    const third = receiver.take()
    expect([third.mustSync, third.messages.length, third.messagesAfterSync.length]).toEqual([false, 1, 0])
  })

  it('commits no further than an append reaches: what is behind it may be replaced (figure 2, receiver 5)', () => {
    const entryOf = (index: number, term: number) => {
      return sealEntry(term, index, EntryType.command, new Uint8Array(ENTRY_HEADER_BYTES))
    }
    const log = MemoryLog.of([entryOf(1, 1), entryOf(2, 1), entryOf(3, 2)], { term: 2, vote: 0, commitIndex: 0 })
    const group = new RaftGroup({
      ...defaultRaftLimits,
      replicaId: 1,
      configuration: { voters: [1, 2, 3], outgoing: [], learners: [] },
      log,
      hardState: log.hardState,
      appliedIndex: 0,
      random: new SeededRandom(1),
    })
    const entries = [entryOf(2, 1)]
    const append = { kind: 'append-request', from: 2, to: 1, term: 3, prevIndex: 1, prevTerm: 1, entries } as const
    group.step({ ...append, commitIndex: 3 })
    expect([group.commitIndex, group.lastIndex]).toEqual([2, 3])
  })

  it('ignores what is addressed to another replica', () => {
    const group = follower()
    group.step({ kind: 'heartbeat', from: 2, to: 3, term: 9, commitIndex: 0, readRound: 0, quiesce: false })
    expect(group.term).toBe(1)
  })

  it('stops when it is told what Raft excludes', () => {
    const beyond = { kind: 'heartbeat', from: 2, to: 1, term: 1, commitIndex: 7, readRound: 0, quiesce: false } as const
    expect(() => follower().step(beyond)).toThrow(InvariantViolation)
    const { group } = leaderOf([1, 2, 3]).replica(1)
    expect(() => group.step({ ...beyond, commitIndex: 0 })).toThrow(InvariantViolation)
    expect(() => group.onApplied(5)).toThrow(InvariantViolation)
    expect(() => group.onSynced(99)).toThrow(InvariantViolation)
  })
})
