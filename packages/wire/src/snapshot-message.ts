import type { RangeId, ReplicaId } from '@cordillera/base'
import type { Span } from '@cordillera/ranges'

/**
 * How a snapshot of a range travels from one node to another: a stream of chunks that the sender names, one way, and credits,
 * the other way. A stream lives as long as the connection at most; a new one begins from the start.
 *
 * Sender: `offer`; then, as far as credits go, chunks; or `cancelled`, with which it is over. Receiver: credits, the first of
 * which asks for the first chunk, whenever it has room; then `ended`, once, with which it is over.
 */
export type SnapshotMessage = SnapshotOffer | SnapshotChunk | SnapshotCancelled | SnapshotCredit | SnapshotEnded

interface OfStream {
  /** The sender's, not used for another stream of the connection. */
  readonly streamId: number
}

export interface SnapshotOffer extends OfStream {
  readonly kind: 'snapshot-offer'
  readonly rangeId: RangeId
  readonly from: ReplicaId
  readonly to: ReplicaId
  /** What the range has as the offer leaves. */
  readonly span: Span
}

/** What is in it is the state's affair. */
export interface SnapshotChunk extends OfStream {
  readonly kind: 'snapshot-chunk'
  readonly chunk: Uint8Array
}

export interface SnapshotCancelled extends OfStream {
  readonly kind: 'snapshot-cancelled'
}

export interface SnapshotCredit extends OfStream {
  readonly kind: 'snapshot-credit'
  /** So many chunks more. */
  readonly chunks: number
}

/**
 * `installed`: it is durable. `unwanted`: the receiver has more already, or does not know why it should have it. `failed`:
 * something was wrong with it, or with the receiver.
 */
export interface SnapshotEnded extends OfStream {
  readonly kind: 'snapshot-ended'
  readonly outcome: SnapshotOutcome
}

export type SnapshotOutcome = 'installed' | 'unwanted' | 'failed'
