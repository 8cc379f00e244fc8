import type { Incarnation, NodeId, RangeId } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import type { RangeReply, RangeRequest } from './range-call.js'
import type { SnapshotMessage } from './snapshot-message.js'

/**
 * What a node does with what its peers say. Called on later turns, in the order of arrival.
 *
 * A handler that throws `CORRUPT` has the connection dropped; another coded error is logged; anything else is a defect
 * or a broken invariant and goes to {@link onFatal}. The loop over a frame's records goes on in each case but the first.
 */
export interface PeerHandlers {
  /** Entries' bytes stay valid for ever and pin at most about twice their size. */
  onRaft(from: NodeId, rangeId: RangeId, message: Message): void
  /**
   * A write block is a view of the frame: copy what is kept. `reply` is to be called exactly once, now or later; it
   * copies, and is without effect once the connection is gone.
   */
  onRangeRequest(from: NodeId, request: RangeRequest, reply: (reply: RangeReply) => void): void
  /** A chunk is a view of the frame. */
  onSnapshot(from: NodeId, message: SnapshotMessage): void
  /** A call of open shape. A rejection with a coded error is sent as such, others as `INTERNAL`. */
  onAsk(from: NodeId, method: string, body: unknown): Promise<unknown>
  /** The link works both ways. Messages of the peer may arrive shortly before. */
  onLinkUp(node: NodeId, incarnation: Incarnation): void
  /** Follows every `onLinkUp`: the connection is gone, or pings went unanswered for too long and it was dropped. */
  onLinkDown(node: NodeId): void
  /** A dial was answered with "connection refused": the node's process is gone. May be called again and again. */
  onNodeGone(node: NodeId): void
  /**
   * A peer has heard of a later state of this node than it has (see `peer-lives`): it must stop, for it may have forgotten
   * what it promised.
   */
  onOutdated(by: NodeId, detail: string): void
  /** A guest's question, while founding. A rejection with a coded error is sent as such. */
  onGuest(body: Uint8Array): Promise<Uint8Array>
  /** A broken invariant, or a defect, met in a handler: the store must stop. */
  onFatal(error: unknown): void
}
