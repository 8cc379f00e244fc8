import {
  assert,
  type Clock,
  CordilleraError,
  type Incarnation,
  InvariantViolation,
  type Logger,
  type NodeId,
  type RangeId,
} from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import { SYSTEM_RANGE_ID } from '@cordillera/ranges'
import { writeAnswer, writeAsk, writeAskFailed } from './ask-codec.js'
import { decodeBody, encodeBody } from './open-body.js'
import { OutgoingFrames } from './outgoing-frames.js'
import type { PeerHandlers } from './peer-handlers.js'
import type { Life, PeerLives } from './peer-lives.js'
import { PendingAsks } from './pending-asks.js'
import { type OnReply, PendingCalls } from './pending-calls.js'
import { writeMessage } from './raft-codec.js'
import type { RangeReply, RangeRequest } from './range-call.js'
import { type ReplyShape, replyBytes, writeReply } from './range-reply-codec.js'
import { requestBytes, writeRequest } from './range-request-codec.js'
import type { RecordSink } from './read-frame.js'
import { RECORD_BYTES_MAX, RecordKind } from './record.js'
import { writeSnapshotMessage } from './snapshot-codec.js'
import type { SnapshotMessage } from './snapshot-message.js'

/** Bounds of one link. Counts and bytes are per peer. */
export interface PeerLinkLimits {
  /** How often a ping leaves, and after how long without an echo the connection is dropped. */
  readonly pingIntervalMs: number
  readonly silentMs: number
  /** Range requests that wait for their replies. */
  readonly callsMax: number
  readonly callBytesMax: number
  /** Calls of open shape under way, in each direction. */
  readonly asksMax: number
  /** Bytes that wait to leave, beyond which reads are answered `overloaded`; at twice this the connection is dropped. */
  readonly waitingBytesMax: number
}

/** What a link needs of its owner. */
export interface PeerLinkHost {
  readonly clock: Clock
  readonly logger: Logger
  readonly handlers: PeerHandlers
  readonly limits: PeerLinkLimits
  /** Something was written: flush this link in a few turns. */
  onDirty(link: PeerLink): void
  /** This node, for the first record of every link and the head of every frame. */
  readonly own: { life: Life; readonly durableBatch: () => number }
  readonly lives: PeerLives
  /** The connection is to be dropped, on this turn. */
  onBroken(link: PeerLink, reason: string): void
}

const REFUSED_OVERLOADED: RangeReply = { kind: 'refused', reason: 'overloaded', leader: 0, descriptors: [] }
/** Keys and counts of a record take this much beside the bytes that are counted. */
const KEY_OVERHEAD_BYTES = 4

/**
 * One connection to one incarnation of a peer: what waits to leave, what waits for replies, and whether it is alive.
 *
 * It is `probing` until a ping of ours was echoed, then `up`, and `closed` for good when the connection is gone. A reply
 * that is late is dropped with its link: it never reaches another incarnation. To a peer that has lost what it had before
 * (see `peer-lives`) the link is `refused`: it is told so, nothing of it is read any more, and it is dropped as silent.
 */
export class PeerLink implements RecordSink {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly frames: OutgoingFrames
  readonly calls: PendingCalls
  readonly asks: PendingAsks
  readonly #host: PeerLinkHost
  #state: 'probing' | 'up' | 'refused' | 'closed' = 'probing'
  #hasBegun = false
  #isDirty = false
  #pingSequence = 0
  #sinceEchoMs = 0
  #sincePingMs = 0
  #servedCalls = 0
  #servedAsks = 0

  constructor(host: PeerLinkHost, node: NodeId, incarnation: Incarnation, send: (frame: Uint8Array) => boolean) {
    const { limits, clock } = host
    this.#host = host
    this.node = node
    this.incarnation = incarnation
    this.frames = new OutgoingFrames(send, host.own.durableBatch)
    this.calls = new PendingCalls(limits.callsMax, limits.callBytesMax)
    this.asks = new PendingAsks(clock, limits.asksMax)
    const { recoveredBatch, nonce } = host.own.life
    this.frames.out.u8(RecordKind.life).varint(recoveredBatch).varint(nonce)
    this.#ping()
  }

  get isUp(): boolean {
    return this.#state === 'up'
  }

  get isClosed(): boolean {
    return this.#state === 'closed'
  }

  get isDeaf(): boolean {
    return this.#state === 'closed' || this.#state === 'refused'
  }

  /** Whether more may be written: the link is up and the transport takes frames. */
  get isWritable(): boolean {
    return this.#state === 'up' && !this.frames.isBlocked
  }

  // --- outgoing ---

  sendRaft(rangeId: RangeId, message: Message): void {
    writeMessage(this.frames.out, rangeId, message)
    this.#endRecord(rangeId === SYSTEM_RANGE_ID && isOfReadRound(message))
  }

  sendSnapshot(message: SnapshotMessage): void {
    writeSnapshotMessage(this.frames.out, message)
    this.#endRecord()
  }

  /** False: a bound is reached, and nothing was sent. */
  call(request: RangeRequest, onReply: OnReply): boolean {
    const items = request.kind === 'read' ? request.keys.length : 0
    assert(requestBytes(request) + items * KEY_OVERHEAD_BYTES <= RECORD_BYTES_MAX, 'a request fits in a frame')
    const id = this.calls.tryAdd(request, onReply)
    if (id === undefined) return false
    writeRequest(this.frames.out, id, request)
    this.#endRecord(request.kind === 'timestamps')
    return true
  }

  ask(method: string, body: unknown, timeoutMs: number): Promise<Uint8Array> {
    if (this.asks.isFull) return Promise.reject(new CordilleraError('OVERLOADED', { detail: 'too many calls wait' }))
    const bytes = encodeBody(body)
    return this.asks.add(timeoutMs, (id) => {
      writeAsk(this.frames.out, id, method, bytes)
      this.#endRecord()
    })
  }

  /** Everything written leaves; it stays in order when the transport is full. */
  flush(): void {
    this.#isDirty = false
    if (this.#state !== 'closed') this.frames.flush()
  }

  /** Time passes: pings, retries, and the verdict that nobody answers, counted in time during which we were running. */
  tick(elapsedMs: number): void {
    const { limits } = this.#host
    this.#sinceEchoMs += elapsedMs
    this.#sincePingMs += elapsedMs
    if (this.#sinceEchoMs >= limits.silentMs) {
      this.#host.onBroken(this, 'silent')
      return
    }
    if (this.frames.isBlocked) this.frames.retry()
    if (this.#sincePingMs >= limits.pingIntervalMs) this.#ping()
  }

  /** The connection is gone: everyone who waits is told, in the order of asking. */
  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.frames.clear()
    this.asks.failAll()
    for (const onReply of this.calls.takeAll()) this.#settle(onReply, undefined)
  }

  #ping(): void {
    this.#sincePingMs = 0
    this.frames.out.u8(RecordKind.ping).varint(++this.#pingSequence)
    this.#endRecord()
  }

  /** `isUrgent`: the writes of a whole node wait for it, so it leaves at once, with what was written before it. */
  #endRecord(isUrgent = false): void {
    this.frames.endRecord()
    if (isUrgent) this.frames.flush()
    if (this.#isDirty || (this.frames.isEmpty && !this.frames.isBlocked)) return
    this.#isDirty = true
    this.#host.onDirty(this)
  }

  // --- incoming ---

  onDurable(batch: number): void {
    if (this.#hasBegun) this.#host.lives.onDurable(this.node, batch)
  }

  onLife(recoveredBatch: number, nonce: number): void {
    const { lives, logger } = this.#host
    const detail = lives.begin(this.node, { incarnation: this.incarnation, recoveredBatch, nonce })
    if (detail === undefined) {
      this.#hasBegun = true
      return
    }
    logger.error('peer-outdated', { node: this.node, incarnation: this.incarnation, detail })
    this.frames.out.u8(RecordKind.outdated).varint(0).text(detail)
    this.#endRecord(true)
    this.#state = 'refused'
  }

  onOutdated(detail: string): void {
    this.#host.handlers.onOutdated(this.node, detail)
  }

  onPing(sequence: number): void {
    this.frames.out.u8(RecordKind.pong).varint(sequence)
    this.#endRecord()
  }

  onPong(sequence: number): void {
    if (sequence === 0 || sequence > this.#pingSequence) return
    this.#sinceEchoMs = 0
    if (this.#state !== 'probing') return
    this.#state = 'up'
    const { logger, handlers } = this.#host
    logger.info('link-up', { node: this.node, incarnation: this.incarnation })
    try {
      handlers.onLinkUp(this.node, this.incarnation)
    } catch (error) {
      this.onHandlerError(error)
    }
  }

  onRaft(rangeId: RangeId, message: Message): void {
    try {
      this.#host.handlers.onRaft(this.node, rangeId, message)
    } catch (error) {
      this.onHandlerError(error)
    }
  }

  onSnapshot(message: SnapshotMessage): void {
    try {
      this.#host.handlers.onSnapshot(this.node, message)
    } catch (error) {
      this.onHandlerError(error)
    }
  }

  onRequest(callId: number, request: RangeRequest): void {
    const { handlers, limits } = this.#host
    if (this.#servedCalls >= limits.callsMax * 2) {
      this.#writeReply(callId, REFUSED_OVERLOADED)
      return
    }
    this.#servedCalls++
    let isAnswered = false
    const reply = (answer: RangeReply): void => {
      assert(!isAnswered, 'a request is answered once')
      isAnswered = true
      this.#servedCalls--
      this.#writeReply(callId, answer)
    }
    try {
      handlers.onRangeRequest(this.node, request, reply)
    } catch (error) {
      this.onHandlerError(error)
    }
  }

  shapeOf(callId: number): ReplyShape | undefined {
    return this.calls.shapeOf(callId)
  }

  onReply(callId: number, reply: RangeReply): void {
    const onReply = this.calls.tryTake(callId)
    if (onReply !== undefined) this.#settle(onReply, reply)
  }

  onAsk(callId: number, method: string, body: Uint8Array): void {
    if (this.#servedAsks >= this.#host.limits.asksMax * 2) {
      this.#failAsk(callId, new CordilleraError('OVERLOADED', { detail: 'too many calls are served' }))
      return
    }
    const decoded = decodeBody(body)
    this.#servedAsks++
    void this.#serveAsk(callId, method, decoded)
  }

  onAnswer(callId: number, body: Uint8Array): void {
    this.asks.answer(callId, body)
  }

  onAskFailed(callId: number, error: Error): void {
    this.asks.fail(callId, error)
  }

  /** Whatever a handler, or the decoding of a frame, has thrown. */
  onHandlerError(error: unknown): void {
    const { logger, handlers } = this.#host
    if (!(error instanceof CordilleraError)) handlers.onFatal(error)
    else if (error.code === 'CORRUPT') this.#host.onBroken(this, `garbage: ${error.message}`)
    else logger.warn('peer-message-failed', { node: this.node, code: error.code, detail: error.message })
  }

  async #serveAsk(callId: number, method: string, body: unknown): Promise<void> {
    const { handlers, logger } = this.#host
    try {
      const answer = encodeBody(await handlers.onAsk(this.node, method, body))
      if (this.#state === 'closed') return
      writeAnswer(this.frames.out, callId, answer)
      this.#endRecord()
    } catch (error) {
      if (error instanceof CordilleraError) return this.#failAsk(callId, error)
      logger.error('peer-ask-failed', { node: this.node, method, error: String(error) })
      this.#failAsk(callId, new CordilleraError('INTERNAL'))
      if (error instanceof InvariantViolation) handlers.onFatal(error)
    } finally {
      this.#servedAsks--
    }
  }

  #failAsk(callId: number, error: CordilleraError): void {
    if (this.#state === 'closed') return
    writeAskFailed(this.frames.out, callId, error)
    this.#endRecord()
  }

  /** Replies are written although the link may be blocked: the peer waits for them. */
  #writeReply(callId: number, reply: RangeReply): void {
    if (this.#state === 'closed') return
    const { frames } = this
    const { waitingBytesMax } = this.#host.limits
    const isRead = reply.kind === 'values' || reply.kind === 'scanned'
    const wouldOverflow = isRead && frames.waitingBytes + replyBytes(reply) > waitingBytesMax
    writeReply(frames, callId, wouldOverflow ? REFUSED_OVERLOADED : reply)
    this.#endRecord(reply.kind === 'timestamps')
    if (frames.waitingBytes > 2 * waitingBytesMax) this.#breakLater()
  }

  /** Not on this turn: a handler's reply must not find every other call of the link settled behind its back. */
  #breakLater(): void {
    this.#host.clock.defer(() => {
      if (this.#state !== 'closed') this.#host.onBroken(this, 'the peer does not read')
    })
  }

  #settle(onReply: OnReply, reply: RangeReply | undefined): void {
    try {
      onReply(reply)
    } catch (error) {
      this.onHandlerError(error)
    }
  }
}

/** In the system range: the round by which the oracle confirms that it leads. */
function isOfReadRound(message: Message): boolean {
  return (message.kind === 'heartbeat' || message.kind === 'heartbeat-reply') && message.readRound > 0
}
