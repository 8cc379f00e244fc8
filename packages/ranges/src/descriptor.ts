import type { Key, NodeId, RangeId, ReplicaId } from '@cordillera/base'
import type { MergeState } from './merge.js'

/** A contiguous span of keys: `start` inclusive, `end` exclusive; `end: null` is infinity. */
export interface Span {
  readonly start: Key
  readonly end: Key | null
}

/** `version` changes at split and merge, `confVersion` at membership changes. Neither ever goes back. */
export interface Epoch {
  readonly version: number
  readonly confVersion: number
}

/**
 * What a replica has a say in. Outside of a joint configuration there are `voter` and `learner` alone; in one, `incoming` votes
 * in the half that comes, `outgoing` in the half that goes, and `voter` in both.
 */
export type ReplicaType = 'voter' | 'incoming' | 'outgoing' | 'learner'

/** A node has two replicas of a range only while one of them replaces the other. */
export interface ReplicaPlace {
  readonly replicaId: ReplicaId
  readonly nodeId: NodeId
  readonly type: ReplicaType
}

/** What a range is and where it lives. Authoritative in the range's own replicated state; elsewhere a cache. */
export interface Descriptor extends Span {
  readonly rangeId: RangeId
  readonly epoch: Epoch
  readonly replicas: readonly ReplicaPlace[]
  /** While it is being merged with a neighbour. Says nothing elsewhere than in the range's own state. */
  readonly merge?: MergeState
  /** The last attempt to merge that it began, as the left of two. */
  readonly lastMerge?: number
  /** The last one that came to a whole. */
  readonly lastMerged?: number
}

export function spanContains(span: Span, key: Key): boolean {
  return key >= span.start && (span.end === null || key < span.end)
}

export function spansOverlap(a: Span, b: Span): boolean {
  return (a.end === null || b.start < a.end) && (b.end === null || a.start < b.end)
}
