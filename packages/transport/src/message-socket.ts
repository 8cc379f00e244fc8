import type { Buffer } from 'node:buffer'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'

/** What ends a socket, as far as this side knows. */
export interface SocketEvents {
  onMessage(message: Buffer): void
  /** Called once, last: the connection is gone. `error` when it did not end in order. */
  onClose(error: Error | undefined): void
}

/**
 * A WebSocket that carries whole binary messages, with a bound on what strangers may send.
 *
 * Memory of received messages is never used again by anyone else (it is a view of what the kernel delivered, or a
 * buffer of its own), so receivers may keep views of it. A text message counts as garbage: the socket is ended. No more
 * bytes are taken, in all, than {@link allow} has allowed, so that a stranger's large message is never gathered.
 */
export class MessageSocket {
  readonly #ws: WebSocket
  readonly #tcp: Socket
  #events: SocketEvents | undefined
  #error: Error | undefined
  #allowedBytes: number

  constructor(ws: WebSocket, tcp: Socket, bytesMax: number) {
    this.#ws = ws
    this.#tcp = tcp
    this.#allowedBytes = bytesMax
    const onData = (chunk: Buffer): void => {
      this.#allowedBytes -= chunk.length
      if (this.#allowedBytes < 0) this.#fail('more bytes than a stranger may send')
      else if (this.#allowedBytes === Number.POSITIVE_INFINITY) tcp.off('data', onData)
    }
    tcp.on('data', onData)
    ws.on('message', (data, isBinary) => {
      if (isBinary) this.#events?.onMessage(data as Buffer)
      else this.#fail('a text message')
    })
    ws.on('error', (error) => {
      this.#error ??= error
      ws.terminate()
    })
    ws.on('close', () => {
      const events = this.#events
      this.#events = undefined
      events?.onClose(this.#error)
    })
  }

  /** For people: where the other end is. */
  get remote(): string {
    return `${this.#tcp.remoteAddress ?? 'unknown'}:${this.#tcp.remotePort ?? 0}`
  }

  /** Replaces who is told. Nobody is told any more after `undefined`. */
  listen(events: SocketEvents | undefined): void {
    this.#events = events
  }

  /** So many bytes more may come; `Infinity` lifts the bound, once the other end has proved who it is. */
  allow(bytes: number): void {
    this.#allowedBytes = bytes
  }

  get isOpen(): boolean {
    return this.#ws.readyState === this.#ws.OPEN
  }

  /** Bytes that were sent and are not yet taken by the kernel. */
  get queuedBytes(): number {
    return this.#ws.bufferedAmount
  }

  /** Without effect when the socket is not open. `message` must not change any more. */
  send(message: Uint8Array): void {
    if (this.isOpen) this.#ws.send(message, SEND_OPTIONS)
  }

  /** What was sent leaves, then the connection ends. */
  close(): void {
    this.#ws.close(1000)
  }

  /** Ends the connection now. */
  terminate(): void {
    this.#ws.terminate()
  }

  #fail(what: string): void {
    this.#error ??= new Error(what)
    this.#ws.terminate()
  }
}

const SEND_OPTIONS = { binary: true, compress: false, fin: true } as const
