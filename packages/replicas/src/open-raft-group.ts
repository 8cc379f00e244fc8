import { assert, CordilleraError, type Random } from '@cordillera/base'
import { type HardState, RaftGroup } from '@cordillera/raft-core'
import type { GroupLog } from '@cordillera/raft-log'
import type { ReplicaState } from '@cordillera/state'
import type { ReplicasLimits } from './replicas.js'

/**
 * The Raft group of a replica as its log and its state say together.
 *
 * State that is ahead of the log is legal: the log begins again there. A state that is older than what the log knows to
 * have been flushed is `CORRUPT`: the state database was put back, or lost writes.
 */
export function openRaftGroup(state: ReplicaState, log: GroupLog, random: Random, limits: ReplicasLimits): RaftGroup {
  const { descriptor, replicaId } = state
  if (log.recoveredFlushedIndex > state.appliedIndex) {
    throw new CordilleraError('CORRUPT', {
      detail: `the state database is older than the log: range ${descriptor.rangeId} was flushed up to ${log.recoveredFlushedIndex}, its state is at ${state.appliedIndex}`,
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
    configuration: { voters: descriptor.replicas.map((place) => place.replicaId), outgoing: [] },
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
