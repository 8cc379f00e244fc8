import type { CordilleraError, NodeId, ReplicaId, Version } from '@cordillera/base'
import type { Message, Ready } from '@cordillera/raft-core'
import type { Lock } from '@cordillera/ranges'
import type { ReplicaState } from '@cordillera/state'
import type { DecidedReply, RangeReply, RangeRequest, TimestampsRequest } from '@cordillera/wire'
import type { Replica } from './replica.js'
import type { TimestampWaiter } from './timestamp-source.js'

/** Sees what replicas do, as they do it: for checkers. It must not change anything, nor throw. */
export interface ReplicaObserver {
  /** The replica was opened, on what its log and its state hold. */
  onOpened(replica: Replica): void
  /** What `ready` appends is in the log, not yet durable; nothing else of it was done. */
  onReady(replica: Replica, ready: Ready): void
  /** What `ready` appended, and everything before, is said to be durable; nothing was said to others yet. */
  onSynced(replica: Replica, ready: Ready): void
  /** The entry at the applied index has changed the configuration; the descriptor is the one from there on. */
  onConfiguration(replica: Replica): void
  /** A snapshot has taken the place of the state, durably; of the log only what fits it is left. */
  onRestored(replica: Replica): void
  /** The entry at the applied index has cut the range; the other half's replica here is about to be opened. */
  onSplit(replica: Replica, right: ReplicaState): void
  /** The entry at the applied index has merged the range with its right neighbour, whose replica here is about to go. */
  onMerged(replica: Replica, right: ReplicaState): void
}

/** What a replica asks of its host. */
export interface ReplicaHost {
  /** False when the message is surely lost. */
  send(to: NodeId, replica: Replica, message: Message): boolean
  /** As `PeerLinks.call`. */
  call(to: NodeId, request: RangeRequest, onReply: (reply: RangeReply | undefined) => void): boolean
  /** The replica has appended: it wants {@link Replica.onSynced} once the log is durable up to here. */
  needSync(replica: Replica, ready: Ready): void
  /** Something is left to do in a later turn. */
  markDirty(replica: Replica): void
  onRoleChange(replica: Replica): void
  /** Entries of its log are rotten: it must not take part any more. */
  onLogDamaged(replica: Replica, error: CordilleraError): void
  /** The store must stop. */
  onFatal(error: unknown): void
  /** A peer that the log cannot serve wants a snapshot. */
  sendSnapshot(replica: Replica, peer: ReplicaId): void
  /** Who is in the range has changed. */
  onDescriptorChanged(replica: Replica): void
  /** The range was cut: `right` is the other half's replica on this store. Nothing of it runs yet. */
  onSplit(replica: Replica, right: ReplicaState): void
  /** The range has merged with its right neighbour, whose replica on this store `right` was. */
  onMerged(replica: Replica, right: ReplicaState): void
  /** The range has taken another step of a merge. */
  onMergeStep(replica: Replica, step: string): void
  /** The replica wants timestamps for its writes. */
  askTimestamps(waiter: TimestampWaiter): void
  /** It leads, and has applied everything that was committed before its term. Once a term. */
  onLeadershipUsable(replica: Replica): void
  /** What a transaction has come to, as its record says: see `OutcomeRequest` of wire. Rejects when that cannot be had. */
  askOutcome(lock: Lock, at: Version): Promise<DecidedReply>
  /** Undefined: timestamps cannot be given out yet. */
  issueTimestamps(
    replica: Replica,
    request: TimestampsRequest,
  ): { readonly first: Version; readonly safePoint: Version } | undefined
}

export interface ReplicaLimits {
  /** Payload of one entry made of the blocks of several requests. */
  readonly entryBytesMax: number
  /** Blocks waiting to be proposed. */
  readonly pendingBytesMax: number
  readonly readsMax: number
}
