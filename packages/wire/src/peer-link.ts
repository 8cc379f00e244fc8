import {
  ByteWriter,
  CordilleraError,
  type ErrorCode,
  errorKinds,
  type Incarnation,
  type NodeId,
} from '@cordillera/base'
import { AskKind, LinkKind } from './protocol.js'
import type { RangeReply } from './range-call.js'

/**
 * One peer: the frame under construction, what was asked of it and is not yet answered, and whether it answers.
 *
 * *Connected* means that frames can be sent; *up*, that a ping was echoed on this connection lately, so that the link
 * works both ways. Whatever waits for an answer is told once when the connection ends.
 */
export type OnReply = (reply: RangeReply | undefined) => void

interface Ask {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: CordilleraError) => void
}

/** Pings without an echo after which a link counts as broken. */
const UNANSWERED_PINGS_MAX = 4

export class PeerLink {
  readonly nodeId: NodeId
  /** Of the frame that leaves next. */
  readonly writer = new ByteWriter(64 << 10)
  /** The frame is in the list of those that leave at the end of the turn. */
  isQueued = false
  incarnation: Incarnation = 0
  state: 'down' | 'connected' | 'up' = 'down'
  /** Counts connections: an answer belongs to the connection that its question came on. */
  connection = 0
  readonly #calls = new Map<number, OnReply>()
  readonly #asks = new Map<number, Ask>()
  #nextId = 1
  #unansweredPings = 0

  constructor(nodeId: NodeId) {
    this.nodeId = nodeId
  }

  get callsWaiting(): number {
    return this.#calls.size
  }

  get asksWaiting(): number {
    return this.#asks.size
  }

  onConnected(incarnation: Incarnation): void {
    this.incarnation = incarnation
    this.state = 'connected'
    this.connection++
    this.#unansweredPings = 0
    this.writer.clear()
    this.ping()
  }

  /** Everything that waits for an answer is told that there is none. */
  onDisconnected(): void {
    this.state = 'down'
    this.writer.clear()
    const calls = [...this.#calls.values()]
    const asks = [...this.#asks.values()]
    this.#calls.clear()
    this.#asks.clear()
    for (const onReply of calls) onReply(undefined)
    for (const ask of asks)
      ask.reject(new CordilleraError('UNAVAILABLE', { detail: `the link to node ${this.nodeId} is down` }))
  }

  /** Returns false when too many pings went unanswered. */
  ping(): boolean {
    if (this.#unansweredPings >= UNANSWERED_PINGS_MAX) return false
    this.#unansweredPings++
    this.writer.u8(LinkKind.ping)
    return true
  }

  onPong(): void {
    this.#unansweredPings = 0
  }

  addCall(onReply: OnReply): number {
    const id = this.#nextId++
    this.#calls.set(id, onReply)
    return id
  }

  onReply(callId: number, reply: RangeReply): void {
    const onReply = this.#calls.get(callId)
    if (onReply === undefined) return
    this.#calls.delete(callId)
    onReply(reply)
  }

  addAsk(ask: Ask, method: string, body: Uint8Array): number {
    const id = this.#nextId++
    this.#asks.set(id, ask)
    this.writer.u8(AskKind.question).varint(id).text(method).bytes(body)
    return id
  }

  onAnswer(askId: number, value: unknown): void {
    this.takeAsk(askId)?.resolve(value)
  }

  onFailure(askId: number, code: string, detail: string): void {
    const known = Object.hasOwn(errorKinds, code) ? (code as ErrorCode) : 'INTERNAL'
    this.takeAsk(askId)?.reject(new CordilleraError(known, { detail }))
  }

  takeAsk(askId: number): Ask | undefined {
    const ask = this.#asks.get(askId)
    this.#asks.delete(askId)
    return ask
  }
}
