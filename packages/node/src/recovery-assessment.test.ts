import type { Descriptor } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { assessRecovery, type RecoverySurvey, type SurveyedReplica } from './recovery-assessment.js'

/** Three voters, of which the ones on nodes 2 and 3 are lost, unless a case says otherwise. */
const places = [1, 2, 3].map((nodeId) => ({ replicaId: 10 + nodeId, nodeId, type: 'voter' as const }))
const range: Descriptor = { rangeId: 7, start: 'f', end: 'p', epoch: { version: 5, confVersion: 3 }, replicas: places }

function replicaOn(nodeId: number, some: Partial<SurveyedReplica> = {}): SurveyedReplica {
  const ends = { lastTerm: 4, lastIndex: 20, commitIndex: 18, appliedIndex: 18 }
  return {
    nodeId,
    replicaId: 10 + nodeId,
    descriptor: range,
    leads: false,
    takesPart: true,
    isDamaged: false,
    isDiverged: false,
    ...ends,
    ...some,
  }
}

function assess(replicas: readonly SurveyedReplica[], some: Partial<RecoverySurvey> = {}) {
  const answered = new Set([1, 4])
  const nodes = [1, 2, 3, 4]
  return assessRecovery(7, { replicas, answered, reachable: answered, nodes, others: [], ...some })
}

describe('a range may be recovered', () => {
  it('from the only one that is left, and what is lost is said', () => {
    const assessed = assess([replicaOn(1)])
    expect(assessed).toMatchObject({ kind: 'possible', survivor: { replicaId: 11 } })
    expect(assessed.detail).toBe(
      'range 7 would go on from the log of replica 11 on node 1, which ends with entry 20 of term 4. ' +
        'Every write that was acknowledged without it is lost, and so is what its readers have seen of such writes. ' +
        'Its last 2 entries may never have been acknowledged, and will count. ' +
        'The replicas on nodes 2, 3 are given up, whatever they have. ' +
        'If nodes 2, 3, which cannot be reached, come back, what they have of it is destroyed.',
    )
  })

  it('from the most up-to-date of several: a later term before a longer log, a learner too', () => {
    const wide = {
      ...range,
      replicas: [...places, ...[4, 5, 6].map((n) => ({ replicaId: 10 + n, nodeId: n, type: 'voter' as const }))],
    }
    const of = (nodeId: number, lastTerm: number, lastIndex: number) =>
      replicaOn(nodeId, { descriptor: wide, lastTerm, lastIndex })
    expect(assess([of(1, 4, 30), of(4, 5, 21)])).toMatchObject({ survivor: { nodeId: 4 } })
    expect(assess([of(1, 5, 22), of(4, 5, 21)])).toMatchObject({ survivor: { nodeId: 1 } })
  })

  it('whose right neighbour is frozen by a merge that the lost may have done, which is said', () => {
    const merge = { kind: 'frozen', leftId: 7, attempt: 3 } as const
    const right = { ...range, rangeId: 8, start: 'p', end: 'z', epoch: { version: 9, confVersion: 3 }, merge }
    const assessed = assess([replicaOn(1)], { others: [right, right] })
    expect(assessed.kind).toBe('possible')
    expect(assessed.detail.match(/Range 8 is frozen by a merge with it/g)).toHaveLength(1)
  })

  it('from one that has not diverged, if there is any', () => {
    const diverged = replicaOn(2, {
      takesPart: false,
      isDamaged: true,
      isDiverged: true,
      lastIndex: 22,
      appliedIndex: 22,
    })
    expect(assess([diverged, replicaOn(1)], { answered: new Set([1, 2]) })).toMatchObject({ survivor: { nodeId: 1 } })
    expect(assess([diverged], { answered: new Set([2]), reachable: new Set([2]) }).detail).toContain('has diverged')
  })

  it('where most logs are damaged, from the one that is not, or else from a state', () => {
    const damaged = (nodeId: number, index: number) => {
      return replicaOn(nodeId, {
        takesPart: false,
        isDamaged: true,
        lastIndex: index,
        commitIndex: index,
        appliedIndex: index,
      })
    }
    const answered = new Set([1, 2, 3, 4])
    const some = { answered, reachable: answered }
    expect(assess([replicaOn(1), damaged(2, 19), damaged(3, 20)], some)).toMatchObject({ survivor: { nodeId: 1 } })
    expect(assess([damaged(1, 17), damaged(2, 19), damaged(3, 18)], some)).toMatchObject({ survivor: { nodeId: 2 } })
  })
})

describe('a range is not recovered', () => {
  const refused = (detail: string) => ({ kind: 'refused', code: 'CONFLICT', detail: expect.stringContaining(detail) })

  it('of which nothing is left', () => expect(assess([])).toMatchObject({ code: 'NOT_FOUND' }))

  it('that has a leader, also one that only its own node knows of', () => {
    expect(assess([replicaOn(1, { leads: true })])).toEqual(refused('has a leader, on node 1'))
  })

  it('that has most of its replicas, by the newest configuration', () => {
    expect(assess([replicaOn(1), replicaOn(2)])).toEqual(refused('most of its replicas'))
    const joint = [
      ...places.slice(0, 2),
      { ...places[2]!, type: 'outgoing' as const },
      { replicaId: 14, nodeId: 4, type: 'incoming' as const },
    ]
    const newer = { ...range, epoch: { version: 5, confVersion: 4 }, replicas: joint }
    expect(assess([replicaOn(1), replicaOn(4, { descriptor: newer })])).toMatchObject({ kind: 'possible' })
  })

  it('while anybody can reach the node of a voter that has not answered', () => {
    expect(assess([replicaOn(1)], { reachable: new Set([1, 3, 4]) })).toEqual(refused('node 3, which can be reached'))
  })

  it('in the middle of a merge, or when its keys are in a later range', () => {
    const merging = { ...range, merge: { kind: 'frozen', leftId: 6, attempt: 1 } as const }
    expect(assess([replicaOn(1, { descriptor: merging })])).toEqual(refused('merge'))
    const other = { ...range, rangeId: 8, start: 'k', epoch: { version: 6, confVersion: 3 } }
    expect(assess([replicaOn(1)], { others: [other] })).toEqual(refused('belong to range 8'))
    // What it was cut out of, on a store that lags.
    const whole = { ...range, rangeId: 3, start: '', epoch: { version: 4, confVersion: 3 } }
    expect(assess([replicaOn(1)], { others: [whole] })).toMatchObject({ kind: 'possible' })
  })

  it('before what is known to be committed is applied', () => {
    expect(assess([replicaOn(1, { commitIndex: 19 })])).toEqual(refused('ask again'))
  })
})
