import { SeededRandom } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EntryType } from './entry.js'
import { membersOf, recover, runSchedule, scheduleOf, TICK_MS } from './testing/schedule.js'
import { VirtualCluster } from './testing/virtual-cluster.js'

/**
 * Any schedule of losses, duplicates, reorderings, crashes, pauses, slow syncs, cache misses, transfers, proposals, reads,
 * changes of the configuration, compactions and snapshots, among up to seven replicas, with lease reads and without, keeps
 * every property of `testing/invariants.ts`, and once the faults stop the group serves again, in a configuration that is not
 * joint.
 */
const actions = scheduleOf(
  {
    deliver: 24,
    'deliver-any': 8,
    duplicate: 2,
    lose: 3,
    take: 14,
    sync: 10,
    tick: 10,
    'tick-all': 16,
    propose: 8,
    read: 4,
    turn: 24,
    'turn-all': 24,
    'propose-to-leaders': 10,
    'read-from-leaders': 5,
    crash: 1,
    restart: 4,
    flush: 2,
    cut: 2,
    'cut-off': 1,
    'cut-off-leaders': 2,
    'crash-leaders': 1,
    heal: 5,
    transfer: 2,
    campaign: 2,
    'leader-unreachable': 2,
    'leaders-unreachable': 1,
    'peer-unreachable': 2,
    evict: 2,
    load: 4,
    quiesce: 3,
    change: 4,
    'change-by-leaders': 4,
    compact: 5,
    snapshot: 4,
    'snapshot-lost': 1,
    'snapshot-twice': 1,
    install: 4,
    pass: 2,
    pause: 1,
    'pause-leaders': 1,
    resume: 5,
  },
  { minLength: 600, maxLength: 2400 },
)

const scenario = fc.record({
  voterCount: fc.constantFrom(1, 2, 3, 3, 3, 4, 5, 5),
  emptyCount: fc.constantFrom(0, 0, 1, 2),
  isJoint: fc.boolean(),
  seed: fc.nat(),
  inflightMessagesMax: fc.constantFrom(1, 2, 256),
  bytesMax: fc.constantFrom(1, 60, 1 << 20),
  electionTimeoutTicks: fc.constantFrom(2, 3, 10),
  clockDriftMax: fc.constantFrom(undefined, undefined, 0.1, 0.4),
  actions,
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
  clockDriftMax,
}: Scenario): VirtualCluster {
  const voters = Array.from({ length: voterCount }, (_, at) => at + 1)
  const durationMs = electionTimeoutTicks * TICK_MS
  return new VirtualCluster({
    configuration: { voters, outgoing: isJoint ? voters.slice(1) : [], learners: [] },
    empty: Array.from({ length: emptyCount }, (_, at) => voterCount + at + 1),
    random: new SeededRandom(seed),
    lease: clockDriftMax === undefined ? undefined : { durationMs, clockDriftMax },
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

describe('a group in a virtual network', () => {
  it('keeps every invariant under any schedule, and serves again when the faults stop', { timeout: 900_000 }, () => {
    const seen = { committed: 0, reads: 0, leaseReads: 0, terms: 0, replaced: 0, changes: 0, snapshots: 0 }
    fc.assert(
      fc.property(scenario, (input) => {
        const cluster = clusterOf(input)
        runSchedule(cluster, input.actions)
        recover(cluster)
        seen.committed += cluster.invariants.committedIndex
        seen.reads += cluster.confirmedReadCount
        seen.leaseReads += cluster.leaseReadCount
        seen.terms += cluster.invariants.leaderCount
        seen.replaced += cluster.replacementCount
        seen.changes += membersOf(cluster)[0]!.applied.filter(({ type }) => type === EntryType.change).length
        seen.snapshots += cluster.running.filter(({ restoredIndex }) => restoredIndex > 0).length
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
    expect(seen.leaseReads).toBeGreaterThan(100)
    expect(seen.terms).toBeGreaterThan(1000)
    expect(seen.replaced).toBeGreaterThan(50)
    expect(seen.changes).toBeGreaterThan(100)
    expect(seen.snapshots).toBeGreaterThan(100)
  })
})
