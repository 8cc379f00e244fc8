import { ByteReader, type RangeId } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import { readAnswer, readAsk, readAskFailed } from './ask-codec.js'
import { malformed, readId, readMessage } from './raft-codec.js'
import type { RangeReply, RangeRequest } from './range-call.js'
import { type ReplyShape, readReply, readReplyHead } from './range-reply-codec.js'
import { readRequest } from './range-request-codec.js'
import { FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FRAME_ROOM_BYTES, RecordKind } from './record.js'
import { readSnapshotMessage } from './snapshot-codec.js'
import type { SnapshotMessage } from './snapshot-message.js'

/** Who the records of a frame are for. Its methods throw `CORRUPT` alone: handlers behind it are its own affair. */
export interface RecordSink {
  /** True: the rest of the frame is not wanted. */
  readonly isDeaf: boolean
  /** Comes first: through which batch of its log the sender was durable when the frame left. */
  onDurable(batch: number): void
  /** One start of the sender: what it found of its log, and a number that no other start has. */
  onLife(recoveredBatch: number, nonce: number): void
  /** The sender knows of a later state of this node than it has. */
  onOutdated(detail: string): void
  onPing(sequence: number): void
  onPong(sequence: number): void
  onRaft(rangeId: RangeId, message: Message): void
  onRequest(callId: number, request: RangeRequest): void
  /** What the reply to this call must fit; undefined when nobody waits for it. */
  shapeOf(callId: number): ReplyShape | undefined
  onReply(callId: number, reply: RangeReply): void
  onAsk(callId: number, method: string, body: Uint8Array): void
  onAnswer(callId: number, body: Uint8Array): void
  onAskFailed(callId: number, error: Error): void
  onSnapshot(message: SnapshotMessage): void
}

/**
 * Decodes a frame record by record and hands each on before the next is looked at, in order. Throws `CORRUPT` at the
 * first malformed record; those before it have been handed on by then.
 */
export function readFrame(frame: Uint8Array, sink: RecordSink): void {
  if (frame.length < FRAME_HEAD_BYTES || frame.length > FRAME_BYTES_MAX) throw malformed('a frame of this length')
  const reader = new ByteReader(frame, FRAME_HEAD_BYTES)
  if (!sink.isDeaf) sink.onDurable(durableBatchOf(frame))
  while (reader.remaining > 0 && !sink.isDeaf) {
    const kind = reader.u8()
    if (kind >= RecordKind.voteRequest && kind <= RecordKind.snapshotRequest) {
      const rangeId = readId(reader)
      const message = readMessage(reader, kind)
      if (message === undefined) throw malformed('a record of an unknown kind')
      sink.onRaft(rangeId, message)
    } else if (kind >= RecordKind.write && kind <= RecordKind.outcome) {
      const callId = readId(reader)
      sink.onRequest(callId, readRequest(reader, kind))
    } else if (kind >= RecordKind.written && kind <= RecordKind.decided) {
      readReplyRecord(reader, kind, sink)
    } else if (kind >= RecordKind.snapshotOffer && kind <= RecordKind.snapshotEnded) {
      sink.onSnapshot(readSnapshotMessage(reader, kind))
    } else {
      readOther(reader, kind, sink)
    }
  }
}

function durableBatchOf(frame: Uint8Array): number {
  let batch = 0
  for (let i = FRAME_ROOM_BYTES; i < FRAME_HEAD_BYTES; i++) batch = batch * 256 + frame[i]!
  return batch
}

function readReplyRecord(reader: ByteReader, kind: number, sink: RecordSink): void {
  const head = readReplyHead(reader)
  const shape = sink.shapeOf(head.callId)
  if (shape === undefined) {
    reader.raw(head.bodyLength)
    return
  }
  const reply = readReply(reader, kind, head, shape)
  if (reply !== undefined) sink.onReply(head.callId, reply)
}

function readOther(reader: ByteReader, kind: number, sink: RecordSink): void {
  const id = reader.varint()
  switch (kind) {
    case RecordKind.ping:
      sink.onPing(id)
      break
    case RecordKind.pong:
      sink.onPong(id)
      break
    case RecordKind.life:
      sink.onLife(id, reader.varint())
      break
    case RecordKind.outdated:
      sink.onOutdated(reader.text(OUTDATED_DETAIL_BYTES_MAX))
      break
    case RecordKind.ask: {
      const { method, body } = readAsk(reader)
      sink.onAsk(id, method, body)
      break
    }
    case RecordKind.answer:
      sink.onAnswer(id, readAnswer(reader))
      break
    case RecordKind.askFailed:
      sink.onAskFailed(id, readAskFailed(reader))
      break
    default:
      throw malformed('a record of an unknown kind')
  }
}

const OUTDATED_DETAIL_BYTES_MAX = 1024
