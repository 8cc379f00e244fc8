import { assert, type LogIndex, NONE } from '@cordillera/base'
import type { Entry } from './entry.js'
import { type GroupState, noMessages, noReadIds, noReads, noReplicas } from './group-state.js'
import type { Message } from './message.js'
import { hasReadRoundToStart, startReadRound } from './reads.js'
import type { HardState, Ready, RoleView } from './ready.js'
import { sendAppends, sendHeartbeats, sendReadRound } from './replication.js'

/**
 * Assembles what the host has to do next, and forgets that it did.
 *
 * The commit index alone never causes a write: it may be behind on disk, and rides with the next entries or vote.
 */

export function hasReady(state: GroupState): boolean {
  const { outbox, role, log } = state
  if (log.hasPending || isHardStateDue(state)) return true
  if (outbox.messages.length > 0 || outbox.messagesAfterSync.length > 0) return true
  if (outbox.reads.length > 0 || outbox.readsDropped.length > 0 || outbox.snapshots.length > 0) return true
  if (role.kind === 'leader') {
    if (role.replicationDue || role.heartbeatDue || role.readRoundDue || hasReadRoundToStart(state, role)) return true
  }
  return isDeliveryDue(state) || isRoleViewDue(state)
}

export function takeReady(state: GroupState): Ready {
  const { outbox, role, log } = state
  const committed = takeCommitted(state)
  if (role.kind === 'leader') {
    if (hasReadRoundToStart(state, role)) startReadRound(state, role)
    if (role.replicationDue) {
      role.replicationDue = false
      sendAppends(state, role)
    }
    if (role.heartbeatDue) sendHeartbeats(state, role, false)
    else if (role.readRoundDue) sendReadRound(state, role)
  }
  const hasEntries = log.hasPending
  const mustWrite = hasEntries || isHardStateDue(state)
  const hardState = mustWrite ? takeHardState(state, hasEntries) : undefined
  const entries = log.takePending()
  // A ready without writes of its own still waits when an earlier one's are on their way to the disk.
  const mustSync = mustWrite || (outbox.messagesAfterSync.length > 0 && log.hasClaims)
  const ready: Ready = {
    entries,
    hardState,
    mustSync,
    syncToken: mustSync ? ++outbox.lastSyncToken : 0,
    messages: mustSync ? outbox.messages : joined(outbox.messages, outbox.messagesAfterSync),
    messagesAfterSync: mustSync ? outbox.messagesAfterSync : noMessages,
    committed,
    reads: outbox.reads,
    readsDropped: outbox.readsDropped,
    load: takeLoad(state),
    snapshots: outbox.snapshots,
    roleChange: takeRoleChange(state),
  }
  if (mustSync) log.claim(ready.syncToken)
  if (role.kind === 'candidate' && hardState !== undefined) role.voteSyncToken = ready.syncToken
  outbox.messages = noMessages
  outbox.messagesAfterSync = noMessages
  outbox.reads = noReads
  outbox.readsDropped = noReadIds
  outbox.snapshots = noReplicas
  return ready
}

/** What is committed and on this replica's own disk, as far as limits and memory allow. */
function takeCommitted(state: GroupState): readonly Entry[] {
  if (!isDeliveryDue(state)) return noEntries
  const { log, outbox, role } = state
  const { committedBytesMax } = state.options
  const from = state.deliveredIndex + 1
  const to = deliverableIndex(state)
  const entries = log.slice(from, to, committedBytesMax)
  if (entries === undefined) {
    outbox.load = { from, to, bytesMax: committedBytesMax }
    outbox.loadPeer = NONE
    outbox.applyWaitsForLoad = true
    return noEntries
  }
  assert(entries.length > 0 && entries[0]!.index === from, 'the log returns what was asked for')
  for (let i = 0; i < entries.length; i++) {
    const { index, bytes } = entries[i]!
    state.applyingBytes += bytes.length
    if (role.kind === 'leader' && index > role.termStartIndex) role.uncommittedBytes -= bytes.length
  }
  state.deliveredIndex = entries[entries.length - 1]!.index
  return entries
}

function deliverableIndex(state: GroupState): LogIndex {
  return Math.min(state.commitIndex, state.log.durableIndex)
}

function isDeliveryDue(state: GroupState): boolean {
  return (
    state.deliveredIndex < deliverableIndex(state) &&
    state.applyingBytes < state.options.committedBytesMax &&
    !state.outbox.applyWaitsForLoad &&
    !state.isRestoring
  )
}

function isHardStateDue({ outbox, term, vote }: GroupState): boolean {
  return outbox.writtenTerm !== term || outbox.writtenVote !== vote
}

function takeHardState(state: GroupState, hasEntries: boolean): HardState | undefined {
  const { outbox, term, vote, commitIndex } = state
  if (!isHardStateDue(state) && !(hasEntries && outbox.writtenCommit !== commitIndex)) return undefined
  outbox.writtenTerm = term
  outbox.writtenVote = vote
  outbox.writtenCommit = commitIndex
  return { term, vote, commitIndex }
}

function takeLoad({ outbox }: GroupState): Ready['load'] {
  const { load } = outbox
  if (load === undefined) return undefined
  outbox.load = undefined
  // Who wants something while a load is under way asks again after it.
  if (outbox.loadUnderWay) return undefined
  outbox.loadUnderWay = true
  outbox.lastLoadPeer = outbox.loadPeer
  return load
}

function isRoleViewDue(state: GroupState): boolean {
  const { outbox, role, term, leader } = state
  return outbox.shownRole !== role.kind || outbox.shownTerm !== term || outbox.shownLeader !== leader
}

function takeRoleChange(state: GroupState): RoleView | undefined {
  if (!isRoleViewDue(state)) return undefined
  const { outbox, role, term, leader } = state
  outbox.shownRole = role.kind
  outbox.shownTerm = term
  outbox.shownLeader = leader
  return { role: role.kind, term, leader }
}

function joined(first: Message[], second: Message[]): Message[] {
  if (second.length === 0) return first
  return first.length === 0 ? second : first.concat(second)
}

const noEntries: readonly Entry[] = []
