import { assert, assertNever, type LogIndex, NONE, type ReplicaId, type Term } from '@cordillera/base'
import { type ChangeRefusal, leaveWhenJoint, onConfiguration, refusalOf } from './changes.js'
import { type ChangeStep, type Configuration, isJoint, isVoter } from './configuration.js'
import {
  becomeFollower,
  isLeaderSticky,
  learnCommit,
  onSynced,
  onTimeoutNow,
  onVoteReply,
  onVoteRequest,
  refuseVote,
  startElection,
  tickElection,
  tickLeader,
} from './elections.js'
import { EntryType, sealEntry } from './entry.js'
import { onAppendRequest, onHeartbeat, refuseFormerLeader } from './following.js'
import { GroupState } from './group-state.js'
import type { AppendReply, Message } from './message.js'
import { checkOptions, type RaftOptions } from './options.js'
import type { ProgressView } from './progress.js'
import { isQuorum } from './quorum.js'
import { mayReadByLease, tryAskRead } from './reads.js'
import type { Ready, RoleView } from './ready.js'
import { onAppendReply, onHeartbeatReply, onSnapshotRequest, sendHeartbeats } from './replication.js'
import { cancelRestore, finishRestore, type Snapshot, tryBeginRestore } from './restoring.js'
import { type Leader, peerOf } from './role.js'
import { hasReady, takeReady } from './take-ready.js'

/**
 * One replica of one Raft group: a deterministic state machine without I/O, timers or promises.
 *
 * The host feeds it messages, ticks and proposals, and after any of them drains `takeReady()` (see {@link Ready} for
 * what it must do, in which order). Same inputs, same outputs. Nothing is said to anyone that a crash could make untrue.
 * It throws `InvariantViolation` when what it is told contradicts what Raft guarantees; then the store must stop.
 */
export class RaftGroup {
  readonly #state: GroupState

  constructor(options: RaftOptions) {
    checkOptions(options)
    this.#state = new GroupState(options)
  }

  /** Takes a message in. Late, repeated and misdirected ones do no harm. */
  step(message: Message): void {
    const state = this.#state
    if (message.to !== state.id) return
    if (state.quiescent && isAwakening(message)) this.wake()
    if (message.kind === 'vote-request' || message.kind === 'vote-reply') learnCommit(state, message)
    if (message.term > state.term) {
      if (message.kind === 'vote-request' && !message.transfer && isLeaderSticky(state)) return
      if (!isPreVoteOfLaterTerm(message)) {
        const isFromLeader = message.kind === 'append-request' || message.kind === 'heartbeat'
        becomeFollower(state, message.term, isFromLeader ? message.from : NONE)
      }
    } else if (message.term < state.term) {
      if (message.kind === 'append-request' || message.kind === 'heartbeat') refuseFormerLeader(state, message.from)
      else if (message.kind === 'vote-request') refuseVote(state, message)
      return
    }
    this.#dispatch(message)
  }

  #dispatch(message: Message): void {
    const state = this.#state
    const { role } = state
    switch (message.kind) {
      case 'append-request':
        onAppendRequest(state, message)
        break
      case 'append-reply':
        if (role.kind === 'leader') this.#onAppendReply(role, message)
        break
      case 'heartbeat':
        onHeartbeat(state, message)
        break
      case 'heartbeat-reply':
        if (role.kind === 'leader') onHeartbeatReply(state, role, message)
        break
      case 'vote-request':
        onVoteRequest(state, message)
        break
      case 'vote-reply':
        onVoteReply(state, message)
        break
      case 'timeout-now':
        onTimeoutNow(state, message)
        break
      case 'snapshot-request':
        if (role.kind === 'leader') onSnapshotRequest(state, role, message)
        break
      default:
        assertNever(message)
    }
  }

  #onAppendReply(role: Leader, reply: AppendReply): void {
    const state = this.#state
    // The peer knows, by a snapshot or by a vote, of more that is committed than this log has: a later term has a leader.
    if (reply.accepted && reply.index > state.log.lastIndex) becomeFollower(state, state.term, NONE)
    else onAppendReply(state, role, reply)
  }

  /** A step of logical time. Not called while {@link quiescent}; if it is, nothing happens. */
  tick(): void {
    const state = this.#state
    if (state.quiescent) return
    if (state.role.kind === 'leader') tickLeader(state, state.role)
    else tickElection(state)
  }

  /**
   * Appends a command to the leader's log. `bytes` has `ENTRY_HEADER_BYTES` of room and then the payload; it is sealed in place
   * and must not change any more, unless the proposal is refused. Proposed is not committed: the entry at that index has
   * taken effect if its term is the one returned when the index is applied, and never will if it is another.
   */
  propose(bytes: Uint8Array, type: 'command' | 'admin' = 'command'): ProposeResult {
    const { role, leader } = this.#state
    if (role.kind !== 'leader') return { kind: 'refused', reason: 'not-leader', leader }
    return this.#append(role, EntryType[type], bytes)
  }

  /** A leader tells its followers now what is committed, and not only with what comes next. */
  announceCommit(): void {
    const { role } = this.#state
    if (role.kind === 'leader') role.heartbeatDue = true
  }

  /**
   * Proposes a change of the configuration, as an entry of type `change`; `bytes` as in {@link propose}. When the host
   * applies it, it says so with {@link onConfiguration}. A joint configuration is left by itself.
   */
  proposeChange(steps: readonly ChangeStep[], bytes: Uint8Array): ProposeResult<ChangeRefusal> {
    const state = this.#state
    const { role, leader } = state
    if (role.kind !== 'leader') return { kind: 'refused', reason: 'not-leader', leader }
    const reason = refusalOf(state, role, steps)
    if (reason !== undefined) return { kind: 'refused', reason, leader }
    const result = this.#append(role, EntryType.change, bytes)
    if (result.kind === 'proposed') role.lastChangeIndex = result.index
    return result
  }

  #append(role: Leader, type: EntryType, bytes: Uint8Array): ProposeResult {
    const state = this.#state
    const { log } = state
    if (role.transfer?.isHeard === true) return { kind: 'refused', reason: 'transferring', leader: state.id }
    const uncommittedBytes = role.uncommittedBytes + bytes.length
    if (uncommittedBytes > state.options.uncommittedBytesMax && role.uncommittedBytes > 0) {
      return { kind: 'refused', reason: 'overloaded', leader: state.id }
    }
    if (state.quiescent) this.wake()
    role.uncommittedBytes = uncommittedBytes
    role.replicationDue = true
    const index = log.lastIndex + 1
    log.append(sealEntry(state.term, index, type, bytes))
    return { kind: 'proposed', index, term: state.term }
  }

  /**
   * Asks for a linearizable read (thesis 6.4). It comes back through `Ready.reads`, with the index to have applied
   * first, or through `Ready.readsDropped`. Reads asked between two readies share one round of messages: ask once for
   * all that wait. While {@link hasLease} it needs no round.
   */
  requestRead(): ReadResult {
    const state = this.#state
    const { role } = state
    if (role.kind !== 'leader') return { kind: 'refused', reason: 'not-leader', leader: state.leader }
    const readId = tryAskRead(state, role)
    if (readId === undefined) return { kind: 'refused', reason: 'overloaded', leader: state.id }
    if (state.quiescent) this.wake()
    return { kind: 'asked', readId }
  }

  /**
   * Whether this replica leads and it and `peer`, which was in `term` a moment ago, are a quorum: then nobody else has
   * been elected up to that moment, because whoever is needs the vote of one of the two, in a later term. A lone voter
   * needs no peer.
   */
  isConfirmedBy(peer: ReplicaId, term: Term): boolean {
    const state = this.#state
    if (state.role.kind !== 'leader') return false
    const counts = term === state.term ? peer : NONE
    return isQuorum(state.configuration, (voter) => voter === state.id || voter === counts)
  }

  /** Of the entries delivered, one was applied that makes `configuration` the present one. Before `onApplied`. */
  onConfiguration(configuration: Configuration): void {
    onConfiguration(this.#state, configuration)
  }

  /**
   * The snapshot for a peer that `Ready.snapshots` named was installed, or refused, or did not arrive. The peer is asked where
   * it is, once it has been heard, and sent another one if that is needed.
   */
  onSnapshotEnded(peer: ReplicaId): void {
    const { role, log } = this.#state
    const progress = role.kind === 'leader' ? peerOf(role, peer) : undefined
    if (progress?.state !== 'snapshot') return
    progress.becomeProbe()
    // Its refusal says where it is, which may be ahead of what was acknowledged here.
    progress.nextIndex = log.lastIndex + 1
    progress.paused = true
  }

  /**
   * Whether a snapshot at `index`, of an entry of `term`, which is at hand, is wanted. If so nothing is delivered any more
   * until the host has installed it ({@link finishRestore}) or not begun to ({@link cancelRestore}). Everything delivered
   * has been applied. Before the host touches the state, the writes of the next ready must be durable.
   */
  tryBeginRestore(index: LogIndex, term: Term): boolean {
    return tryBeginRestore(this.#state, index, term)
  }

  cancelRestore(): void {
    cancelRestore(this.#state)
  }

  /**
   * The state is the snapshot's, durably. Returns whether the host's log must begin again behind it, before anything else
   * is asked of this group.
   */
  finishRestore(snapshot: Snapshot): boolean {
    return finishRestore(this.#state, snapshot)
  }

  /**
   * Hands leadership to another voter once it has answered and has the whole log (thesis 3.10). From its answer until
   * then, or until an election timeout has passed, proposals are refused; reads are not. A later call for another voter
   * replaces an earlier one.
   */
  transferLeadership(to: ReplicaId): 'started' | 'refused' {
    const state = this.#state
    const { role } = state
    if (role.kind !== 'leader' || to === state.id || !isVoter(state.configuration, to)) return 'refused'
    if (role.transfer?.to === to) return 'started'
    this.wake()
    role.transfer = { to, isHeard: false, elapsedTicks: 0 }
    const peer = peerOf(role, to)
    assert(peer !== undefined, 'every other voter is a peer')
    peer.prodded = true
    role.replicationDue = true
    return 'started'
  }

  /**
   * Begins an election now, with PreVote first. Nothing happens on a leader, when this replica is no voter, or while it owes a
   * leader its lease.
   */
  campaign(): void {
    if (this.#state.role.kind !== 'leader') startElection(this.#state, false)
  }

  /**
   * The leader's process is known to be gone. A follower forgets the leader, stops refusing others their votes for its
   * sake, and campaigns after 1 to 3 ticks if it is a voter; with lease reads on, neither before a lease that it may have
   * helped to has run out. Elsewhere nothing happens.
   */
  onLeaderUnreachable(): void {
    const state = this.#state
    if (state.role.kind !== 'follower' || state.role.leader === NONE) return
    becomeFollower(state, state.term, NONE)
    state.electionDueTicks = 1 + state.options.random.below(UNREACHABLE_JITTER_TICKS)
  }

  /** Messages to `peer` may have been lost: a leader goes back to probing it, and no longer hands over to it. */
  onPeerUnreachable(peer: ReplicaId): void {
    const { role } = this.#state
    if (role.kind !== 'leader') return
    if (role.transfer?.to === peer) role.transfer = undefined
    const progress = peerOf(role, peer)
    if (progress === undefined) return
    progress.readRound = 0
    role.readRoundDue = true
    if (progress.state !== 'replicate') return
    progress.becomeProbe()
    role.replicationDue = true
  }

  /** Whether `takeReady()` has anything in it. Cheap. */
  hasReady(): boolean {
    return hasReady(this.#state)
  }

  /** Drains the work of the host. What is in it belongs to the host and does not change any more. */
  takeReady(): Ready {
    return takeReady(this.#state)
  }

  /** The writes of the ready with this token, and of all before it, are durable. In the order of the tokens. */
  onSynced(token: number): void {
    const state = this.#state
    assert(token > 0 && token <= state.outbox.lastSyncToken, 'a sync token was given out')
    onSynced(state, token)
  }

  /** Everything delivered up to `index` is in the state. */
  onApplied(index: LogIndex): void {
    const state = this.#state
    assert(index <= state.deliveredIndex, 'only what was delivered is applied')
    if (index > state.appliedIndex) state.appliedIndex = index
    if (index === state.deliveredIndex) state.applyingBytes = 0
    state.log.onApplied(index)
    if (state.role.kind === 'leader') leaveWhenJoint(state, state.role)
  }

  /** What the last `Ready.load` named is in memory, at least until the next ready is taken. */
  onLoaded(): void {
    const { outbox, role } = this.#state
    outbox.loadUnderWay = false
    outbox.applyWaitsForLoad = false
    if (role.kind === 'leader') role.replicationDue = true
  }

  /** Whether the group has nothing left to do: a leader, all voters at last = commit = applied, nothing waiting. */
  canQuiesce(): boolean {
    const { role, log, commitIndex, appliedIndex, configuration, quiescent } = this.#state
    if (role.kind !== 'leader' || quiescent || isJoint(configuration)) return false
    const { lastIndex } = log
    if (commitIndex !== lastIndex || appliedIndex !== lastIndex || log.durableIndex !== lastIndex) return false
    if (log.hasClaims || role.transfer !== undefined || role.reads.waitingCount > 0) return false
    return role.peers.every((peer) => peer.matchIndex === lastIndex)
  }

  /** Tells the followers to rest and rests. Only when {@link canQuiesce}. */
  quiesce(): void {
    const state = this.#state
    assert(this.canQuiesce() && state.role.kind === 'leader', 'only a group with nothing to do rests')
    state.quiescent = true
    state.role.lease?.revoke()
    sendHeartbeats(state, state.role, true)
  }

  /** Ends the rest; idempotent. A leader sends heartbeats with the next ready, others begin to wait for theirs. */
  wake(): void {
    const state = this.#state
    if (!state.quiescent) return
    state.quiescent = false
    state.restartElectionTimer()
    if (state.role.kind !== 'leader') return
    for (const peer of state.role.peers) peer.recentlyActive = false
    state.role.heartbeatDue = true
  }

  /** While true the host does not tick. Proposals, reads, and messages that show activity end it. */
  get quiescent(): boolean {
    return this.#state.quiescent
  }

  get role(): RoleView['role'] {
    return this.#state.role.kind
  }

  get term(): Term {
    return this.#state.term
  }

  /** The known leader of this term, possibly this replica; 0 for none. */
  get leader(): ReplicaId {
    return this.#state.leader
  }

  get commitIndex(): LogIndex {
    return this.#state.commitIndex
  }

  get appliedIndex(): LogIndex {
    return this.#state.appliedIndex
  }

  get lastIndex(): LogIndex {
    return this.#state.log.lastIndex
  }

  /** Everything up to here is in this replica's log on disk, as it is in memory. */
  get durableIndex(): LogIndex {
    return this.#state.log.durableIndex
  }

  get configuration(): Configuration {
    return this.#state.configuration
  }

  /** Whether a read asked now would be confirmed at once, by the lease. Never when lease reads are off. */
  get hasLease(): boolean {
    const state = this.#state
    return state.role.kind === 'leader' && mayReadByLease(state, state.role)
  }

  /**
   * How much longer than its election timeout this replica waits before it campaigns; 0. For who should not lead if others
   * can: they come first, and where there are none this one still does. Takes effect at once; {@link campaign} is not bound.
   */
  set campaignDelayTicks(ticks: number) {
    this.#state.campaignDelayTicks = ticks
  }

  /** To whom a leader is handing over; 0 for nobody. */
  get transferee(): ReplicaId {
    const { role } = this.#state
    return role.kind === 'leader' ? (role.transfer?.to ?? NONE) : NONE
  }

  /** What a leader knows of a peer; undefined elsewhere, and for strangers. */
  progressOf(peer: ReplicaId): ProgressView | undefined {
    const { role } = this.#state
    const progress = role.kind === 'leader' ? peerOf(role, peer) : undefined
    if (progress === undefined) return undefined
    const { matchIndex, nextIndex, state, recentlyActive } = progress
    return { matchIndex, nextIndex, state, recentlyActive }
  }
}

/** `leader`: who to ask instead, as far as is known; 0 for unknown. A refused proposal has no effect, ever. */
export type ProposeResult<Reason = never> =
  | { readonly kind: 'proposed'; readonly index: LogIndex; readonly term: Term }
  | {
      readonly kind: 'refused'
      readonly reason: 'not-leader' | 'overloaded' | 'transferring' | Reason
      readonly leader: ReplicaId
    }

export type ReadResult =
  | { readonly kind: 'asked'; readonly readId: number }
  | { readonly kind: 'refused'; readonly reason: 'not-leader' | 'overloaded'; readonly leader: ReplicaId }

const UNREACHABLE_JITTER_TICKS = 3

/** Whether a message shows that the group is at work: not so the answers to what the leader sent before it rested. */
function isAwakening(message: Message): boolean {
  switch (message.kind) {
    case 'vote-request':
    case 'append-request':
    case 'timeout-now':
      return true
    case 'heartbeat':
      return !message.quiesce
    default:
      return false
  }
}

/** A pre-vote, or a granted one's reply, names a term that nobody is in yet. */
function isPreVoteOfLaterTerm(message: Message): boolean {
  return (
    (message.kind === 'vote-request' && message.pre) ||
    (message.kind === 'vote-reply' && message.pre && message.granted)
  )
}
