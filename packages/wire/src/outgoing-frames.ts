import { Buffer } from 'node:buffer'
import { assert, ByteWriter } from '@cordillera/base'
import type { RecordTarget } from './range-reply-codec.js'
import { FRAME_BYTES_LEAVE, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FRAME_ROOM_BYTES } from './record.js'

/** A writer that grew beyond this for one large record is not kept. */
const WRITER_BYTES_MAX = 1024 * 1024

/**
 * What waits to leave for one peer: the frame under construction, and frames that the transport's queue had no room for.
 *
 * Records leave in the order in which they were written; none is lost unless the connection is. While the transport is
 * full ({@link isBlocked}) whoever can do without should not write more; `waitingBytes` is for the bounds of the others.
 */
export class OutgoingFrames implements RecordTarget {
  readonly #send: (frame: Uint8Array) => boolean
  readonly #durableBatch: () => number
  #writer = newWriter()
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  framesSent = 0
  bytesSent = 0

  /**
   * `send` hands a frame to the transport for good; false: it has no room. `durableBatch` is asked when a frame is
   * complete: whatever its records say is durable lies in that batch of the log or before it.
   */
  constructor(send: (frame: Uint8Array) => boolean, durableBatch: () => number) {
    this.#send = send
    this.#durableBatch = durableBatch
  }

  /** The frame under construction; write whole records to it, each followed by {@link endRecord}. */
  get out(): ByteWriter {
    return this.#writer
  }

  get isEmpty(): boolean {
    return this.#writer.length === FRAME_HEAD_BYTES
  }

  get isBlocked(): boolean {
    return this.#waiting.length > 0
  }

  /** Bytes that the transport had no room for, and of the frame under construction. */
  get waitingBytes(): number {
    return this.#waitingBytes + this.#writer.length
  }

  endRecord(): void {
    if (this.#writer.length >= FRAME_BYTES_LEAVE) this.flush()
  }

  /** The frame under construction leaves, behind those that wait. */
  flush(): void {
    if (this.isEmpty) return
    const frame = this.#takeFrame()
    if (!this.isBlocked && this.#trySend(frame)) return
    this.#waiting.push(frame)
    this.#waitingBytes += frame.length
  }

  /** Offers the waiting frames to the transport again. */
  retry(): void {
    let sent = 0
    while (sent < this.#waiting.length && this.#trySend(this.#waiting[sent]!)) {
      this.#waitingBytes -= this.#waiting[sent]!.length
      sent++
    }
    if (sent > 0) this.#waiting = this.#waiting.slice(sent)
  }

  /** Forgets everything. */
  clear(): void {
    this.#waiting = []
    this.#waitingBytes = 0
    this.#writer = newWriter()
  }

  #trySend(frame: Uint8Array): boolean {
    if (!this.#send(frame)) return false
    this.framesSent++
    this.bytesSent += frame.length
    return true
  }

  /** The writer's bytes in a buffer of their own, which the transport will own. */
  #takeFrame(): Uint8Array {
    const { length } = this.#writer
    assert(length <= FRAME_BYTES_MAX, 'a frame is within its limit')
    const frame = Buffer.allocUnsafe(length)
    this.#writer.view().copy(frame)
    frame.writeUIntBE(this.#durableBatch(), FRAME_ROOM_BYTES, FRAME_HEAD_BYTES - FRAME_ROOM_BYTES)
    if (length > WRITER_BYTES_MAX) this.#writer = newWriter()
    else {
      this.#writer.clear()
      this.#writer.raw(EMPTY_HEAD)
    }
    return frame
  }
}

function newWriter(): ByteWriter {
  return new ByteWriter(16 * 1024).raw(EMPTY_HEAD)
}

const EMPTY_HEAD = new Uint8Array(FRAME_HEAD_BYTES)
