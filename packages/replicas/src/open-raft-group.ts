import { assert, CordilleraError, type Random } from '@cordillera/base'
import { type HardState, RaftGroup } from '@cordillera/raft-core'
import type { GroupLog } from '@cordillera/raft-log'
import type { ReplicaState } from '@cordillera/state'
import type { ReplicasLimits } from './replicas.js'

/**
 * The Raft group of a replica as its log and its state say together.
 *
 * State that is ahead of the log is legal: the log begins again there. A state that is older than what the log knows to
 * have been flushed is `CORRUPT`: the state database was put back, or lost writes. A state of a later term than the log
 * has heard of is `DIRECTORY_INVALID`: only what is durable is applied, and the term is durable before; so the log has
 * lost its end, with it perhaps a vote and entries that were acknowledged, and nothing here may speak for them.
 */
export function openRaftGroup(state: ReplicaState, log: GroupLog, random: Random, limits: ReplicasLimits): RaftGroup {
  const { descriptor, replicaId } = state
  if (log.recoveredFlushedIndex > state.appliedIndex) {
    throw new CordilleraError('CORRUPT', {
      detail: `the state database is older than the log: range ${descriptor.rangeId} was flushed up to ${log.recoveredFlushedIndex}, its state is at ${state.appliedIndex}`,
    })
  }
  if (state.appliedTerm > log.hardState.term) {
    throw new CordilleraError('DIRECTORY_INVALID', {
      detail: `the log is older than the state database: range ${descriptor.rangeId} has applied an entry of term ${state.appliedTerm}, its log ends in term ${log.hardState.term}. The log lost its end, or an older copy was put back. Empty the directory`,
    })
  }
  if (state.appliedIndex > log.lastIndex) log.reset(state.appliedIndex, state.appliedTerm)
  const hardState: HardState = {
    ...log.hardState,
    commitIndex: Math.max(log.hardState.commitIndex, state.appliedIndex),
  }
  assert(log.compactedIndex <= state.appliedIndex, 'the log still holds everything that the state does not')
  return new RaftGroup({
    replicaId,
    configuration: { voters: descriptor.replicas.map((place) => place.replicaId), outgoing: [], learners: [] },
    log,
    hardState,
    appliedIndex: state.appliedIndex,
    random,
    electionTimeoutTicks: limits.electionTimeoutTicks,
    heartbeatIntervalTicks: limits.heartbeatIntervalTicks,
    inflightMessagesMax: limits.inflightMessagesMax,
    inflightBytesMax: limits.inflightBytesMax,
    appendBytesMax: limits.appendBytesMax,
    committedBytesMax: limits.committedBytesMax,
    uncommittedBytesMax: limits.uncommittedBytesMax,
  })
}
