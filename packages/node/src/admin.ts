import type { NodeId, RangeId, ReplicaId, Term } from '@cordillera/base'
import type { Epoch, ReplicaType } from '@cordillera/ranges'

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

/** What one node tells the others about itself. */
export interface NodeReport {
  readonly nodeId: NodeId
  readonly draining: boolean
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
