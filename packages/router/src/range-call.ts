import type { NodeId } from '@cordillera/base'
import type { RangeReply, RangeRequest } from '@cordillera/wire'

/**
 * The router's way to a replica, here or far away: a port, implemented by `node` over its own replicas and its links.
 *
 * A request is sent at most once. The request's block and keys stay unchanged, and readable, until its reply.
 */
export interface RangeCall {
  /** This node. A request to it is executed in this process. */
  readonly self: NodeId
  /**
   * Sends `request` to the replica of its range on `node`.
   *
   * True: `onReply` runs exactly once, now or later, with the reply, or with undefined when the connection was lost
   * after the request was handed to it (so that nobody knows whether it arrived). False: the request surely was not
   * sent, and `onReply` never runs.
   */
  send(node: NodeId, request: RangeRequest, onReply: (reply: RangeReply | undefined) => void): boolean
  /** Whether the node's link works both ways, as far as is known. */
  isUp(node: NodeId): boolean
}
