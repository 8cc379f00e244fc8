import { CordilleraError, SeededRandom } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import type { LeaseOptions } from './lease.js'
import { defaultRaftLimits, type RaftOptions, READS_WAITING_MAX } from './options.js'
import { RaftGroup } from './raft-group.js'
import { MemoryLog } from './testing/memory-log.js'
import { VirtualCluster } from './testing/virtual-cluster.js'

const lease: LeaseOptions = { now: () => 0, durationMs: 1_000, clockDriftMax: 0.1 }

function open(options: Partial<RaftOptions>): RaftGroup {
  return new RaftGroup({
    ...defaultRaftLimits,
    replicaId: 1,
    configuration: { voters: [1, 2, 3], outgoing: [], learners: [] },
    log: new MemoryLog(),
    hardState: { term: 0, vote: 0, commitIndex: 0 },
    appliedIndex: 0,
    random: new SeededRandom(1),
    ...options,
  })
}

function refusal(options: Partial<RaftOptions>): unknown {
  try {
    open(options)
    return undefined
  } catch (error) {
    return error
  }
}

/** Leads with a lease by the answers of all. */
function leaderOf(voters: readonly number[]): VirtualCluster {
  const configuration = { voters, outgoing: [], learners: [] }
  const cluster = new VirtualCluster({ configuration, lease: { durationMs: 1_000, clockDriftMax: 0.1 } })
  const leader = cluster.replica(1)
  cluster.pass(1_000)
  cluster.step(leader, ({ group }) => group.campaign())
  cluster.settle()
  cluster.step(leader, ({ group }) => {
    for (let i = 0; i < defaultRaftLimits.heartbeatIntervalTicks; i++) group.tick()
  })
  cluster.settle()
  return cluster
}

describe('lease reads', () => {
  it('are refused without CheckQuorum, and the error says why', () => {
    const error = refusal({ lease, checkQuorum: false })
    expect(error).toBeInstanceOf(CordilleraError)
    const { code, message, details } = error as CordilleraError
    expect(code).toBe('CONFIG_INVALID')
    expect(message).toMatch(/one that is heard and hears nobody must step down/)
    expect(details).toEqual({ durationMs: 1_000, clockDriftMax: 0.1, checksQuorum: false })
  })

  it.each([
    { durationMs: 0 },
    { durationMs: -1 },
    { durationMs: Number.NaN },
    { durationMs: Number.POSITIVE_INFINITY },
    { clockDriftMax: -0.1 },
    { clockDriftMax: 1 },
    { clockDriftMax: Number.NaN },
  ])('are refused with %o', (wrong) => {
    expect(refusal({ lease: { ...lease, ...wrong } })).toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('are taken with CheckQuorum, which is on unless said otherwise', () => {
    expect(refusal({ lease })).toBeUndefined()
    expect(refusal({ lease, checkQuorum: true })).toBeUndefined()
    expect(refusal({ checkQuorum: false })).toBeUndefined()
  })

  it('are off unless asked for: a leader has no lease, and no clock is read', () => {
    const cluster = new VirtualCluster({ configuration: { voters: [1], outgoing: [], learners: [] } })
    cluster.step(cluster.replica(1), ({ group }) => group.campaign())
    cluster.settle()
    expect(cluster.replica(1).group).toMatchObject({ role: 'leader', hasLease: false })
  })

  it('are bounded between two readies, like others', () => {
    const cluster = leaderOf([1, 2, 3])
    const leader = cluster.replica(1)
    expect(leader.group.hasLease).toBe(true)
    for (let i = 0; i < READS_WAITING_MAX; i++) expect(cluster.read(leader)).toBeTypeOf('number')
    expect(cluster.read(leader)).toBe('overloaded')
    expect(cluster.take(leader).messages).toEqual([])
    expect(cluster.confirmedReadCount).toBe(READS_WAITING_MAX)
    expect(cluster.read(leader)).toBeTypeOf('number')
  })

  it('end with leadership, whatever the clock says', () => {
    const cluster = leaderOf([1, 2, 3])
    const { group } = cluster.replica(1)
    expect(group.hasLease).toBe(true)
    group.step({ kind: 'heartbeat-reply', from: 2, to: 1, term: 9, readRound: 0 })
    expect([group.role, group.hasLease, group.requestRead().kind]).toEqual(['follower', false, 'refused'])
  })

  it('of a lone voter need nobody else', () => {
    const cluster = leaderOf([1])
    const leader = cluster.replica(1)
    for (const asked of [1, 2]) {
      cluster.read(leader)
      cluster.settle()
      expect(cluster.confirmedReadCount).toBe(asked)
    }
    expect(leader.group.hasLease).toBe(true)
  })
})
