import type { LogIndex, ReplicaId } from '@cordillera/base'
import type { LeaderLease } from './lease.js'
import type { PeerProgress } from './progress.js'
import type { ReadQueue } from './reads.js'

/** What a replica is at the moment, with what it needs to be it and nothing else (paper, figure 4; thesis 9.6). */
export type Role = Follower | PreCandidate | Candidate | Leader

export interface Follower {
  readonly kind: 'follower'
  /** The leader of this term as far as is known; 0 for none. */
  leader: ReplicaId
}

/** Asks whether an election could be won, before it disturbs anyone. */
export interface PreCandidate {
  readonly kind: 'pre-candidate'
  readonly votes: Map<ReplicaId, boolean>
}

export interface Candidate {
  readonly kind: 'candidate'
  /** The replica's own vote is among them once it is durable, like everyone else's. */
  readonly votes: Map<ReplicaId, boolean>
  /** The sync that makes the own vote durable; 0 until it was handed to the host. */
  voteSyncToken: number
}

export interface Leader {
  readonly kind: 'leader'
  peers: readonly PeerProgress[]
  /** The empty entry by which this term begins; nothing is committed by counting before it is (paper, 5.4.2). */
  readonly termStartIndex: LogIndex
  /**
   * The last entry that may change the configuration; at first the start of the term, because of what came before it the
   * leader knows no better. No other change is proposed before it has applied here.
   */
  lastChangeIndex: LogIndex
  readonly reads: ReadQueue
  /** Present exactly when lease reads are on. */
  readonly lease: LeaderLease | undefined
  /** What a voter is known to be durable up to; for the quorum arithmetic. */
  readonly matchOf: (voter: ReplicaId) => LogIndex
  /** Bytes of the proposals of this term that are not delivered as committed yet. */
  uncommittedBytes: number
  heartbeatElapsedTicks: number
  /** Heartbeats to everyone leave with the next ready. */
  heartbeatDue: boolean
  /** A round of reads leaves with the next ready, to as many as it needs. */
  readRoundDue: boolean
  /** Appends may have become possible: look at every peer in the next ready. */
  replicationDue: boolean
  transfer: Transfer | undefined
}

/** A leadership that is being handed over (thesis 3.10). */
export interface Transfer {
  readonly to: ReplicaId
  /** The target has answered since: only then are proposals refused, so that one that is silent costs nothing. */
  isHeard: boolean
  elapsedTicks: number
}

export function peerOf(leader: Leader, id: ReplicaId): PeerProgress | undefined {
  const { peers } = leader
  for (let i = 0; i < peers.length; i++) if (peers[i]!.id === id) return peers[i]
  return undefined
}
