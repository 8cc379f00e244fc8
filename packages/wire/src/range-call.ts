import type { Key, LogIndex, NodeId, RangeId, ReplicaId, Term, Version } from '@cordillera/base'
import type { Descriptor, TransactionId, TransactionRecord } from '@cordillera/ranges'

/**
 * What a gateway asks of the replica that leads a range, here or on another node. One request carries everything that
 * one gateway had for one range in one turn; one reply answers all of it.
 */
export type RangeRequest = WriteRequest | ReadRequest | ScanRequest | TimestampsRequest | IndexRequest | OutcomeRequest

/** Commands to propose, in order, as one write block of `@cordillera/ranges` (which carries the epoch). */
export interface WriteRequest {
  readonly kind: 'write'
  readonly rangeId: RangeId
  /** Commands in the block. */
  readonly count: number
  readonly block: Uint8Array
}

/**
 * Reads of the versions at the timestamp `at`; linearizable reads of the newest ones when it is 0. The reply may hold
 * fewer values than keys; ask again for the rest.
 */
export interface ReadRequest {
  readonly kind: 'read'
  readonly rangeId: RangeId
  readonly epochVersion: number
  readonly at: Version
  /** A follower may serve it, from a state that it asks the leader about: see {@link IndexRequest}. */
  readonly byFollower: boolean
  readonly keys: readonly Key[]
}

/** A scan within one range, as {@link ReadRequest}: `start` inclusive, `end` exclusive, both within the range's span. */
export interface ScanRequest {
  readonly kind: 'scan'
  readonly rangeId: RangeId
  readonly epochVersion: number
  readonly at: Version
  readonly byFollower: boolean
  readonly start: Key
  readonly end: Key | null
  readonly reverse: boolean
  readonly limit: number
  /** Ends the page early; at least one entry is returned all the same. Keys and values count. */
  readonly bytesMax: number
  /** False: values come back empty. */
  readonly values: boolean
}

/**
 * Asks the oracle, beside the leader of the system range, for `count` timestamps in a row; with 0 only for the news.
 * It also is the asking node's report on its snapshots.
 */
export interface TimestampsRequest {
  readonly kind: 'timestamps'
  readonly rangeId: RangeId
  /** Who asks. */
  readonly nodeId: NodeId
  /**
   * The asking node's own replica of the system range, and its term as the request left, 0 and 0 without one. A voter that
   * still knows the oracle's term confirms its leadership by that.
   */
  readonly replicaId: ReplicaId
  readonly term: Term
  readonly count: number
  /** No snapshot that is open on the node, or that it will ever open, is below. */
  readonly oldestSnapshot: Version
}

/**
 * A follower asks the leader how far it must have applied to serve reads at `at` (0: of the newest) that it had before it
 * asked (thesis 6.4). The leader confirms its leadership, and raises its floor to `at`, as for a read of its own.
 */
export interface IndexRequest {
  readonly kind: 'index'
  readonly rangeId: RangeId
  readonly at: Version
}

/**
 * What a transaction has come to, at its home, as {@link ReadRequest}: by a timestamp, it does not take effect at or below that
 * any more unless the answer says so.
 */
export interface OutcomeRequest {
  readonly kind: 'outcome'
  readonly rangeId: RangeId
  readonly epochVersion: number
  readonly at: Version
  readonly home: Key
  readonly transaction: TransactionId
}

export type RangeReply =
  | WrittenReply
  | ValuesReply
  | ScannedReply
  | TimestampsReply
  | IndexedReply
  | DecidedReply
  | RefusedReply
  | UnknownReply

/** All commands of the block are committed and applied: an outcome a command (see `outcomeKind` of ranges), in order. */
export interface WrittenReply {
  readonly kind: 'written'
  readonly outcomes: readonly number[]
}

/** `first` and the `count - 1` behind it are the asker's alone; with a count of 0 all issued so far are below `first`. */
export interface TimestampsReply {
  readonly kind: 'timestamps'
  readonly first: Version
  /** What no snapshot can see any more may be collected: versions superseded at or below. Never goes back. */
  readonly safePoint: Version
}

export interface IndexedReply {
  readonly kind: 'indexed'
  readonly index: LogIndex
}

/** `absent`: it has no record (yet, or any more). `version` is 0 unless it is committed. */
export interface DecidedReply {
  readonly kind: 'decided'
  readonly state: TransactionRecord['state'] | 'absent'
  readonly version: Version
}

/**
 * A value a key, in order; undefined for absent. Values of the first keys alone when all would be too large for a
 * reply, but of one key at least: ask again for the rest.
 */
export interface ValuesReply {
  readonly kind: 'values'
  readonly values: readonly (VersionedValue | undefined)[]
}

export interface VersionedValue {
  readonly version: Version
  readonly value: Uint8Array
}

export interface ScannedReply {
  readonly kind: 'scanned'
  readonly entries: readonly ScannedEntry[]
  /** True when limit or bytes ended the page before the span was exhausted: go on behind the last entry. */
  readonly more: boolean
}

export interface ScannedEntry extends VersionedValue {
  readonly key: Key
}

/**
 * Surely nothing was, or ever will be, written by this request; it may be sent again.
 *
 * `not-leader`: `leader` is the node believed to lead (0 unknown). `no-range`: this node has no such replica.
 * `epoch-mismatch`: the span changed; `descriptors` are the ranges now there. `overloaded`: too much is waiting.
 * `lost`: the proposal was replaced by another leader's entry. `closing`: the node shuts down. `snapshot-expired`: the
 * versions at the timestamp may be collected already. `not-ready`: the leader cannot issue timestamps yet.
 * `merging`: the range is about to become part of its neighbour, or to go on as it was. `disk-full`: a quorum of
 * the range's stores has too little room for it; without its puts it may be taken.
 */
export interface RefusedReply {
  readonly kind: 'refused'
  readonly reason: RefusalReason
  readonly leader: NodeId
  readonly descriptors: readonly Descriptor[]
}

export type RefusalReason =
  | 'not-leader'
  | 'no-range'
  | 'epoch-mismatch'
  | 'overloaded'
  | 'lost'
  | 'closing'
  | 'snapshot-expired'
  | 'not-ready'
  | 'merging'
  | 'disk-full'

/** The request was proposed and its outcome cannot be told any more. */
export interface UnknownReply {
  readonly kind: 'unknown'
}
