import type { Clock, Logger, NodeId, Random, RangeId, Version } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import type { RaftLog } from '@cordillera/raft-log'
import type { Descriptor, Lock } from '@cordillera/ranges'
import type { StateStore } from '@cordillera/state'
import type { DecidedReply, RangeReply, RangeRequest, SnapshotMessage } from '@cordillera/wire'
import type { ReplicaObserver } from './replica-host.js'
import { defaultStoreLimits, type StoreLimits, type StoreReport } from './store-watch.js'
import type { SystemSeat, TimestampSource } from './timestamp-source.js'

/** The way to other nodes; what `PeerLinks` offers. */
export interface ReplicaLinks {
  sendRaft(to: NodeId, rangeId: RangeId, message: Message): boolean
  sendSnapshot(to: NodeId, message: SnapshotMessage): boolean
  call(to: NodeId, request: RangeRequest, onReply: (reply: RangeReply | undefined) => void): boolean
  isUp(node: NodeId): boolean
}

export interface ReplicasOptions {
  readonly nodeId: NodeId
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly log: RaftLog
  readonly state: StateStore
  readonly links: ReplicaLinks
  readonly limits: ReplicasLimits
  readonly timestamps: TimestampSource
  readonly systemSeat: SystemSeat
  /** What a transaction has come to, as its record says: see `OutcomeRequest` of wire. Rejects when that cannot be had. */
  readonly askOutcome: (lock: Lock, at: Version) => Promise<DecidedReply>
  readonly observer?: ReplicaObserver
  /** A range's replicas have changed, a replica has come to be here, or a range was cut: then both halves. */
  readonly onDescriptors: (descriptors: readonly Descriptor[]) => void
  /** What others should know of this store's disk has changed. */
  readonly onStoreChanged: (report: StoreReport) => void
  /** Called once, when the store has stopped itself. */
  readonly onFatal: (error: unknown) => void
}

export interface ReplicasLimits {
  readonly store: StoreLimits
  readonly tickMs: number
  readonly electionTimeoutTicks: number
  readonly heartbeatIntervalTicks: number
  readonly inflightMessagesMax: number
  readonly inflightBytesMax: number
  readonly appendBytesMax: number
  readonly committedBytesMax: number
  readonly uncommittedBytesMax: number
  readonly entryBytesMax: number
  readonly pendingBytesMax: number
  readonly readsMax: number
  /** Ticks without a request after which a group may rest. */
  readonly idleTicksBeforeRest: number
  /** The state database is flushed when its overlay holds so much, … */
  readonly stateFlushBytes: number
  /** … or the oldest unflushed write is so old. */
  readonly stateFlushMs: number
  /** What a range's log keeps for replicas that lag, at most; then they are sent a snapshot. */
  readonly laggardEntriesMax: number
  readonly laggardBytesMax: number
  /**
   * Reads without a round of messages while a lease lasts; undefined: off. It assumes what `LeaseOptions` of raft-core says: that
   * no two machines' monotonic clocks differ in speed by more than `clockDriftMax`, and that they go on while a process is
   * stopped. Not for machines that can be suspended. At most about an election timeout.
   */
  readonly lease: { readonly durationMs: number; readonly clockDriftMax: number } | undefined
}

export const defaultReplicasLimits: ReplicasLimits = {
  store: defaultStoreLimits,
  tickMs: 100,
  electionTimeoutTicks: 10,
  heartbeatIntervalTicks: 3,
  inflightMessagesMax: 256,
  inflightBytesMax: 8 << 20,
  appendBytesMax: 1 << 20,
  committedBytesMax: 1 << 20,
  uncommittedBytesMax: 32 << 20,
  entryBytesMax: 1 << 20,
  pendingBytesMax: 16 << 20,
  readsMax: 16_384,
  idleTicksBeforeRest: 10,
  stateFlushBytes: 16 << 20,
  stateFlushMs: 30_000,
  laggardEntriesMax: 10_000,
  laggardBytesMax: 16 << 20,
  lease: undefined,
}

export interface ReplicasCounts {
  proposals: number
  entriesApplied: number
  raftMessagesSent: number
  raftMessagesReceived: number
  raftMessagesUnsent: number
  leaderChanges: number
  turns: number
  snapshotsSent: number
  snapshotsInstalled: number
  snapshotBytesSent: number
}

export function newReplicasCounts(): ReplicasCounts {
  return {
    proposals: 0,
    entriesApplied: 0,
    raftMessagesSent: 0,
    raftMessagesReceived: 0,
    raftMessagesUnsent: 0,
    leaderChanges: 0,
    turns: 0,
    snapshotsSent: 0,
    snapshotsInstalled: 0,
    snapshotBytesSent: 0,
  }
}
