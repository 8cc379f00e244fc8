import { assert, assertNever, type ByteReader, type ByteWriter } from '@cordillera/base'
import { PREFIXED_KEY_BYTES_MAX, type Span } from '@cordillera/ranges'
import { malformed, readFlags, readId } from './raft-codec.js'
import { RECORD_BYTES_MAX, RecordKind } from './record.js'
import type { SnapshotMessage, SnapshotOutcome } from './snapshot-message.js'

/**
 * The layouts of what snapshots travel by: `u8 kind, streamId`, then for an offer `rangeId, from, to, key start, u8
 * bounded, [key end]`, for a chunk `bytes`,
 * for a credit `chunks`, for an end `u8 outcome`. A decoded chunk is a view of the frame.
 */
const OUTCOMES: readonly SnapshotOutcome[] = ['installed', 'unwanted', 'failed']

/** Appends one record. Copies. */
export function writeSnapshotMessage(out: ByteWriter, message: SnapshotMessage): void {
  switch (message.kind) {
    case 'snapshot-offer':
      out.u8(RecordKind.snapshotOffer).varint(message.streamId)
      out.varint(message.rangeId).varint(message.from).varint(message.to)
      writeSpan(out, message.span)
      break
    case 'snapshot-chunk':
      assert(message.chunk.length <= RECORD_BYTES_MAX, 'a chunk fits in a frame')
      out.u8(RecordKind.snapshotChunk).varint(message.streamId).bytes(message.chunk)
      break
    case 'snapshot-cancelled':
      out.u8(RecordKind.snapshotCancelled).varint(message.streamId)
      break
    case 'snapshot-credit':
      out.u8(RecordKind.snapshotCredit).varint(message.streamId).varint(message.chunks)
      break
    case 'snapshot-ended':
      out.u8(RecordKind.snapshotEnded).varint(message.streamId).u8(OUTCOMES.indexOf(message.outcome))
      break
    default:
      assertNever(message)
  }
}

/** Reads a record behind its kind. Throws `CORRUPT`. */
export function readSnapshotMessage(reader: ByteReader, kind: number): SnapshotMessage {
  const streamId = readId(reader)
  switch (kind) {
    case RecordKind.snapshotOffer: {
      const rangeId = readId(reader)
      const from = readId(reader)
      return { kind: 'snapshot-offer', streamId, rangeId, from, to: readId(reader), span: readSpan(reader) }
    }
    case RecordKind.snapshotChunk:
      return { kind: 'snapshot-chunk', streamId, chunk: reader.bytes(RECORD_BYTES_MAX) }
    case RecordKind.snapshotCancelled:
      return { kind: 'snapshot-cancelled', streamId }
    case RecordKind.snapshotCredit:
      return { kind: 'snapshot-credit', streamId, chunks: reader.varint() }
    default: {
      const outcome = OUTCOMES[reader.u8()]
      if (outcome === undefined) throw malformed('an unknown outcome of a snapshot')
      return { kind: 'snapshot-ended', streamId, outcome }
    }
  }
}

function writeSpan(out: ByteWriter, { start, end }: Span): void {
  out.key(start)
  if (end === null) out.u8(0)
  else out.u8(1).key(end)
}

function readSpan(reader: ByteReader): Span {
  const start = reader.key(PREFIXED_KEY_BYTES_MAX)
  const bounded = readFlags(reader, 1)
  return { start, end: bounded === 0 ? null : reader.key(PREFIXED_KEY_BYTES_MAX) }
}
