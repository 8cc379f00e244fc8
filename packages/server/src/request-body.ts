import { Buffer } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { CordilleraError, NO_BYTES } from '@cordillera/base'

/**
 * Collects the bodies of requests, within a limit each and a budget for all of them together.
 *
 * A body counts only when it is whole: one that stops half-way is never handed on. One that is too large is refused
 * before it arrives when its length is declared, and at the first byte too many otherwise; what follows is read and
 * dropped, so that the client sees the answer instead of a reset connection, up to a bound.
 */
export class RequestBodies {
  readonly #bodyBytesMax: number
  readonly #pendingBytesMax: number
  #pendingBytes = 0

  constructor(limits: { readonly bodyBytesMax: number; readonly pendingBytesMax: number }) {
    this.#bodyBytesMax = limits.bodyBytesMax
    this.#pendingBytesMax = limits.pendingBytesMax
  }

  /** Bytes of bodies that are not yet whole. */
  get pendingBytes(): number {
    return this.#pendingBytes
  }

  /** The refusal that the declared length alone deserves. */
  tooLarge(req: IncomingMessage): CordilleraError | undefined {
    const declared = req.headers['content-length']
    return declared !== undefined && Number(declared) > this.#bodyBytesMax ? this.#refusal() : undefined
  }

  /**
   * Reads the body. `done` runs once when it is whole, or with the refusal when it is too large; never when the client
   * goes away before that. The bytes are the caller's.
   */
  collect(req: IncomingMessage, done: (error: CordilleraError | undefined, body: Uint8Array) => void): void {
    let chunks: Buffer[] | undefined
    let length = 0
    const release = (): void => {
      this.#pendingBytes -= length
      chunks = undefined
    }
    const onData = (chunk: Buffer): void => {
      const error = this.#admit(length, chunk.length)
      if (error === undefined) {
        length += chunk.length
        if (chunks === undefined) chunks = [chunk]
        else chunks.push(chunk)
        return
      }
      stop()
      discardBody(req)
      done(error, NO_BYTES)
    }
    const onEnd = (): void => {
      const body = chunks === undefined ? NO_BYTES : chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, length)
      stop()
      done(undefined, body)
    }
    const stop = (): void => {
      release()
      req.off('data', onData).off('end', onEnd).off('close', stop)
    }
    req.on('data', onData).on('end', onEnd).on('close', stop).on('error', ignore)
  }

  #admit(before: number, more: number): CordilleraError | undefined {
    if (before + more > this.#bodyBytesMax) return this.#refusal()
    if (this.#pendingBytes + more > this.#pendingBytesMax) {
      return new CordilleraError('OVERLOADED', { detail: 'too many request bodies are being received at once' })
    }
    this.#pendingBytes += more
    return undefined
  }

  #refusal(): CordilleraError {
    return new CordilleraError('VALUE_TOO_LARGE', { detail: `a value has at most ${this.#bodyBytesMax} bytes` })
  }
}

/** Whether a body follows the head of this request. */
export function announcesBody(req: IncomingMessage): boolean {
  const length = req.headers['content-length']
  return req.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

/** Reads and drops the rest of a body. A client that sends on and on is cut off. */
export function discardBody(req: IncomingMessage): void {
  let left = DISCARDED_BYTES_MAX
  req.on('error', ignore).on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) req.socket.destroy()
  })
}

const DISCARDED_BYTES_MAX = 64 << 20

function ignore(): void {}
