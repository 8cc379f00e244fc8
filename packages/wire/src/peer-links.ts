import { type Clock, CordilleraError, type Logger, type NodeId, type RangeId, type Timer } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import { METHOD_BYTES_MAX } from './ask-codec.js'
import { decodeBody } from './open-body.js'
import type { PeerHandlers } from './peer-handlers.js'
import { PeerLink, type PeerLinkHost, type PeerLinkLimits } from './peer-link.js'
import { type Life, PeerLives } from './peer-lives.js'
import type { OnReply } from './pending-calls.js'
import type { RangeRequest } from './range-call.js'
import { readFrame } from './read-frame.js'
import type { SnapshotMessage } from './snapshot-message.js'
import type { NodeIdentity, Transport } from './transport-port.js'

export const defaultPeerLinkLimits: PeerLinkLimits = {
  pingIntervalMs: 300,
  silentMs: 1000,
  callsMax: 16_384,
  callBytesMax: 64 * 1024 * 1024,
  asksMax: 256,
  waitingBytesMax: 128 * 1024 * 1024,
}

export interface PeerLinksOptions {
  readonly transport: Transport
  readonly clock: Clock
  readonly logger: Logger
  readonly handlers: PeerHandlers
  /** The number of the log's last durable batch, now; see `peer-lives`. */
  readonly durableBatch: () => number
  readonly limits?: Partial<PeerLinkLimits>
}

/** Cumulative, except `linksUp`. */
export interface PeerLinksStats {
  readonly linksUp: number
  readonly framesSent: number
  readonly bytesSent: number
  readonly framesReceived: number
  readonly bytesReceived: number
}

/** How finely liveness is looked at; also how often a full transport is offered its frames again. */
const TICK_MS = 100
const RETRY_MS = 5

/**
 * Turns of the event loop that a frame gathers for. A frame costs its two ends about as much as ten messages in it do;
 * a turn of a busy loop brings further messages, and one of an idle loop passes in microseconds. See decisions/0004.
 */
const FLUSH_TURNS = 3

/**
 * Frames, calls and liveness over a {@link Transport}.
 *
 * What is written within a few turns leaves in one frame a peer, in order. A link is up only while pings are echoed,
 * so it works both ways. Sends are refused (false) when the link is not up or its queues are full; a call that was
 * accepted gets exactly one reply, or undefined when the connection is lost. A peer that sends garbage loses its
 * connection. Nothing of one connection reaches another: after `onLinkDown` everything under way is settled.
 */
export class PeerLinks {
  readonly #transport: Transport
  readonly #handlers: PeerHandlers
  readonly #host: PeerLinkHost
  readonly #links = new Map<NodeId, PeerLink>()
  #dirty: PeerLink[] = []
  #ticking: Timer | undefined
  #retrying: Timer | undefined
  #isClosed = false
  #turnsToFlush = 0
  #framesReceived = 0
  #bytesReceived = 0
  /** Of links that are gone. */
  #framesSent = 0
  #bytesSent = 0

  constructor(options: PeerLinksOptions) {
    const { transport, clock, logger, handlers, durableBatch } = options
    this.#transport = transport
    this.#handlers = handlers
    this.#host = {
      clock,
      logger,
      handlers,
      limits: { ...defaultPeerLinkLimits, ...options.limits },
      own: { life: { incarnation: 0, recoveredBatch: 0, nonce: 0 }, durableBatch },
      lives: new PeerLives(),
      onDirty: (link) => this.#onDirty(link),
      onBroken: (link, reason) => this.#onBroken(link, reason),
    }
  }

  /** Listens; from now on guests are answered. Rejects as the transport's `start` does. */
  async start(): Promise<void> {
    await this.#transport.start({
      onUp: (peer, incarnation) => this.#onUp(peer, incarnation),
      onDown: (peer) => this.#onDown(peer),
      onRefused: (peer) => this.#onRefused(peer),
      onFrame: (from, frame) => this.#onFrame(from, frame),
      onGuest: (body) => this.#handlers.onGuest(body),
    })
    this.#scheduleTick()
  }

  /** Says who this node is, and which start of it; from now on peers are met. */
  identify(identity: NodeIdentity, start: Omit<Life, 'incarnation'>): void {
    this.#host.own.life = { incarnation: identity.incarnation, ...start }
    this.#transport.identify(identity)
  }

  /** Replaces the known addresses of other nodes. */
  setPeers(addresses: ReadonlyMap<NodeId, string>): void {
    this.#transport.setPeers(addresses)
  }

  /** Writes the message into the peer's next frame; the entries' bytes are copied. False: surely not sent. */
  sendRaft(to: NodeId, rangeId: RangeId, message: Message): boolean {
    const link = this.#links.get(to)
    if (link === undefined || !link.isWritable) return false
    link.sendRaft(rangeId, message)
    return true
  }

  /** Writes the message into the peer's next frame; copies. False: surely not sent. */
  sendSnapshot(to: NodeId, message: SnapshotMessage): boolean {
    const link = this.#links.get(to)
    if (link === undefined || !link.isWritable) return false
    link.sendSnapshot(message)
    return true
  }

  /**
   * Sends a request; copies it. True: `onReply` runs exactly once, on a later turn, with the reply or, when the
   * connection was lost first, with undefined. False: surely not sent, and `onReply` never runs.
   */
  call(to: NodeId, request: RangeRequest, onReply: OnReply): boolean {
    const link = this.#links.get(to)
    return link?.isWritable === true && link.call(request, onReply)
  }

  /**
   * Asks for something of open shape (see `open-body`); `method` is a short ASCII name. Rejects with the remote's coded
   * error, with `UNAVAILABLE` or `OVERLOADED` when it surely was not sent, `BAD_REQUEST` when the body is not plain data,
   * and `OUTCOME_UNKNOWN` when no answer came in time or the connection was lost.
   */
  async ask(to: NodeId, method: string, body: unknown, timeoutMs: number): Promise<unknown> {
    if (method.length * 4 > METHOD_BYTES_MAX) throw new CordilleraError('BAD_REQUEST', { detail: 'a long method name' })
    const link = this.#links.get(to)
    if (link === undefined || !link.isWritable) {
      throw new CordilleraError('UNAVAILABLE', { detail: `node ${to} is not reachable from here` })
    }
    return decodeBody(await link.ask(method, body, timeoutMs))
  }

  /** Connected, and pings are echoed. */
  isUp(node: NodeId): boolean {
    return this.#links.get(node)?.isUp === true
  }

  readonly #onTurn = (): void => {
    if (--this.#turnsToFlush > 0) this.#host.clock.defer(this.#onTurn)
    else this.flush()
  }

  /** What was written leaves now instead of in a few turns. */
  readonly flush = (): void => {
    const dirty = this.#dirty
    if (dirty.length === 0) return
    this.#dirty = []
    for (const link of dirty) {
      link.flush()
      if (link.frames.isBlocked) this.#scheduleRetry()
    }
  }

  get stats(): PeerLinksStats {
    let linksUp = 0
    let framesSent = this.#framesSent
    let bytesSent = this.#bytesSent
    for (const { isUp, frames } of this.#links.values()) {
      if (isUp) linksUp++
      framesSent += frames.framesSent
      bytesSent += frames.bytesSent
    }
    return { linksUp, framesSent, bytesSent, framesReceived: this.#framesReceived, bytesReceived: this.#bytesReceived }
  }

  /** Sends what is written, settles every call, closes the transport. Calls no handler afterwards. Idempotent. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.flush()
      this.#isClosed = true
      this.#ticking?.cancel()
      this.#retrying?.cancel()
      for (const link of [...this.#links.values()]) this.#forget(link)
    }
    await this.#transport.close()
  }

  // --- the transport's events ---

  #onUp(peer: NodeId, incarnation: number): void {
    if (this.#isClosed) return
    const former = this.#links.get(peer)
    if (former !== undefined) this.#down(former, 'replaced')
    const link = new PeerLink(this.#host, peer, incarnation, (frame) => this.#transport.send(peer, frame))
    this.#links.set(peer, link)
    this.#onDirty(link)
  }

  #onDown(peer: NodeId): void {
    const link = this.#links.get(peer)
    if (link !== undefined) this.#down(link, 'connection lost')
  }

  #onRefused(peer: NodeId): void {
    if (this.#isClosed) return
    try {
      this.#handlers.onNodeGone(peer)
    } catch (error) {
      this.#handlers.onFatal(error)
    }
  }

  #onFrame(from: NodeId, frame: Uint8Array): void {
    const link = this.#links.get(from)
    if (link === undefined) return
    this.#framesReceived++
    this.#bytesReceived += frame.length
    try {
      readFrame(frame, link)
    } catch (error) {
      link.onHandlerError(error)
    }
  }

  // --- links ---

  #onBroken(link: PeerLink, reason: string): void {
    if (link.isClosed) return
    this.#transport.disconnect(link.node)
    this.#down(link, reason)
  }

  #down(link: PeerLink, reason: string): void {
    const wasUp = link.isUp
    this.#host.logger.info('link-down', { node: link.node, incarnation: link.incarnation, reason })
    this.#forget(link)
    if (!wasUp || this.#isClosed) return
    try {
      this.#handlers.onLinkDown(link.node)
    } catch (error) {
      this.#handlers.onFatal(error)
    }
  }

  /** From here on the link is not found any more; only then those who wait on it are told. */
  #forget(link: PeerLink): void {
    this.#links.delete(link.node)
    this.#framesSent += link.frames.framesSent
    this.#bytesSent += link.frames.bytesSent
    link.close()
  }

  #onDirty(link: PeerLink): void {
    this.#dirty.push(link)
    if (this.#turnsToFlush > 0) return
    this.#turnsToFlush = FLUSH_TURNS
    this.#host.clock.defer(this.#onTurn)
  }

  #scheduleTick(): void {
    if (this.#isClosed) return
    this.#ticking = this.#host.clock.after(TICK_MS, () => {
      for (const link of [...this.#links.values()]) link.tick(TICK_MS)
      this.#scheduleTick()
    })
  }

  #scheduleRetry(): void {
    if (this.#retrying !== undefined || this.#isClosed) return
    this.#retrying = this.#host.clock.after(RETRY_MS, () => {
      this.#retrying = undefined
      for (const { frames } of this.#links.values()) {
        frames.retry()
        if (frames.isBlocked) this.#scheduleRetry()
      }
    })
  }
}
