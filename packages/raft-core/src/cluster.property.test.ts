import { type LogIndex, SeededRandom } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ChangeStep, isJoint, peersOf } from './configuration.js'
import { type Entry, EntryType } from './entry.js'
import { VirtualCluster } from './testing/virtual-cluster.js'
import type { VirtualReplica } from './testing/virtual-replica.js'

/**
 * Any schedule of losses, duplicates, reorderings, crashes, slow syncs, cache misses, transfers, proposals, reads, changes
 * of the configuration, compactions and snapshots, among up to seven replicas, keeps every property of
 * `testing/invariants.ts`, and once the faults stop the group serves again, in a configuration that is not joint.
 */
const actions = [
  ['deliver', 24],
  ['deliver-any', 8],
  ['duplicate', 2],
  ['lose', 3],
  ['take', 14],
  ['sync', 10],
  ['tick', 10],
  ['tick-all', 16],
  ['propose', 8],
  ['read', 4],
  ['turn', 24],
  ['turn-all', 24],
  ['propose-to-leaders', 10],
  ['read-from-leaders', 5],
  ['crash', 1],
  ['restart', 4],
  ['flush', 2],
  ['cut', 2],
  ['cut-off', 1],
  ['cut-off-leaders', 2],
  ['crash-leaders', 1],
  ['heal', 5],
  ['transfer', 2],
  ['campaign', 2],
  ['leader-unreachable', 2],
  ['peer-unreachable', 2],
  ['evict', 2],
  ['load', 4],
  ['quiesce', 3],
  ['change', 4],
  ['change-by-leaders', 4],
  ['compact', 5],
  ['snapshot', 4],
  ['snapshot-lost', 1],
  ['snapshot-twice', 1],
  ['install', 4],
] as const

const action = fc.record({
  kind: fc.oneof(...actions.map(([name, weight]) => ({ weight, arbitrary: fc.constant(name) }))),
  a: fc.nat(1 << 16),
  b: fc.nat(1 << 16),
})
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never

const scenario = fc.record({
  voterCount: fc.constantFrom(1, 2, 3, 3, 3, 4, 5, 5),
  emptyCount: fc.constantFrom(0, 0, 1, 2),
  isJoint: fc.boolean(),
  seed: fc.nat(),
  inflightMessagesMax: fc.constantFrom(1, 2, 256),
  bytesMax: fc.constantFrom(1, 60, 1 << 20),
  electionTimeoutTicks: fc.constantFrom(2, 3, 10),
  actions: fc.array(action, { minLength: 600, maxLength: 2400, size: 'max' }),
})

type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never

function clusterOf({
  voterCount,
  emptyCount,
  isJoint,
  seed,
  inflightMessagesMax,
  bytesMax,
  electionTimeoutTicks,
}: Scenario): VirtualCluster {
  const voters = Array.from({ length: voterCount }, (_, at) => at + 1)
  return new VirtualCluster({
    configuration: { voters, outgoing: isJoint ? voters.slice(1) : [], learners: [] },
    empty: Array.from({ length: emptyCount }, (_, at) => voterCount + at + 1),
    random: new SeededRandom(seed),
    limits: {
      inflightMessagesMax,
      appendBytesMax: bytesMax,
      committedBytesMax: bytesMax,
      uncommittedBytesMax: 2000,
      electionTimeoutTicks,
      heartbeatIntervalTicks: electionTimeoutTicks > 3 ? 3 : 1,
    },
  })
}

/** One turn of a healthy host: what is under way to it arrives, then it works and its disk is fast. */
function turn(cluster: VirtualCluster, replica: VirtualReplica): void {
  for (let at = cluster.network.length - 1; at >= 0; at--) {
    if (cluster.network[at]!.to === replica.id) cluster.deliver(at)
  }
  if (replica.group.hasReady()) cluster.take(replica)
  while (replica.unsyncedCount > 0) cluster.sync(replica)
  if (replica.loading !== undefined) cluster.step(replica, () => replica.finishLoad())
  if (replica.mayInstall) cluster.step(replica, () => replica.finishRestore())
  if (replica.group.hasReady()) cluster.take(replica)
}

function tick(cluster: VirtualCluster, replica: VirtualReplica): void {
  cluster.step(replica, () => {
    if (!replica.group.quiescent) replica.group.tick()
  })
}

function cutOff(cluster: VirtualCluster, replica: VirtualReplica): void {
  for (const { id } of cluster.replicas) cluster.cutLinks.add(`${replica.id}>${id}`).add(`${id}>${replica.id}`)
}

function run(cluster: VirtualCluster, { kind, a, b }: Action, serial: number): void {
  const { network, replicas } = cluster
  const replica = replicas[a % replicas.length]!
  const other = replicas[b % replicas.length]!
  if (kind === 'restart') {
    if (!replica.isUp) replica.restart()
    return
  }
  if (cluster.snapshots.length > 0) {
    const position = b % cluster.snapshots.length
    if (kind === 'snapshot-twice') cluster.snapshots.push(cluster.snapshots[position]!)
    if (kind === 'snapshot') cluster.deliverSnapshot(position)
    if (kind === 'snapshot-lost') cluster.loseSnapshot(position)
  }
  if (network.length > 0) {
    if (kind === 'deliver') cluster.deliver(0)
    if (kind === 'deliver-any') cluster.deliver(a % network.length)
    if (kind === 'duplicate') network.splice(b % network.length, 0, network[a % network.length]!)
    if (kind === 'lose') network.splice(a % network.length, 1)
  }
  if (kind === 'turn-all') for (const each of cluster.running) turn(cluster, each)
  for (const each of cluster.running) {
    // Every replica that believes to lead: there may be several.
    if (each.group.role !== 'leader') continue
    if (kind === 'propose-to-leaders') cluster.step(each, () => cluster.propose(each, `command ${serial} ${each.id}`))
    if (kind === 'change-by-leaders') cluster.step(each, () => change(cluster, each, a, b))
    if (kind === 'cut-off-leaders') cutOff(cluster, each)
    if (kind === 'crash-leaders') cluster.crash(each)
    if (kind === 'read-from-leaders') cluster.step(each, () => cluster.read(each))
  }
  if (kind === 'tick-all') for (const each of cluster.running) tick(cluster, each)
  if (kind === 'heal') cluster.cutLinks.clear()
  if (kind === 'cut') cluster.cutLinks.add(`${replica.id}>${other.id}`)
  if (kind === 'cut-off') cutOff(cluster, replica)
  if (replica.isUp && !replica.isEmpty) runOn(cluster, replica, other, kind, serial)
}

/** Adds, promotes or removes one or two replicas, as it comes. */
function change(cluster: VirtualCluster, leader: VirtualReplica, a: number, b: number): void {
  const { voters, learners } = leader.group.configuration
  const ids = cluster.replicas.map(({ id }) => id)
  const steps = [a, b].slice(0, 1 + (a % 2)).map((at): ChangeStep => {
    const replicaId = ids[at % ids.length]!
    if (learners.includes(replicaId)) return { kind: at % 5 === 0 ? 'remove' : 'promote', replicaId }
    if (voters.includes(replicaId)) return { kind: 'remove', replicaId }
    // One that was removed never comes back.
    return { kind: cluster.replica(replicaId).isEmpty ? 'add-learner' : 'remove', replicaId }
  })
  cluster.proposeChange(leader, steps)
}

/** Up to what is flushed, and so applied, and durable. */
function compact({ log, flushedIndex }: VirtualReplica): void {
  const index = Math.min(flushedIndex, log.durableLastIndex)
  if (index > log.compactedIndex) log.compactTo(index)
}

function runOn(
  cluster: VirtualCluster,
  replica: VirtualReplica,
  other: VirtualReplica,
  kind: Action['kind'],
  serial: number,
): void {
  const { group } = replica
  if (kind === 'take' && group.hasReady()) cluster.take(replica)
  if (kind === 'sync' && replica.unsyncedCount > 0) cluster.sync(replica)
  if (kind === 'turn') turn(cluster, replica)
  if (kind === 'tick') tick(cluster, replica)
  if (kind === 'propose') cluster.step(replica, () => cluster.propose(replica, `command ${serial}`))
  if (kind === 'read') cluster.step(replica, () => cluster.read(replica))
  if (kind === 'crash') cluster.crash(replica)
  if (kind === 'change') cluster.step(replica, () => change(cluster, replica, other.id, serial))
  if (kind === 'compact') compact(replica)
  if (kind === 'install' && replica.mayInstall) cluster.step(replica, () => replica.finishRestore())
  if (kind === 'flush' && !replica.isRestoring) replica.flushedIndex = replica.applied.length
  if (kind === 'transfer') cluster.step(replica, () => group.transferLeadership(other.id))
  if (kind === 'campaign') cluster.step(replica, () => group.campaign())
  if (kind === 'leader-unreachable') cluster.step(replica, () => group.onLeaderUnreachable())
  if (kind === 'peer-unreachable') cluster.step(replica, () => group.onPeerUnreachable(other.id))
  if (kind === 'evict') replica.log.evictedIndex = replica.log.lastIndex
  if (kind === 'load' && replica.loading !== undefined) cluster.step(replica, () => replica.finishLoad())
  if (kind === 'quiesce' && group.canQuiesce()) cluster.step(replica, () => group.quiesce())
}

/** Those in the configuration that was applied last by anyone. */
function members(cluster: VirtualCluster): VirtualReplica[] {
  const [newest] = cluster.running.sort((a, b) => b.applied.length - a.applied.length)
  const { configuration } = newest!.group
  return isJoint(configuration) ? cluster.replicas : peersOf(configuration, 0).map((id) => cluster.replica(id))
}

function termsOf(entries: readonly Entry[]): string {
  return entries.map(({ term }) => term).join()
}

/** The faults stop: a command is committed and applied everywhere, and a read is confirmed, within bounded time. Returns the command's index. */
function recover(cluster: VirtualCluster): LogIndex {
  cluster.cutLinks.clear()
  for (const replica of cluster.replicas) {
    if (!replica.isUp) replica.restart()
    cluster.step(replica, () => replica.group.wake())
  }
  while (cluster.snapshots.length > 0) cluster.loseSnapshot(0)
  const reads = cluster.confirmedReadCount
  let proposed = { index: 0, term: 0 }
  for (let round = 0; round < 400; round++) {
    for (const replica of cluster.running) tick(cluster, replica)
    cluster.settle()
    // A leader of an earlier term may still believe in itself; what it lost is asked of the next one.
    const leader = cluster.running.find(({ group }) => group.role === 'leader' && group.term > proposed.term)
    const result = leader === undefined ? undefined : cluster.propose(leader, 'the last one')
    if (result?.kind === 'proposed') {
      proposed = result
      cluster.read(leader!)
      cluster.settle()
    }
    const isApplied = members(cluster).every(({ applied }) => applied[proposed.index - 1]?.term === proposed.term)
    if (isApplied && cluster.confirmedReadCount > reads) return proposed.index
  }
  const states = cluster.running.map(({ id, group, applied, isRestoring }) => {
    const { role, term, leader, lastIndex, commitIndex, durableIndex, quiescent } = group
    const progress = cluster.replicas.map((other) => group.progressOf(other.id))
    return JSON.stringify({
      id,
      role,
      term,
      leader,
      lastIndex,
      commitIndex,
      durableIndex,
      quiescent,
      applied: applied.length,
      configuration: group.configuration,
      isRestoring,
      progress,
    })
  })
  throw new Error(`broken: liveness once the faults have stopped (${proposed.index} proposed)\n${states.join('\n')}`)
}

describe('a group in a virtual network', () => {
  it('keeps every invariant under any schedule, and serves again when the faults stop', { timeout: 900_000 }, () => {
    const seen = { committed: 0, reads: 0, terms: 0, replaced: 0, changes: 0, snapshots: 0 }
    fc.assert(
      fc.property(scenario, (input) => {
        const cluster = clusterOf(input)
        input.actions.forEach((each, serial) => {
          run(cluster, each, serial)
        })
        const end = recover(cluster)
        seen.committed += cluster.invariants.committedIndex
        seen.reads += cluster.confirmedReadCount
        seen.terms += cluster.invariants.leaderCount
        seen.replaced += cluster.replacementCount
        seen.changes += members(cluster)[0]!.applied.filter(({ type }) => type === EntryType.change).length
        seen.snapshots += cluster.running.filter(({ restoredIndex }) => restoredIndex > 0).length
        const sequences = new Set(members(cluster).map(({ applied }) => termsOf(applied.slice(0, end))))
        expect(sequences.size).toBe(1)
      }),
      {
        numRuns: Number(process.env.CORDILLERA_RUNS ?? 300),
        seed: Number(process.env.CORDILLERA_SEED ?? 20),
        // To make a schedule smaller takes minutes.
        endOnFailure: process.env.CORDILLERA_SHRINK === undefined,
      },
    )
    // Schedules in which nothing happens would prove nothing.
    if (process.env.CORDILLERA_RUNS !== undefined) console.log(seen)
    expect(seen.committed).toBeGreaterThan(5000)
    expect(seen.reads).toBeGreaterThan(2000)
    expect(seen.terms).toBeGreaterThan(1000)
    expect(seen.replaced).toBeGreaterThan(50)
    expect(seen.changes).toBeGreaterThan(100)
    expect(seen.snapshots).toBeGreaterThan(100)
  })
})
