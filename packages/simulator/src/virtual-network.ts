import { Buffer } from 'node:buffer'
import { assert, type Clock, type Random } from '@cordillera/base'
import type { Trace } from './trace.js'
import { VirtualSocket } from './virtual-socket.js'

/**
 * Hosts with one address each, and connections between them that behave as TCP does: in order, each message once or
 * not at all, held up (not lost) while the way is blocked, cut by resets, refused where nobody listens, and silent
 * where the power is gone. Every delay comes from the seed.
 */
export interface VirtualNetworkOptions {
  readonly clock: Clock
  readonly random: Random
  readonly trace: Trace
  readonly delays?: Delays
}

export interface Delays {
  /** A message takes between `minMs` and `maxMs`, uniformly, … */
  readonly minMs: number
  readonly maxMs: number
  /** … and one of so many takes `rareMs` longer. */
  readonly rareEvery: number
  readonly rareMs: number
}

export const defaultDelays: Delays = { minMs: 0.1, maxMs: 1, rareEvery: 200, rareMs: 15 }

/** What travels: bytes, or a value that nobody changes. */
export type Parcel = Uint8Array | object

/** Takes connections; called on a turn of its own. */
export type Accept = (socket: VirtualSocket) => void

interface Way {
  blocked: boolean
  extraMs: number
}

export class VirtualNetwork {
  readonly clock: Clock
  readonly #random: Random
  readonly #trace: Trace
  readonly #delays: Delays
  readonly #hosts = new Map<string, VirtualHost>()
  readonly #ways = new Map<string, Way>()
  readonly #pipes = new Set<Pipe>()
  delivered = 0

  constructor(options: VirtualNetworkOptions) {
    this.clock = options.clock
    this.#random = options.random
    this.#trace = options.trace
    this.#delays = options.delays ?? defaultDelays
  }

  /** The host at the address, which exists from now on. */
  host(address: string): VirtualHost {
    let host = this.#hosts.get(address)
    if (host === undefined) {
      host = new VirtualHost(this, address)
      this.#hosts.set(address, host)
    }
    return host
  }

  // --- faults ---

  /** One way only: nothing sent from one reaches the other until {@link unblock}. */
  block(from: string, to: string): void {
    this.#way(from, to).blocked = true
  }

  unblock(from: string, to: string): void {
    this.#way(from, to).blocked = false
    this.resume()
  }

  /** Goes on with whatever is not held up any more. */
  resume(): void {
    for (const pipe of this.#pipes) pipe.resume()
  }

  /** From now on everything sent this way takes so much longer. */
  slow(from: string, to: string, extraMs: number): void {
    this.#way(from, to).extraMs = extraMs
  }

  /** Cuts every connection between the two; what is under way is lost, and both sides are told. */
  reset(a: string, b: string): void {
    for (const pipe of [...this.#pipes]) {
      const { from, to } = pipe
      if ((from === a && to === b) || (from === b && to === a)) pipe.cut()
    }
  }

  heal(): void {
    this.#ways.clear()
    this.resume()
  }

  // --- for sockets ---

  isBlocked(from: string, to: string): boolean {
    return (this.#ways.get(`${from}>${to}`)?.blocked ?? false) || this.#hosts.get(to)?.isPaused === true
  }

  delayMs(from: string, to: string): number {
    const { minMs, maxMs, rareEvery, rareMs } = this.#delays
    const jitterMs = (this.#random.below(4096) / 4096) * (maxMs - minMs)
    const rare = this.#random.below(rareEvery) === 0 ? rareMs : 0
    return minMs + jitterMs + rare + (this.#ways.get(`${from}>${to}`)?.extraMs ?? 0)
  }

  flip(): boolean {
    return this.#random.below(2) === 0
  }

  pipe(from: string, to: string): Pipe {
    const pipe = new Pipe(this, from, to)
    this.#pipes.add(pipe)
    return pipe
  }

  forget(pipe: Pipe): void {
    this.#pipes.delete(pipe)
  }

  note(from: string, to: string, what: string, parcel?: Parcel): void {
    this.delivered++
    this.#trace.noteText(`${this.clock.now()} ${from}>${to} ${what}`)
    if (parcel instanceof Uint8Array) this.#trace.noteBytes(parcel)
  }

  #way(from: string, to: string): Way {
    const name = `${from}>${to}`
    let way = this.#ways.get(name)
    if (way === undefined) {
      way = { blocked: false, extraMs: 0 }
      this.#ways.set(name, way)
    }
    return way
  }
}

/** One machine: an address, at most one listener, and the ends of connections of the process that runs on it. */
export class VirtualHost {
  readonly network: VirtualNetwork
  readonly address: string
  readonly sockets = new Set<VirtualSocket>()
  isPowered = true
  #isPaused = false
  #accept: Accept | undefined

  constructor(network: VirtualNetwork, address: string) {
    this.network = network
    this.address = address
  }

  /** Nothing that arrives is looked at until {@link resume}. */
  get isPaused(): boolean {
    return this.#isPaused
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.network.resume()
  }

  get accept(): Accept | undefined {
    return this.#accept
  }

  /** Returns what stops listening. */
  listen(accept: Accept): () => void {
    assert(this.#accept === undefined, 'an address has one listener')
    this.#accept = accept
    return () => {
      if (this.#accept === accept) this.#accept = undefined
    }
  }

  dial(address: string): VirtualSocket {
    const there = this.network.pipe(this.address, address)
    const back = this.network.pipe(address, this.address)
    const socket = new VirtualSocket(this, there)
    back.onArrival = (item) => socket.onArrival(item)
    there.onArrival = (item) => {
      if (item.kind === 'dial') this.network.host(address).onDial(there, back)
    }
    there.push({ kind: 'dial' })
    return socket
  }

  /** The process ends; the system closes its connections, which may overtake what is still under way. */
  killProcess(): void {
    this.#accept = undefined
    for (const socket of [...this.sockets]) socket.abandon('reset')
  }

  /** The machine ends: nobody is told anything, and nothing answers until {@link powerOn}. */
  powerOff(): void {
    this.#accept = undefined
    this.isPowered = false
    for (const socket of [...this.sockets]) socket.abandon('silence')
  }

  powerOn(): void {
    this.isPowered = true
  }

  /** Somebody's dial has arrived. */
  onDial(inward: Pipe, outward: Pipe): void {
    if (!this.isPowered) return
    if (this.#accept === undefined) {
      outward.push({ kind: 'refused' })
      return
    }
    const socket = new VirtualSocket(this, outward)
    inward.onArrival = (item) => socket.onArrival(item)
    socket.isConnected = true
    outward.push({ kind: 'accepted' })
    this.#accept(socket)
  }
}

export type Item =
  | { readonly kind: 'dial' | 'accepted' | 'refused' | 'close' }
  | { readonly kind: 'parcel'; readonly parcel: Parcel; readonly sent: Uint8Array | undefined }

/** One direction of one connection. */
export class Pipe {
  readonly from: string
  readonly to: string
  onArrival: (item: Item) => void = () => {}
  readonly #network: VirtualNetwork
  #queue: { readonly item: Item; readonly atMs: number }[] = []
  #isScheduled = false
  #lastAtMs = 0
  /** Parcels under way. */
  bytes = 0

  constructor(network: VirtualNetwork, from: string, to: string) {
    this.#network = network
    this.from = from
    this.to = to
  }

  push(item: Item): void {
    this.#lastAtMs = Math.max(this.#lastAtMs, this.#network.clock.now() + this.#network.delayMs(this.from, this.to))
    this.#queue.push({ item, atMs: this.#lastAtMs })
    if (item.kind === 'parcel') this.bytes += sizeOf(item.parcel)
    this.resume()
  }

  /** What is under way is lost. */
  clear(): void {
    this.#queue = []
    this.#lastAtMs = 0
    this.bytes = 0
  }

  cut(): void {
    this.clear()
    this.push({ kind: 'close' })
  }

  resume(): void {
    const first = this.#queue[0]
    if (first === undefined || this.#isScheduled || this.#network.isBlocked(this.from, this.to)) return
    this.#isScheduled = true
    const clock = this.#network.clock
    clock.after(first.atMs - clock.now(), () => {
      this.#isScheduled = false
      this.#deliver()
    })
  }

  #deliver(): void {
    const first = this.#queue[0]
    if (first === undefined || this.#network.isBlocked(this.from, this.to)) return
    if (first.atMs <= this.#network.clock.now()) {
      this.#queue.shift()
      const { item } = first
      if (item.kind === 'parcel') {
        this.bytes -= sizeOf(item.parcel)
        const { sent, parcel } = item
        assert(
          sent === undefined || Buffer.compare(sent, parcel as Uint8Array) === 0,
          'a frame given away is not changed',
        )
      }
      this.#network.note(this.from, this.to, item.kind, item.kind === 'parcel' ? item.parcel : undefined)
      this.onArrival(item)
      if (item.kind === 'close') this.#network.forget(this)
    }
    this.resume()
  }
}

function sizeOf(parcel: Parcel): number {
  return parcel instanceof Uint8Array ? parcel.length : 0
}
