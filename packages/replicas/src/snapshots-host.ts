import type { Clock, Logger, NodeId, RangeId, ReplicaId } from '@cordillera/base'
import type { RaftLog } from '@cordillera/raft-log'
import type { ReplicaState, StateStore } from '@cordillera/state'
import type { SnapshotMessage } from '@cordillera/wire'
import type { Replica } from './replica.js'
import type { TokenBucket } from './token-bucket.js'

/** What sender and receiver of snapshots, and those who end a replica, need of the store that they belong to. */
export interface SnapshotsHost {
  readonly nodeId: NodeId
  readonly clock: Clock
  readonly logger: Logger
  readonly log: RaftLog
  readonly state: StateStore
  readonly links: { sendSnapshot(to: NodeId, message: SnapshotMessage): boolean; isUp(node: NodeId): boolean }
  readonly counts: { snapshotsSent: number; snapshotsInstalled: number; snapshotBytesSent: number }
  /** For what is sent, to all peers together. */
  readonly snapshotRate: TokenBucket
  /** The replica that takes part here. */
  replica(rangeId: RangeId): Replica | undefined
  /** A replica of the range that is here and must not take part any more: it makes room for its successor. */
  silencedState(rangeId: RangeId): ReplicaState | undefined
  /** Destroys a replica that takes no part any more, durably. */
  destroy(state: ReplicaState): Promise<void>
  /** It takes no part any more. */
  leave(replica: Replica): void
  /** It is no more, and not silent either. */
  onGone(state: ReplicaState): void
  /** These have merged with the range: they take no part any more. */
  absorb(by: RangeId, going: readonly ReplicaState[]): void
  /** A replica has come to be, durably. */
  onCreated(state: ReplicaState): void
  /** Whether the disk has room for a snapshot. */
  hasRoom(): boolean
  onFatal(error: unknown): void
}

/** Whether a replica of this id may come to be here: it never was, and no other of its range takes part. */
export function mayCreate(host: SnapshotsHost, rangeId: RangeId, replicaId: ReplicaId): boolean {
  return host.replica(rangeId) === undefined && host.state.mayCreate(replicaId)
}
