import type { Incarnation, NodeId } from '@cordillera/base'

/**
 * One connection per pair of nodes that carries whole frames, in order, each at most once.
 *
 * A connection is between two incarnations; frames of an earlier connection never arrive after `onUp` of a later one.
 * Implemented over WebSockets by `transport` and in virtual time by the simulator.
 */
export interface Transport {
  /** Begins to listen. From now on guests are answered, and nodes of the same cluster once {@link identify} is called. */
  start(handlers: TransportHandlers): Promise<void>
  /** Says who this node is. Called once, after `start`. From now on peers are dialled and accepted. */
  identify(identity: NodeIdentity): void
  /** Replaces the known addresses (`host:port`) of other nodes. Unknown peers that connect are accepted all the same. */
  setPeers(addresses: ReadonlyMap<NodeId, string>): void
  /**
   * Queues a frame; the transport owns its memory from now on, and its first `FRAME_ROOM_BYTES` are room for a checksum
   * of the rest, which it may use or leave alone. False, with nothing queued, when there is no connection
   * or its queue is full (bounded in bytes); the caller treats the frame as lost.
   */
  send(to: NodeId, frame: Uint8Array): boolean
  /** Closes the connection, if there is one, as if it had failed; dialling begins anew with backoff. */
  disconnect(peer: NodeId): void
  /** Asks the node that listens at `address`, as a guest, outside of the mesh. Rejects with a coded error. */
  ask(address: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array>
  /** Stops listening and closes every connection. Idempotent. */
  close(): Promise<void>
}

export interface NodeIdentity {
  readonly clusterId: string
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
}

/** Called on later turns, never from within a call of the transport. They must not throw. */
export interface TransportHandlers {
  onUp(peer: NodeId, incarnation: Incarnation): void
  /** Follows every `onUp` once the connection is gone. */
  onDown(peer: NodeId): void
  /** The peer's host answered a dial with "connection refused": its process is gone. */
  onRefused(peer: NodeId): void
  /** The frame's memory belongs to the receiver and is never written again. */
  onFrame(from: NodeId, frame: Uint8Array): void
  /** A guest's question; a rejection with a coded error is sent as such. */
  onGuest(body: Uint8Array): Promise<Uint8Array>
}
