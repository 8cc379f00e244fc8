import { assert, type LogIndex, NONE, type Term } from '@cordillera/base'
import { onConfiguration } from './changes.js'
import type { Configuration } from './configuration.js'
import { becomeFollower } from './elections.js'
import { acceptAfterSync } from './following.js'
import type { GroupState } from './group-state.js'

/**
 * Takes a snapshot in the place of the log up to its index (Raft paper, figure 13; thesis 5.1).
 *
 * The host carries and installs it, all or nothing; nothing is applied and no election begun meanwhile. It is of something
 * committed, so it matters neither who sent it nor in which term; one that brings nothing new is refused, and the applied
 * index never goes back (FAILURES #12). What the log holds behind its index is kept exactly when the log has its last entry.
 */
export interface Snapshot {
  /** The last entry that it holds the effects of. */
  readonly index: LogIndex
  readonly term: Term
  /** As of that entry. */
  readonly configuration: Configuration
}

/** Whether a snapshot is wanted. If so, this replica is in its term at least, and the snapshot is finished or cancelled. */
export function tryBeginRestore(state: GroupState, index: LogIndex, term: Term): boolean {
  if (state.isRestoring || state.role.kind !== 'follower' || index <= state.commitIndex) return false
  assert(state.appliedIndex === state.deliveredIndex, 'what was delivered has been applied')
  state.isRestoring = true
  if (term > state.term) becomeFollower(state, term, NONE)
  return true
}

/** Nothing was installed. */
export function cancelRestore(state: GroupState): void {
  assert(state.isRestoring, 'a snapshot is being installed')
  state.isRestoring = false
}

/** The state is the snapshot's, durably. Returns whether the host's log must begin again behind it, before it is read. */
export function finishRestore(state: GroupState, { index, term, configuration }: Snapshot): boolean {
  assert(state.isRestoring && state.role.kind !== 'leader', 'a snapshot is being installed')
  const { log } = state
  assert(term <= state.outbox.writtenTerm, 'the term of a snapshot is durable before it is')
  const isKept = log.termAt(index) === term
  assert(isKept || state.commitIndex < index, 'what was committed is the same in a snapshot')
  if (!isKept) log.restart(index, term)
  state.commitIndex = Math.max(state.commitIndex, index)
  state.deliveredIndex = index
  state.appliedIndex = index
  state.applyingBytes = 0
  log.onApplied(index)
  state.isRestoring = false
  onConfiguration(state, configuration)
  if (state.leader !== NONE) acceptAfterSync(state, state.leader, index)
  return !isKept
}
