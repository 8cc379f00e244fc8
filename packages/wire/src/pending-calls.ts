import { NONE } from '@cordillera/base'
import type { RangeReply, RangeRequest } from './range-call.js'
import { type ReplyShape, replyShape } from './range-reply-codec.js'
import { requestBytes } from './range-request-codec.js'

export type OnReply = (reply: RangeReply | undefined) => void

interface PendingCall {
  readonly onReply: OnReply
  readonly bytes: number
  readonly shape: ReplyShape
}

/**
 * Range requests of one connection that wait for their replies, bounded in number and in bytes of the requests.
 *
 * Every call that was added is settled exactly once: by its reply, or by {@link takeAll} when the connection is gone.
 * Ids count up from 1 and are never used again on the connection.
 */
export class PendingCalls {
  readonly #countMax: number
  readonly #bytesMax: number
  readonly #calls = new Map<number, PendingCall>()
  #bytes = 0
  #lastId = NONE

  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax
    this.#bytesMax = bytesMax
  }

  get size(): number {
    return this.#calls.size
  }

  /** The call's id; undefined, with nothing added, when a bound is reached. One request may exceed the bytes alone. */
  tryAdd(request: RangeRequest, onReply: OnReply): number | undefined {
    const bytes = requestBytes(request)
    if (this.#calls.size >= this.#countMax) return undefined
    if (this.#bytes + bytes > this.#bytesMax && this.#calls.size > 0) return undefined
    const id = ++this.#lastId
    this.#calls.set(id, { onReply, bytes, shape: replyShape(request) })
    this.#bytes += bytes
    return id
  }

  shapeOf(id: number): ReplyShape | undefined {
    return this.#calls.get(id)?.shape
  }

  /** Removes the call; undefined when nobody waits for it (any more). */
  tryTake(id: number): OnReply | undefined {
    const call = this.#calls.get(id)
    if (call === undefined) return undefined
    this.#calls.delete(id)
    this.#bytes -= call.bytes
    return call.onReply
  }

  /** Removes every call and hands them out, oldest first. */
  takeAll(): OnReply[] {
    const all = Array.from(this.#calls.values(), ({ onReply }) => onReply)
    this.#calls.clear()
    this.#bytes = 0
    return all
  }
}
