import type { RangeId } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import { OutgoingFrames } from '../outgoing-frames.js'
import type { RangeReply, RangeRequest } from '../range-call.js'
import type { ReplyShape } from '../range-reply-codec.js'
import { type RecordSink, readFrame } from '../read-frame.js'
import type { SnapshotMessage } from '../snapshot-message.js'

/** Every record that arrived, in order, as plain data. */
export class RecordedSink implements RecordSink {
  isDeaf = false
  readonly records: unknown[] = []
  readonly shapes = new Map<number, ReplyShape>()

  durableBatch = 0

  onDurable(batch: number): void {
    this.durableBatch = batch
  }
  onLife(recoveredBatch: number, nonce: number): void {
    this.records.push({ recoveredBatch, nonce })
  }
  onOutdated(detail: string): void {
    this.records.push({ outdated: detail })
  }
  onPing(sequence: number): void {
    this.records.push({ ping: sequence })
  }
  onPong(sequence: number): void {
    this.records.push({ pong: sequence })
  }
  onRaft(rangeId: RangeId, message: Message): void {
    this.records.push({ rangeId, message })
  }
  onRequest(callId: number, request: RangeRequest): void {
    this.records.push({ callId, request })
  }
  shapeOf(callId: number): ReplyShape | undefined {
    return this.shapes.get(callId)
  }
  onReply(callId: number, reply: RangeReply): void {
    this.records.push({ callId, reply })
  }
  onAsk(callId: number, method: string, body: Uint8Array): void {
    this.records.push({ callId, method, body: Buffer.from(body) })
  }
  onAnswer(callId: number, body: Uint8Array): void {
    this.records.push({ callId, body: Buffer.from(body) })
  }
  onAskFailed(callId: number, error: Error): void {
    this.records.push({ callId, error })
  }
  onSnapshot(message: SnapshotMessage): void {
    this.records.push(message.kind === 'snapshot-chunk' ? { ...message, chunk: Buffer.from(message.chunk) } : message)
  }
}

/** The frames that `write` fills. */
export function framesOf(write: (frames: OutgoingFrames) => void, durableBatch = 0): Uint8Array[] {
  const sent: Uint8Array[] = []
  const frames = new OutgoingFrames(
    (frame) => {
      sent.push(frame)
      return true
    },
    () => durableBatch,
  )
  write(frames)
  frames.flush()
  return sent
}

export function recordsOf(frames: readonly Uint8Array[], sink = new RecordedSink()): unknown[] {
  for (const frame of frames) readFrame(frame, sink)
  return sink.records
}
