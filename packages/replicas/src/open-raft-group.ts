import { assert, type Clock, CordilleraError, type Random, type ReplicaId } from '@cordillera/base'
import { type HardState, RaftGroup } from '@cordillera/raft-core'
import type { GroupLog, RaftLog } from '@cordillera/raft-log'
import type { ReplicaState, StateStore } from '@cordillera/state'
import { SPLIT_BASE } from './entry-applier.js'
import { configurationOf } from './membership.js'
import type { ReplicasLimits } from './replicas-options.js'

/**
 * The Raft group of a replica as its log and its state say together.
 *
 * State that is ahead of the log is legal: the log begins again there. A state that is older than what the log knows to
 * have been flushed is `CORRUPT`: the state database was put back, or lost writes. A state of a later term than the log
 * has heard of is `DIRECTORY_INVALID`: only what is durable is applied, and the term is durable before; so the log has
 * lost its end, with it perhaps a vote and entries that were acknowledged, and nothing here may speak for them.
 */
export function openRaftGroup(
  state: ReplicaState,
  log: GroupLog,
  { random, clock, limits }: { readonly random: Random; readonly clock: Clock; readonly limits: ReplicasLimits },
): RaftGroup {
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
  // Ahead of it, or on another branch: a snapshot was installed, and the log had no time to begin again behind it.
  if (log.termAt(state.appliedIndex) !== state.appliedTerm) log.reset(state.appliedIndex, state.appliedTerm)
  const hardState: HardState = {
    ...log.hardState,
    commitIndex: Math.max(log.hardState.commitIndex, state.appliedIndex),
  }
  assert(log.compactedIndex <= state.appliedIndex, 'the log still holds everything that the state does not')
  return new RaftGroup({
    replicaId,
    configuration: configurationOf(descriptor),
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
    ...(limits.lease && { lease: { now: () => clock.now(), ...limits.lease } }),
  })
}

/** Nobody else could decide anything in its range. */
export function isAlone({ descriptor, replicaId: own }: ReplicaState): boolean {
  return descriptor.replicas.every(({ type, replicaId }) => type === 'learner' || replicaId === own)
}

/**
 * A replica that has applied nothing since its range was cut out of another one. Its state can be durable before its group is: a
 * group that is not there has promised nothing, because promises leave behind the flush that makes it durable.
 */
export function isRightHalf({ appliedIndex, appliedTerm }: ReplicaState): boolean {
  return appliedIndex === SPLIT_BASE.index && appliedTerm === SPLIT_BASE.term
}

/** The group of a right half, whose log begins behind {@link SPLIT_BASE}. */
export function beginSplitLog(log: RaftLog, replicaId: ReplicaId): void {
  const { index, term } = SPLIT_BASE
  const group = log.createGroup(replicaId)
  group.append([], { term, vote: 0, commitIndex: 0 })
  group.reset(index, term)
}

/**
 * Groups of the log without a replica in the state. One that was destroyed is forgotten. Any other stays: one whose snapshot did
 * not get so far has promised nothing; one that was the right half of a range may have, and goes on when the split, which
 * is in the left half's log, applies again. One whose state is known to have been flushed is missing.
 */
export function forgetOrphans(log: RaftLog, state: StateStore): void {
  for (const [replicaId, { recoveredFlushedIndex }] of log.groups) {
    if (state.replicas.has(replicaId)) continue
    if (!state.mayCreate(replicaId)) log.removeGroup(replicaId)
    else if (recoveredFlushedIndex > 0) {
      throw new CordilleraError('CORRUPT', {
        detail: `the state database has lost replica ${replicaId}, which its log knows. Empty the directory`,
      })
    }
  }
}
