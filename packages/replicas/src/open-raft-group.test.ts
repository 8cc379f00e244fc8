import { ManualClock, SeededRandom } from '@cordillera/base'
import type { GroupLog } from '@cordillera/raft-log'
import { OperationMemory } from '@cordillera/ranges'
import type { ReplicaState } from '@cordillera/state'
import { describe, expect, it } from 'vitest'
import { openRaftGroup } from './open-raft-group.js'
import { defaultReplicasLimits } from './replicas-options.js'

/** A log that ends at index and term `end`, which knows of a flush up to `flushed`. */
function logWith(end: readonly [index: number, term: number], flushed = 0): GroupLog {
  let [index, term] = end
  const log = {
    damaged: false,
    recoveredFlushedIndex: flushed,
    hardState: { term, vote: 0, commitIndex: 0 },
    compactedIndex: 0,
    get lastIndex() {
      return index
    },
    termAt: (at: number) => (at === index ? term : 0),
    reset: (toIndex: number, toTerm: number) => {
      index = toIndex
      term = toTerm
    },
  }
  return log as unknown as GroupLog
}

function stateAt(appliedIndex: number, appliedTerm: number): ReplicaState {
  const descriptor = {
    rangeId: 7,
    start: 'a',
    end: 'b',
    epoch: { version: 1, confVersion: 1 },
    replicas: [{ replicaId: 1, nodeId: 1 }],
  }
  const state = { replicaId: 1, descriptor, appliedIndex, appliedTerm, flushedIndex: appliedIndex }
  return { ...state, memory: new OperationMemory() } as unknown as ReplicaState
}

function open(state: ReplicaState, log: GroupLog) {
  return openRaftGroup(state, log, {
    random: new SeededRandom(1),
    clock: new ManualClock(),
    limits: defaultReplicasLimits,
  })
}

describe('opening a group', () => {
  it('begins the log again where the state is ahead of it', () => {
    const log = logWith([5, 2])
    expect(open(stateAt(9, 2), log)).toMatchObject({ term: 2, appliedIndex: 9, lastIndex: 9 })
  })

  it('begins the log again where the state is a snapshot of another branch', () => {
    const log = logWith([9, 2])
    expect(open(stateAt(9, 1), log)).toMatchObject({ term: 2, appliedIndex: 9, lastIndex: 9 })
    expect(log.termAt(9)).toBe(1)
  })

  it('refuses a state that is older than what was flushed', () => {
    expect(() => open(stateAt(3, 2), logWith([9, 2], 4))).toThrow(expect.objectContaining({ code: 'CORRUPT' }))
  })

  it('refuses a log that has not heard of the term of what was applied', () => {
    const refused = expect.objectContaining({
      code: 'DIRECTORY_INVALID',
      message: expect.stringContaining('lost its end'),
    })
    expect(() => open(stateAt(9, 3), logWith([5, 2]))).toThrow(refused)
    expect(() => open(stateAt(4, 3), logWith([5, 2]))).toThrow(refused)
  })
})
