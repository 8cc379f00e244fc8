import type { Key, NodeId, RangeId, ReplicaId } from '@cordillera/base'

/**
 * One placement change of one range, to be carried out by somebody else, who may stop halfway: every operator can be
 * begun again, and a new picture shows how far it came.
 */
export type Operator =
  /** Without a key: where half of the bytes are. */
  | { readonly kind: 'split'; readonly rangeId: RangeId; readonly key?: Key }
  /** The right neighbour ends in this range. Both have replicas on the same nodes. */
  | { readonly kind: 'merge'; readonly rangeId: RangeId; readonly rightId: RangeId }
  /** A learner that becomes a voter once it has caught up. */
  | { readonly kind: 'add-replica'; readonly rangeId: RangeId; readonly to: NodeId }
  /**
   * Never the leader's. Whoever removes it leaves at least `votersLeft` voters, whatever has become of the range since: the
   * replica may be needed by then.
   */
  | {
      readonly kind: 'remove-replica'
      readonly rangeId: RangeId
      readonly replicaId: ReplicaId
      readonly from: NodeId
      readonly votersLeft: number
    }
  | ReplaceReplica
  | { readonly kind: 'transfer-leader'; readonly rangeId: RangeId; readonly from: NodeId; readonly to: NodeId }

/**
 * A learner on `to` catches up and is swapped for the replica by one joint change: at no time are there fewer voters. The
 * replica is not the leader's, unless it is the only voter. With `leads`, the new replica takes the leadership at the end.
 */
export interface ReplaceReplica {
  readonly kind: 'replace-replica'
  readonly rangeId: RangeId
  readonly replicaId: ReplicaId
  readonly from: NodeId
  readonly to: NodeId
  readonly leads: boolean
}

/** The question that was asked about a range. */
export type DecisionKind =
  | 'keep-replicas'
  | 'spread-replicas'
  | 'balance-replicas'
  | 'balance-leaders'
  | 'drain-leaders'
  | 'split'
  | 'merge'

/** Why something is done. */
export type DoCode =
  | 'dead-node'
  | 'under-replicated'
  | 'decommission'
  | 'over-replicated'
  | 'stray-learner'
  | 'failure-domain'
  | 'replica-count'
  | 'leader-count'
  | 'load'
  | 'drain'
  | 'size'
  | 'small-and-cold'
  | 'align-for-merge'

/** Why something is not done, now or at all. */
export type NoCode =
  | 'placement-off'
  | 'under-way'
  | 'decided'
  | 'joint'
  | 'local-repair'
  | 'no-leader'
  | 'no-quorum'
  | 'node-down'
  | 'no-target'
  | 'enough-under-way'
  | 'would-lose-quorum'
  | 'leads'
  | 'enough-replicas'
  | 'well-spread'
  | 'balanced'
  | 'repairs-first'
  | 'no-better-node'
  | 'hot-range'
  | 'may-merge'
  | 'in-place'
  | 'below-limits'
  | 'one-hot-key'
  | 'no-sample'
  | 'system-range'
  | 'no-right-neighbour'
  | 'keyspace-boundary'
  | 'pinned-boundary'
  | 'too-large'
  | 'too-busy'
  | 'cooldown'
  | 'few-ranges'
  | 'loses-spread'
  | 'unknown-range'
  | 'paired-elsewhere'

export type DecisionCode = DoCode | NoCode

/** Something to do. */
export interface Decision {
  readonly kind: DecisionKind
  readonly code: DoCode
  readonly operator: Operator
  /** A sentence for people. */
  readonly detail: string
}

/** An answer to one question about one range: done (`do`), later (`wait`), or not (`no`). */
export interface Explanation {
  readonly kind: DecisionKind
  readonly verdict: 'do' | 'wait' | 'no'
  readonly code: DecisionCode
  /** A sentence for people. */
  readonly detail: string
}

/** What a rule answers for a range. */
export type Choice = Doing | NoCode

export interface Doing {
  readonly code: DoCode
  readonly operator: Operator
}
