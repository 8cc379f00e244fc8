import type { Key, NodeId, RangeId, ReplicaId, Term } from '@cordillera/base'
import type { Epoch, ReplicaType } from '@cordillera/ranges'
import type { StoreReport } from '@cordillera/replicas'

/** The shapes of the admin API, as the node gives them; bounds are without the keyspace's prefix. */

export interface ClusterInfo {
  readonly clusterId: string
  readonly version: string
  readonly nodeCount: number
  readonly rangeCount: number
  readonly healthy: boolean
  /** A sentence for a person. */
  readonly health: string
}

export type NodeState = 'live' | 'dead' | 'draining' | 'decommissioning' | 'decommissioned'

export interface NodeInfo {
  readonly nodeId: NodeId
  readonly peerAddress: string
  readonly httpAddress: string
  readonly locality: string
  readonly state: NodeState
  readonly replicas: number
  readonly leaders: number
  readonly bytes: number
  readonly readsPerSec: number
  readonly writesPerSec: number
  readonly fsyncP50Ms: number
  readonly fsyncP99Ms: number
}

export interface RangeInfo {
  readonly rangeId: RangeId
  /** Empty for the system range. */
  readonly keyspace: string
  /** Of a spread keyspace alone: bounds begin with a bucket. */
  readonly spread?: true
  readonly start: string
  readonly end: string | null
  readonly epoch: Epoch
  readonly leader: NodeId | null
  readonly term: Term
  readonly bytes: number
  readonly readsPerSec: number
  readonly writesPerSec: number
  readonly replicas: readonly RangeReplicaInfo[]
}

export interface RangeReplicaInfo {
  readonly replicaId: ReplicaId
  readonly nodeId: NodeId
  readonly type: ReplicaType
  /** Null when its node did not answer. */
  readonly commitIndex: number | null
  readonly appliedIndex: number | null
  /** Entries that the leader has and this replica has not applied. */
  readonly lag: number | null
}

export type NodeCommand = 'drain' | 'undrain' | 'decommission' | 'recommission'

export type OperatorRequest =
  /** `key` is whole, with its keyspace's prefix; without it, one is chosen. `version`: only while the range's epoch has this one. */
  | { readonly kind: 'split'; readonly rangeId: RangeId; readonly key?: Key; readonly version?: number }
  | { readonly kind: 'merge'; readonly rangeId: RangeId; readonly version?: number }
  | { readonly kind: 'transfer-leader'; readonly rangeId: RangeId; readonly nodeId: NodeId }
  | { readonly kind: 'change-replicas'; readonly rangeId: RangeId; readonly add?: NodeId; readonly remove?: NodeId }
  | { readonly kind: NodeCommand; readonly nodeId: NodeId }

export interface OperatorInfo {
  readonly operatorId: number
  readonly kind: OperatorRequest['kind'] | 'recover'
  readonly rangeId: RangeId | null
  readonly nodeId: NodeId | null
  readonly state: 'running' | 'done' | 'failed' | 'cancelled'
  readonly goal?: OperatorGoal
  /** Why it was begun. */
  readonly reason: string
  /** What it is doing, or did last. */
  readonly step: string
  /** ISO 8601, like the other times. */
  readonly startedAt: string
  readonly deadline: string
  readonly endedAt: string | null
  /** Of a failed one alone. */
  readonly error?: { readonly code: string; readonly detail: string }
  /** Of a split: `{left, right}`, two ids of ranges. */
  readonly result?: object
}

/** What it is to make of its range. */
export interface OperatorGoal {
  /** Of a split, where the right range begins: bytes, without the keyspace's prefix; with these two, as of a range. */
  readonly key?: string
  readonly keyspace?: string
  readonly spread?: true
  /** Of a split and a merge. */
  readonly right?: RangeId
  /** Of a change of replicas. */
  readonly add?: NodeId
  readonly remove?: NodeId
}

export interface RangeExplanation {
  readonly rangeId: RangeId
  /** Newest first. */
  readonly decisions: readonly RangeDecision[]
}

export interface RangeDecision {
  readonly at: string
  readonly kind: string
  readonly verdict: 'yes' | 'no'
  readonly code: string
  readonly detail: string
}

export interface ClusterSettings {
  readonly placementEnabled: boolean
  readonly replicas: number
  readonly rangeSplitBytes: number
  readonly rangeMergeBytes: number
  readonly rangeMergeCooldownMs: number
  readonly rangeSplitLoadPerSec: number
  readonly deadNodeAfterMs: number
  readonly movesPerNodeMax: number
  readonly snapshotBytesPerSecMax: number
  /** A fraction of the mean. */
  readonly balanceTolerance: number
}

/** What the voters of a range hold at one timestamp, everything up to which is at or below `index` of its log. Null: no answer. */
export interface RangeHashes {
  readonly rangeId: RangeId
  readonly index: number
  readonly replicas: readonly { readonly nodeId: NodeId; readonly appliedIndex: number; readonly hash: string | null }[]
}

/** What one node tells the others about itself. */
export interface NodeReport {
  readonly nodeId: NodeId
  /** `member`, or what else it is: one of {@link NodeState}. */
  readonly membership: string
  /** Nodes that were decommissioned, as whoever places ranges knows; empty elsewhere. */
  readonly decommissioned: readonly NodeId[]
  readonly store: StoreReport
  readonly bytes: number
  readonly readsPerSec: number
  readonly writesPerSec: number
  readonly fsyncP50Ms: number
  readonly fsyncP99Ms: number
  readonly ranges: readonly NodeRangeReport[]
  /** Replicas here that take no part, because their log was damaged: range and replica. */
  readonly silenced: readonly (readonly [RangeId, ReplicaId])[]
}

export interface NodeRangeReport {
  readonly rangeId: RangeId
  /** Of the range as this replica knows it. */
  readonly epoch: Epoch
  readonly replicaId: ReplicaId
  readonly isLeader: boolean
  readonly leader: NodeId
  readonly term: Term
  readonly commitIndex: number
  readonly appliedIndex: number
  readonly lastIndex: number
  /** The estimated size of the keys and values held. */
  readonly bytes: number
  readonly readsPerSec: number
  readonly writesPerSec: number
}
