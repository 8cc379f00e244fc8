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
 * buffer of its own), so receivers may keep views of it. A text message counts as garbage: the socket is ended. Until
 * {@link trust} no more than `strangerBytesMax` are taken, in all, so that a declared length reserves nothing.
 */
export class MessageSocket {
  readonly #ws: WebSocket
  readonly #tcp: Socket
  readonly #onData: (chunk: Buffer) => void
  #events: SocketEvents | undefined
  #error: Error | undefined
  #strangerBytes = 0

  constructor(ws: WebSocket, tcp: Socket, strangerBytesMax: number) {
    this.#ws = ws
    this.#tcp = tcp
    this.#onData = (chunk) => {
      this.#strangerBytes += chunk.length
      if (this.#strangerBytes > strangerBytesMax) this.#fail('more bytes than a stranger may send')
    }
    tcp.on('data', this.#onData)
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

  /** The other end has proved who it is: the bound on bytes is lifted. */
  trust(): void {
    this.#tcp.off('data', this.#onData)
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
