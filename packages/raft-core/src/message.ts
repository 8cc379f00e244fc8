import type { LogIndex, ReplicaId, Term } from '@cordillera/base'
import type { Entry } from './entry.js'

/**
 * What replicas of one group say to each other. Plain data; a host carries them, in any order, any number of times.
 *
 * `term` is the sender's term, except in a pre-vote and a granted pre-vote's reply, where it is the term that the
 * candidate would have (thesis 9.6).
 */
interface Addressed {
  readonly from: ReplicaId
  readonly to: ReplicaId
  readonly term: Term
}

/**
 * What the sender knows to be committed, for a receiver that has the same entry: the one may be needed for an election by a
 * configuration that the other knows to have been left (as raft-rs does it).
 */
interface Committed {
  readonly commitIndex: LogIndex
  readonly commitTerm: Term
}

/** RequestVote (Raft paper, figure 2), and its rehearsal. */
export interface VoteRequest extends Addressed, Committed {
  readonly kind: 'vote-request'
  readonly pre: boolean
  readonly lastIndex: LogIndex
  readonly lastTerm: Term
  /** Set when the leader asked for this election (thesis 3.10): the receiver's leader stickiness does not apply. */
  readonly transfer: boolean
}

export interface VoteReply extends Addressed, Committed {
  readonly kind: 'vote-reply'
  readonly pre: boolean
  readonly granted: boolean
}

/** AppendEntries with entries, or a probe without. `0 <= prevIndex`; entries are contiguous from `prevIndex + 1`. */
export interface AppendRequest extends Addressed {
  readonly kind: 'append-request'
  readonly prevIndex: LogIndex
  readonly prevTerm: Term
  readonly commitIndex: LogIndex
  readonly entries: readonly Entry[]
}

/**
 * Accepted: everything up to `index` equals the leader's log and is durable here. Rejected: `index` is the request's
 * `prevIndex`, and the hint is the highest place at which the logs may still agree (fast backtracking, paper 5.3).
 */
export interface AppendReply extends Addressed {
  readonly kind: 'append-reply'
  readonly accepted: boolean
  readonly index: LogIndex
  readonly hintIndex: LogIndex
  readonly hintTerm: Term
}

/** Keeps authority, carries the commit index (never above what the receiver is known to hold) and a round of reads. */
export interface Heartbeat extends Addressed {
  readonly kind: 'heartbeat'
  readonly commitIndex: LogIndex
  /** The newest read round that this message may confirm (thesis 6.4); 0 for none. */
  readonly readRound: number
  /** The leader rests after this message; a receiver whose log ends at `commitIndex` in this term rests as well. */
  readonly quiesce: boolean
}

export interface HeartbeatReply extends Addressed {
  readonly kind: 'heartbeat-reply'
  readonly readRound: number
}

/** TimeoutNow (thesis 3.10): campaign at once. */
export interface TimeoutNow extends Addressed {
  readonly kind: 'timeout-now'
}

/** From a replica that holds nothing of the group yet, to whoever seems to lead it; `term` is that one's. */
export interface SnapshotRequest extends Addressed {
  readonly kind: 'snapshot-request'
}

export type Message =
  | VoteRequest
  | VoteReply
  | AppendRequest
  | AppendReply
  | Heartbeat
  | HeartbeatReply
  | TimeoutNow
  | SnapshotRequest
