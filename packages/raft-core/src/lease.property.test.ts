import { SeededRandom } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { recover, runSchedule, scheduleOf, TICK_MS } from './testing/schedule.js'
import { VirtualCluster } from './testing/virtual-cluster.js'

/**
 * Lease reads among replicas that are cut off, stopped, restarted or told that their leader is gone, over and over, with clocks
 * as far apart as they may run: nobody is elected while a leader of an earlier term may read by its lease, and no read misses
 * what was committed when it was asked. Few kinds of steps, so that an unsound lease is found within seconds; all of them
 * together are in `cluster.property.test.ts`.
 */
const actions = scheduleOf(
  {
    'turn-all': 40,
    'tick-all': 12,
    deliver: 10,
    'deliver-any': 6,
    turn: 10,
    take: 6,
    pass: 4,
    'propose-to-leaders': 6,
    'read-from-leaders': 8,
    'cut-off-leaders': 3,
    'pause-leaders': 4,
    resume: 3,
    heal: 3,
    cut: 2,
    crash: 2,
    'crash-followers': 2,
    'restart-all': 8,
    campaign: 6,
    'leaders-unreachable': 6,
    'transfer-by-leaders': 1,
    quiesce: 1,
  },
  { minLength: 200, maxLength: 800 },
)

const scenario = fc.record({
  voterCount: fc.constantFrom(2, 3, 3, 5),
  isJoint: fc.boolean(),
  seed: fc.nat(),
  electionTimeoutTicks: fc.constantFrom(2, 5),
  // Longer than is wise, so that nothing but the lease stands in the way of an election.
  timeouts: fc.constantFrom(1, 3),
  clockDriftMax: fc.constantFrom(0.1, 0.4),
  actions,
})

type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never

function clusterOf({
  voterCount,
  isJoint,
  seed,
  electionTimeoutTicks,
  timeouts,
  clockDriftMax,
}: Scenario): VirtualCluster {
  const voters = Array.from({ length: voterCount }, (_, at) => at + 1)
  const random = new SeededRandom(seed)
  const cluster = new VirtualCluster({
    configuration: { voters, outgoing: isJoint ? voters.slice(1) : [], learners: [] },
    random,
    lease: { durationMs: timeouts * electionTimeoutTicks * TICK_MS, clockDriftMax },
    limits: { electionTimeoutTicks, heartbeatIntervalTicks: 1 },
  })
  for (const { clock } of cluster.replicas) clock.rate = 1 - clockDriftMax * random.below(2)
  return cluster
}

describe('a lease', () => {
  it('excludes later leaders whatever stops, starts and drifts', { timeout: 900_000 }, () => {
    const seen = { leaseReads: 0, terms: 0 }
    fc.assert(
      fc.property(scenario, (input) => {
        const cluster = clusterOf(input)
        runSchedule(cluster, input.actions)
        recover(cluster)
        seen.leaseReads += cluster.leaseReadCount
        seen.terms += cluster.invariants.leaderCount
      }),
      {
        numRuns: Number(process.env.CORDILLERA_RUNS ?? 500),
        seed: Number(process.env.CORDILLERA_SEED ?? 20),
        endOnFailure: process.env.CORDILLERA_SHRINK === undefined,
      },
    )
    if (process.env.CORDILLERA_RUNS !== undefined) console.log(seen)
    expect(seen.leaseReads).toBeGreaterThan(500)
    expect(seen.terms).toBeGreaterThan(500)
  })
})
