import { Buffer } from 'node:buffer'
import type { Item, Parcel, Pipe, VirtualHost } from './virtual-network.js'

/**
 * One end of a connection. Bytes are copied when they are sent; that the sender changes them afterwards is a defect,
 * and found. After `onClose` or {@link VirtualSocket.close} nothing is called any more.
 */
export class VirtualSocket {
  readonly #host: VirtualHost
  readonly #outward: Pipe
  #state: 'open' | 'closed' | 'forgotten' = 'open'
  isConnected = false
  onConnected: () => void = () => {}
  onParcel: (parcel: Parcel) => void = () => {}
  /** `refused`: nobody listens there. */
  onClose: (why: 'refused' | 'closed') => void = () => {}

  constructor(host: VirtualHost, outward: Pipe) {
    this.#host = host
    this.#outward = outward
    host.sockets.add(this)
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** Sent and not yet arrived. */
  get queuedBytes(): number {
    return this.#outward.bytes
  }

  send(parcel: Parcel): void {
    if (!this.isOpen) return
    const isBytes = parcel instanceof Uint8Array
    const copy = isBytes ? Buffer.from(parcel) : parcel
    this.#outward.push({ kind: 'parcel', parcel: copy, sent: isBytes ? parcel : undefined })
  }

  /** Ends the connection behind what was sent; nothing further is received. */
  close(): void {
    if (!this.#leave('closed')) return
    this.#outward.push({ kind: 'close' })
  }

  /** Ends the connection at once; chance decides whether what is under way is lost. */
  terminate(): void {
    if (!this.#leave('closed')) return
    if (this.#host.network.flip()) this.#outward.clear()
    this.#outward.push({ kind: 'close' })
  }

  /** The process is no more. In silence the other side finds out only when it sends something and the host is back. */
  abandon(how: 'reset' | 'silence'): void {
    if (how === 'reset') this.terminate()
    else if (this.#leave('forgotten')) this.#outward.clear()
  }

  onArrival(item: Item): void {
    if (this.#state !== 'open') {
      if (this.#state === 'forgotten' && item.kind === 'parcel' && this.#host.isPowered) {
        this.#state = 'closed'
        this.#outward.push({ kind: 'close' })
      }
      return
    }
    switch (item.kind) {
      case 'accepted':
        this.isConnected = true
        this.onConnected()
        break
      case 'parcel':
        this.onParcel(item.parcel)
        break
      case 'refused':
      case 'close': {
        this.#leave('closed')
        this.onClose(item.kind === 'refused' ? 'refused' : 'closed')
      }
    }
  }

  #leave(state: 'closed' | 'forgotten'): boolean {
    if (this.#state !== 'open') return false
    this.#state = state
    this.#host.sockets.delete(this)
    return true
  }
}
