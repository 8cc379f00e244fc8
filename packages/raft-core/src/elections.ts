import { assert, type LogIndex, NONE, type ReplicaId, type Term } from '@cordillera/base'
import { isVoter, peersOf } from './configuration.js'
import { ENTRY_HEADER_BYTES, EntryType, sealEntry } from './entry.js'
import type { GroupState } from './group-state.js'
import { LeaderLease } from './lease.js'
import type { TimeoutNow, VoteReply, VoteRequest } from './message.js'
import { PeerProgress } from './progress.js'
import { isQuorum, voteResult } from './quorum.js'
import { dropReads, ReadQueue, readRoundUnderWay } from './reads.js'
import { advanceCommit } from './replication.js'
import { type Candidate, type Leader, type PreCandidate, peerOf } from './role.js'

/**
 * Elections and every change of role: RequestVote (figure 2), PreVote (thesis 9.6), CheckQuorum (6.2), leader
 * stickiness (4.2.3) and the receiving end of leader transfer (3.10).
 *
 * A vote counts, and leaves, only after a sync: the candidate's own one too, or a lone voter that crashes could lead one
 * term twice. Refusals and everything of a pre-vote leave at once, because they promise nothing. The term only rises.
 */

/** Follows `leader` (0: nobody yet) in `term`, which is the present one or a later one. */
export function becomeFollower(state: GroupState, term: Term, leader: ReplicaId): void {
  assert(term >= state.term, 'terms do not fall')
  if (state.role.kind === 'leader') dropReads(state, state.role)
  if (term > state.term) {
    state.term = term
    state.vote = NONE
  }
  state.role = { kind: 'follower', leader }
  state.quiescent = false
  state.restartElectionTimer()
}

/** Begins an election: the rehearsal, or at once the real one when the leader asked for it. */
export function startElection(state: GroupState, isTransfer: boolean): void {
  assert(state.role.kind !== 'leader', 'a leader does not campaign')
  if (!mayCampaign(state) || (!isTransfer && isLeaseGranted(state))) return
  state.quiescent = false
  state.restartElectionTimer()
  if (isTransfer) {
    becomeCandidate(state, true)
    return
  }
  const role: PreCandidate = { kind: 'pre-candidate', votes: new Map() }
  state.role = role
  requestVotes(state, state.term + 1, true, false)
  countVote(state, role, state.id, true)
}

/**
 * A replica that has not applied every change of the configuration that it knows to be committed could win among voters who
 * decide nothing any more (FAILURES #5). It tries again with the next tick.
 */
function mayCampaign(state: GroupState): boolean {
  const { configuration, id, isRestoring, log, appliedIndex, commitIndex } = state
  if (!isVoter(configuration, id) || isRestoring) return false
  return appliedIndex === commitIndex || !log.mayChangeBetween(appliedIndex, commitIndex)
}

function becomeCandidate(state: GroupState, isTransfer: boolean): void {
  state.term++
  state.vote = state.id
  state.role = { kind: 'candidate', votes: new Map(), voteSyncToken: 0 }
  state.restartElectionTimer()
  requestVotes(state, state.term, false, isTransfer)
}

function requestVotes(state: GroupState, term: Term, pre: boolean, transfer: boolean): void {
  const { lastIndex, lastTerm } = state.log
  for (const to of peersOf(state.configuration, state.id)) {
    const request: VoteRequest = {
      kind: 'vote-request',
      from: state.id,
      to,
      term,
      pre,
      lastIndex,
      lastTerm,
      transfer,
      ...committedOf(state),
    }
    if (pre) state.send(request)
    else state.sendAfterSync(request)
  }
}

function becomeLeader(state: GroupState): void {
  const { id, log } = state
  const termStartIndex = log.lastIndex + 1
  const leader: Leader = {
    kind: 'leader',
    peers: peersOf(state.configuration, id).map((peer) => new PeerProgress(peer, termStartIndex)),
    termStartIndex,
    lastChangeIndex: termStartIndex,
    reads: new ReadQueue((voter) => (voter === id ? leader.reads.round : (peerOf(leader, voter)?.readRound ?? 0))),
    lease: state.options.lease && new LeaderLease(state.options.lease),
    matchOf: (voter) => (voter === id ? log.durableIndex : (peerOf(leader, voter)?.matchIndex ?? 0)),
    uncommittedBytes: 0,
    heartbeatElapsedTicks: 0,
    heartbeatDue: false,
    readRoundDue: false,
    replicationDue: true,
    transfer: undefined,
  }
  state.role = leader
  state.restartElectionTimer()
  log.append(sealEntry(state.term, termStartIndex, EntryType.empty, new Uint8Array(ENTRY_HEADER_BYTES)))
}

/** Whether the leader was heard so lately that no election may disturb it (thesis 4.2.3, 6.2), or that it may hold a lease. */
export function isLeaderSticky(state: GroupState): boolean {
  if (isLeaseGranted(state)) return true
  return state.leader !== NONE && state.electionElapsedTicks < state.options.electionTimeoutTicks
}

function isLeaseGranted({ leaseGrant }: GroupState): boolean {
  return leaseGrant?.isRunning === true
}

/** The request's term is the present one, or a later one that a pre-vote does not adopt. */
export function onVoteRequest(state: GroupState, request: VoteRequest): void {
  const { from, pre, term, lastIndex, lastTerm, transfer } = request
  const { log } = state
  const isUpToDate = lastTerm > log.lastTerm || (lastTerm === log.lastTerm && lastIndex >= log.lastIndex)
  const isFree = state.vote === from || (state.vote === NONE && state.leader === NONE) || (pre && term > state.term)
  // The present term may be later than the one in which the leader was heard.
  const isBound = !transfer && isLeaseGranted(state)
  if (!isUpToDate || !isFree || isBound) {
    refuseVote(state, request)
    return
  }
  if (pre) {
    state.send(voteReply(state, from, term, pre, true))
    return
  }
  state.vote = from
  state.restartElectionTimer()
  state.sendAfterSync(voteReply(state, from, state.term, pre, true))
}

/** Carries this replica's own term, from which one that was left behind learns it (FAILURES #6). */
export function refuseVote(state: GroupState, request: VoteRequest): void {
  const { pre, from } = request
  state.send(voteReply(state, from, state.term, pre, false))
}

function voteReply(state: GroupState, to: ReplicaId, term: Term, pre: boolean, granted: boolean): VoteReply {
  return { kind: 'vote-reply', from: state.id, to, term, pre, granted, ...committedOf(state) }
}

function committedOf({ log, commitIndex }: GroupState): { commitIndex: LogIndex; commitTerm: Term } {
  return { commitIndex, commitTerm: log.termAt(commitIndex)! }
}

/** Who has the last of what another knows to be committed has all of it (log matching), whatever term that one is in. */
export function learnCommit(state: GroupState, { commitIndex, commitTerm }: VoteRequest | VoteReply): void {
  if (state.role.kind === 'leader' || commitIndex <= state.commitIndex) return
  if (state.log.termAt(commitIndex) === commitTerm) state.commitIndex = commitIndex
}

export function onVoteReply(state: GroupState, reply: VoteReply): void {
  const { role } = state
  if (role.kind !== 'pre-candidate' && role.kind !== 'candidate') return
  const isRehearsal = role.kind === 'pre-candidate'
  if (reply.pre !== isRehearsal) return
  const asked = isRehearsal && reply.granted ? state.term + 1 : state.term
  if (reply.term !== asked || !isVoter(state.configuration, reply.from) || role.votes.has(reply.from)) return
  countVote(state, role, reply.from, reply.granted)
}

function countVote(state: GroupState, role: PreCandidate | Candidate, from: ReplicaId, granted: boolean): void {
  role.votes.set(from, granted)
  const result = voteResult(state.configuration, role.votes)
  if (result === 'lost') becomeFollower(state, state.term, NONE)
  else if (result === 'won') {
    if (role.kind === 'pre-candidate') becomeCandidate(state, false)
    else becomeLeader(state)
  }
}

/** The leader wants this replica to take over. Its stickiness, and the pre-vote, do not apply. */
export function onTimeoutNow(state: GroupState, message: TimeoutNow): void {
  if (state.role.kind === 'follower' && state.role.leader === message.from) startElection(state, true)
}

/**
 * A tick of a replica that does not lead. One without a vote does not campaign; it forgets a leader that it no longer hears, so
 * that its host asks whether it is still a member: one that was removed while it was cut off is told by nobody.
 */
export function tickElection(state: GroupState): void {
  state.electionElapsedTicks++
  if (state.electionElapsedTicks < state.electionDueTicks + state.campaignDelayTicks) return
  if (isVoter(state.configuration, state.id)) startElection(state, false)
  else if (state.leader !== NONE) becomeFollower(state, state.term, NONE)
}

/** A tick of a leader: heartbeats, the check of its quorum (thesis 6.2), the end of a transfer that failed (3.10). */
export function tickLeader(state: GroupState, leader: Leader): void {
  const { electionTimeoutTicks, heartbeatIntervalTicks } = state.options
  if (leader.transfer !== undefined && ++leader.transfer.elapsedTicks >= electionTimeoutTicks) {
    leader.transfer = undefined
  }
  if (++state.electionElapsedTicks >= electionTimeoutTicks) {
    state.electionElapsedTicks = 0
    if (state.checksQuorum && !isQuorumActive(state, leader)) {
      becomeFollower(state, state.term, NONE)
      return
    }
    for (const peer of leader.peers) peer.recentlyActive = false
  }
  const isDue = ++leader.heartbeatElapsedTicks >= heartbeatIntervalTicks
  // A round of reads that lasts to the next tick asks everyone.
  if (isDue || readRoundUnderWay(leader) > 0) leader.heartbeatDue = true
}

/** Whether this replica and those that it has heard since the last check are a quorum. */
function isQuorumActive({ configuration, id }: GroupState, leader: Leader): boolean {
  return isQuorum(configuration, (voter) => voter === id || peerOf(leader, voter)?.recentlyActive === true)
}

/** What this replica wrote up to `token` is durable: its own vote counts from now on, and its log towards a commit. */
export function onSynced(state: GroupState, token: number): void {
  const isFurther = state.log.onSynced(token)
  const { role } = state
  if (role.kind === 'leader') {
    if (isFurther) advanceCommit(state, role)
  } else if (role.kind === 'candidate' && role.voteSyncToken > 0 && role.voteSyncToken <= token) {
    role.voteSyncToken = 0
    countVote(state, role, state.id, true)
  }
}
