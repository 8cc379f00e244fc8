import { assert, type LogIndex, type ReplicaId } from '@cordillera/base'
import { becomeFollower } from './elections.js'
import type { Entry } from './entry.js'
import type { GroupState } from './group-state.js'
import type { AppendReply, AppendRequest, Heartbeat } from './message.js'

/**
 * The follower's half of AppendEntries (figure 2, paper 5.3).
 *
 * An append is acknowledged only after a sync of everything accepted before the acknowledgement; a refusal leaves at
 * once. What was committed is never replaced, and a commit index beyond this log means that acknowledged entries were
 * lost: both are asserted, and stop the store.
 */

/** The request is of the present term. */
export function onAppendRequest(state: GroupState, request: AppendRequest): void {
  follow(state, request.from)
  const { log } = state
  const { from, prevIndex, prevTerm, entries } = request
  if (prevIndex < state.commitIndex) {
    // Late or repeated. Everything committed is the same in both logs.
    acceptAfterSync(state, from, state.commitIndex)
    return
  }
  if (log.termAt(prevIndex) !== prevTerm) {
    const hintIndex = log.findByTerm(prevIndex, prevTerm)
    const hintTerm = log.termAt(hintIndex) ?? 0
    state.send(appendReply(state, from, false, prevIndex, hintIndex, hintTerm))
    return
  }
  const lastNewIndex = prevIndex + entries.length
  const firstNew = firstMissing(state, prevIndex, entries)
  if (firstNew < entries.length) {
    assert(entries[firstNew]!.index > state.commitIndex, 'what was committed is never replaced')
    log.replace(entries, firstNew)
  }
  raiseCommit(state, Math.min(request.commitIndex, lastNewIndex))
  acceptAfterSync(state, from, lastNewIndex)
}

/** The heartbeat is of the present term. */
export function onHeartbeat(state: GroupState, heartbeat: Heartbeat): void {
  follow(state, heartbeat.from)
  raiseCommit(state, heartbeat.commitIndex)
  const { log } = state
  if (heartbeat.quiesce && log.lastIndex === heartbeat.commitIndex && log.lastTerm === state.term) {
    state.quiescent = true
    return
  }
  state.send({
    kind: 'heartbeat-reply',
    from: state.id,
    to: heartbeat.from,
    term: state.term,
    readRound: heartbeat.readRound,
  })
}

/**
 * A leader of an earlier term is at work. The answer carries the present term, so that it steps down and the group
 * elects anew: with PreVote and CheckQuorum nothing else would free a replica whose term is ahead (FAILURES #6).
 */
export function refuseFormerLeader(state: GroupState, from: ReplicaId): void {
  state.send(appendReply(state, from, false, 0, 0, 0))
}

function follow(state: GroupState, leader: ReplicaId): void {
  const { role } = state
  assert(role.kind !== 'leader', 'a term has one leader')
  state.leaseGrant?.onLeaderHeard()
  if (role.kind !== 'follower') {
    becomeFollower(state, state.term, leader)
    return
  }
  role.leader = leader
  state.electionElapsedTicks = 0
}

function raiseCommit(state: GroupState, index: LogIndex): void {
  if (index <= state.commitIndex) return
  assert(index <= state.log.lastIndex, 'the log holds what was acknowledged')
  state.commitIndex = index
}

/** The position of the first entry that is not in the log, or of another term there. */
function firstMissing(state: GroupState, prevIndex: LogIndex, entries: readonly Entry[]): number {
  const { log } = state
  let at = 0
  for (; at < entries.length; at++) {
    const { index, term } = entries[at]!
    assert(index === prevIndex + 1 + at, 'entries of an append are contiguous')
    if (log.termAt(index) !== term) break
  }
  return at
}

/** Acknowledges; of several acknowledgements that wait for the same sync, the highest says it all. */
export function acceptAfterSync(state: GroupState, to: ReplicaId, index: LogIndex): void {
  const waiting = state.outbox.messagesAfterSync
  const last = waiting[waiting.length - 1]
  if (last?.kind === 'append-reply' && last.to === to && last.term === state.term) {
    if (last.index >= index) return
    waiting.pop()
  }
  state.sendAfterSync(appendReply(state, to, true, index, 0, 0))
}

function appendReply(
  state: GroupState,
  to: ReplicaId,
  accepted: boolean,
  index: LogIndex,
  hintIndex: LogIndex,
  hintTerm: number,
): AppendReply {
  return { kind: 'append-reply', from: state.id, to, term: state.term, accepted, index, hintIndex, hintTerm }
}
