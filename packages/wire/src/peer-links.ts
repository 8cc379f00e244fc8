import {
  ByteReader,
  type Clock,
  CordilleraError,
  type Incarnation,
  type Logger,
  type NodeId,
  type RangeId,
  type Timer,
} from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import { decodeReply, decodeRequest, encodeReply, encodeRequest, isReplyKind, isRequestKind } from './call-codec.js'
import { decodeOpen, encodeOpen } from './open-codec.js'
import { type OnReply, PeerLink } from './peer-link.js'
import { AskKind, LinkKind } from './protocol.js'
import { decodeRaft, encodeRaft, isRaftKind } from './raft-codec.js'
import type { RangeReply, RangeRequest } from './range-call.js'
import type { NodeIdentity, Transport } from './transport-port.js'

/**
 * Everything that this node says to others and hears from them: frames, calls and liveness over a `Transport`.
 *
 * Whatever is said to one peer in a turn of the event loop leaves as one frame at its end, or sooner when the frame is
 * full; heartbeats of all groups share it. Order per peer is kept. What is said while there is no connection is lost,
 * and `false` is returned. Malformed input ends the connection that it came on, and nothing else.
 */
export interface PeerHandlers {
  onRaft(from: NodeId, rangeId: RangeId, message: Message): void
  /** `reply` is called once; after the connection has ended it does nothing. Throws `CORRUPT` for a malformed request. */
  onRangeRequest(from: NodeId, request: RangeRequest, reply: (reply: RangeReply) => void): void
  onAsk(from: NodeId, method: string, body: unknown): Promise<unknown>
  /** The link works both ways. */
  onLinkUp(node: NodeId, incarnation: Incarnation): void
  /** Follows every `onLinkUp`. */
  onLinkDown(node: NodeId): void
  /** The node's process is gone: its host refuses connections. */
  onNodeGone(node: NodeId): void
  onGuest(body: Uint8Array): Promise<Uint8Array>
  /** A handler threw something that is not a malformed message: a defect, or a broken invariant. */
  onFatal(error: unknown): void
}

export interface PeerLinksOptions {
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  readonly handlers: PeerHandlers
}

const PING_MS = 300
/** A frame of this size leaves before the end of the turn. */
const FRAME_BYTES = 256 << 10
const CALLS_MAX = 65_536
const ASKS_MAX = 256

export class PeerLinks {
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #handlers: PeerHandlers
  readonly #links = new Map<NodeId, PeerLink>()
  #queued: PeerLink[] = []
  #isFlushDue = false
  #pingTimer: Timer | undefined
  #isClosed = false

  constructor(options: PeerLinksOptions) {
    this.#transport = options.transport
    this.#clock = options.clock
    this.#logger = options.logger
    this.#handlers = options.handlers
  }

  /** Begins to listen; only guests are served before {@link identify}. */
  async start(): Promise<void> {
    await this.#transport.start({
      onUp: (peer, incarnation) => this.#guard(peer, () => this.#onConnected(peer, incarnation)),
      onDown: (peer) => this.#guard(peer, () => this.#onDisconnected(peer)),
      onRefused: (peer) => this.#guard(peer, () => this.#handlers.onNodeGone(peer)),
      onFrame: (from, frame) => this.#guard(from, () => this.#onFrame(this.#link(from), frame)),
      onGuest: (body) => this.#handlers.onGuest(body),
    })
  }

  identify(identity: NodeIdentity): void {
    this.#transport.identify(identity)
    this.#schedulePing()
  }

  setPeers(addresses: ReadonlyMap<NodeId, string>): void {
    this.#transport.setPeers(addresses)
  }

  /** Whether the link works both ways. */
  isUp(node: NodeId): boolean {
    return this.#links.get(node)?.state === 'up'
  }

  incarnationOf(node: NodeId): Incarnation {
    return this.#links.get(node)?.incarnation ?? 0
  }

  /** False when the message is surely lost. */
  sendRaft(to: NodeId, rangeId: RangeId, message: Message): boolean {
    const link = this.#links.get(to)
    if (link === undefined || link.state === 'down') return false
    encodeRaft(link.writer, rangeId, message)
    this.#queue(link)
    return true
  }

  /**
   * True: `onReply` is called exactly once, with undefined when the connection ended first. False: the request was
   * surely not sent, and `onReply` is never called.
   */
  call(to: NodeId, request: RangeRequest, onReply: OnReply): boolean {
    const link = this.#links.get(to)
    if (link === undefined || link.state !== 'up' || link.callsWaiting >= CALLS_MAX) return false
    encodeRequest(link.writer, link.addCall(onReply), request)
    this.#queue(link)
    return true
  }

  /** Rejects with the code that the other side gave, UNAVAILABLE when there is no link or no answer in time. */
  ask(to: NodeId, method: string, body: unknown, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const link = this.#links.get(to)
      if (link === undefined || link.state !== 'up' || link.asksWaiting >= ASKS_MAX) {
        throw new CordilleraError('UNAVAILABLE', { detail: `the link to node ${to} is down or busy` })
      }
      const timer = this.#clock.after(timeoutMs, () => {
        const ask = link.takeAsk(id)
        ask?.reject(new CordilleraError('UNAVAILABLE', { detail: `node ${to} did not answer "${method}" in time` }))
      })
      const ask = {
        resolve: (value: unknown) => {
          timer.cancel()
          resolve(value)
        },
        reject: (error: CordilleraError) => {
          timer.cancel()
          reject(error)
        },
      }
      const id = link.addAsk(ask, method, encodeOpen(body))
      this.#queue(link)
    })
  }

  /** Ends every connection; whatever waits for an answer is told. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#pingTimer?.cancel()
    for (const link of this.#links.values()) if (link.state !== 'down') link.onDisconnected()
    await this.#transport.close()
  }

  // --- connections ---

  #link(node: NodeId): PeerLink {
    let link = this.#links.get(node)
    if (link === undefined) {
      link = new PeerLink(node)
      this.#links.set(node, link)
    }
    return link
  }

  #onConnected(node: NodeId, incarnation: Incarnation): void {
    const link = this.#link(node)
    link.onConnected(incarnation)
    this.#queue(link)
  }

  #onDisconnected(node: NodeId): void {
    const link = this.#link(node)
    if (link.state === 'down') return
    const wasUp = link.state === 'up'
    link.onDisconnected()
    if (!wasUp) return
    this.#logger.info('link-down', { node })
    this.#handlers.onLinkDown(node)
  }

  #schedulePing(): void {
    this.#pingTimer = this.#clock.after(PING_MS, () => {
      for (const link of this.#links.values()) {
        if (link.state === 'down') continue
        if (link.ping()) this.#queue(link)
        else this.#break(link, 'it does not answer')
      }
      this.#schedulePing()
    })
  }

  /** Ends a connection; the transport dials anew, and says `onDown`. */
  #break(link: PeerLink, reason: string): void {
    this.#logger.warn('link-broken', { node: link.nodeId, reason })
    this.#transport.disconnect(link.nodeId)
  }

  // --- frames ---

  #queue(link: PeerLink): void {
    if (link.writer.length >= FRAME_BYTES) {
      this.#sendFrame(link)
      return
    }
    if (link.isQueued) return
    link.isQueued = true
    this.#queued.push(link)
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.#clock.defer(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushDue = false
    const queued = this.#queued
    this.#queued = []
    for (const link of queued) {
      link.isQueued = false
      if (!this.#isClosed && link.state !== 'down' && link.writer.length > 0) this.#sendFrame(link)
    }
  }

  /** A frame that finds no room ends the connection: its calls may not wait for answers that cannot come. */
  #sendFrame(link: PeerLink): void {
    if (!this.#transport.send(link.nodeId, link.writer.take())) this.#break(link, 'its queue is full')
  }

  /** Runs what the transport reported. Nothing that a peer sends may do more than end its connection. */
  #guard(peer: NodeId, action: () => void): void {
    if (this.#isClosed) return
    try {
      action()
    } catch (error) {
      if (error instanceof CordilleraError && error.code === 'CORRUPT') this.#break(this.#link(peer), error.message)
      else this.#handlers.onFatal(error)
    }
  }

  #onFrame(link: PeerLink, frame: Uint8Array): void {
    if (link.state === 'down') return
    const reader = new ByteReader(frame)
    while (reader.remaining > 0) {
      const kind = reader.u8()
      if (isRaftKind(kind)) {
        const { rangeId, message } = decodeRaft(reader, kind, frame.length)
        this.#handlers.onRaft(link.nodeId, rangeId, message)
      } else if (isReplyKind(kind)) {
        link.onReply(reader.varint(), decodeReply(reader, kind))
      } else if (isRequestKind(kind)) {
        this.#onRequest(link, reader.varint(), decodeRequest(reader, kind))
      } else {
        this.#onRareRecord(link, reader, kind)
      }
    }
  }

  #onRequest(link: PeerLink, callId: number, request: RangeRequest): void {
    const { connection } = link
    this.#handlers.onRangeRequest(link.nodeId, request, (reply) => {
      if (link.connection !== connection || link.state === 'down') return
      encodeReply(link.writer, callId, reply)
      this.#queue(link)
    })
  }

  #onRareRecord(link: PeerLink, reader: ByteReader, kind: number): void {
    switch (kind) {
      case LinkKind.ping:
        link.writer.u8(LinkKind.pong)
        this.#queue(link)
        break
      case LinkKind.pong:
        this.#onPong(link)
        break
      case AskKind.question:
        this.#onQuestion(link, reader.varint(), reader.text(256), decodeOpen(reader.bytes()))
        break
      case AskKind.answer:
        link.onAnswer(reader.varint(), decodeOpen(reader.bytes()))
        break
      case AskKind.failure:
        link.onFailure(reader.varint(), reader.text(256), reader.text())
        break
      default:
        throw new CordilleraError('CORRUPT', { detail: `malformed message: record kind ${kind} is unknown` })
    }
  }

  #onPong(link: PeerLink): void {
    link.onPong()
    if (link.state !== 'connected') return
    link.state = 'up'
    this.#logger.info('link-up', { node: link.nodeId, incarnation: link.incarnation })
    this.#handlers.onLinkUp(link.nodeId, link.incarnation)
  }

  #onQuestion(link: PeerLink, askId: number, method: string, body: unknown): void {
    const { connection } = link
    const isCurrent = (): boolean => link.connection === connection && link.state !== 'down'
    this.#handlers.onAsk(link.nodeId, method, body).then(
      (answer) => {
        if (!isCurrent()) return
        link.writer.u8(AskKind.answer).varint(askId).bytes(encodeOpen(answer))
        this.#queue(link)
      },
      (error) => {
        if (!isCurrent()) return
        const code = error instanceof CordilleraError ? error.code : 'INTERNAL'
        link.writer
          .u8(AskKind.failure)
          .varint(askId)
          .text(code)
          .text(String((error as Error).message).slice(0, 1000))
        this.#queue(link)
      },
    )
  }
}
