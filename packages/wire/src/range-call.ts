import type { Key, NodeId, RangeId, Version } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'

/**
 * What a gateway asks of the replica that leads a range, here or on another node. One request carries everything that
 * one gateway had for one range in one turn; one reply answers all of it.
 */
export type RangeRequest = WriteRequest | ReadRequest | ScanRequest

/** Commands to propose, in order, as one write block of `@cordillera/ranges` (which carries the epoch). */
export interface WriteRequest {
  readonly kind: 'write'
  readonly rangeId: RangeId
  /** Commands in the block. */
  readonly count: number
  readonly block: Uint8Array
}

/** Linearizable reads of the newest versions. The reply may hold fewer values than keys; ask again for the rest. */
export interface ReadRequest {
  readonly kind: 'read'
  readonly rangeId: RangeId
  readonly epochVersion: number
  readonly keys: readonly Key[]
}

/** A linearizable scan within one range: `start` inclusive, `end` exclusive, both within the range's span. */
export interface ScanRequest {
  readonly kind: 'scan'
  readonly rangeId: RangeId
  readonly epochVersion: number
  readonly start: Key
  readonly end: Key | null
  readonly reverse: boolean
  readonly limit: number
  /** Ends the page early; at least one entry is returned all the same. Keys and values count. */
  readonly bytesMax: number
  /** False: values come back empty. */
  readonly values: boolean
}

export type RangeReply = WrittenReply | ValuesReply | ScannedReply | RefusedReply | UnknownReply

/** All commands of the block are committed and applied: a version a command, in order. */
export interface WrittenReply {
  readonly kind: 'written'
  readonly versions: readonly Version[]
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
 * `lost`: the proposal was replaced by another leader's entry. `closing`: the node shuts down.
 */
export interface RefusedReply {
  readonly kind: 'refused'
  readonly reason: 'not-leader' | 'no-range' | 'epoch-mismatch' | 'overloaded' | 'lost' | 'closing'
  readonly leader: NodeId
  readonly descriptors: readonly Descriptor[]
}

/** The request was proposed and its outcome cannot be told any more. */
export interface UnknownReply {
  readonly kind: 'unknown'
}
