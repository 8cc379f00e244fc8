import { CordilleraError, type LogIndex, type NodeId, type ReplicaId } from '@cordillera/base'
import type { OutgoingSnapshot } from '@cordillera/state'
import type { SnapshotCredit, SnapshotEnded, SnapshotMessage } from '@cordillera/wire'
import type { Replica } from './replica.js'
import type { SnapshotsHost } from './snapshots-host.js'

/**
 * Snapshots on their way to peers that the log cannot serve.
 *
 * A stream begins with an offer, made again until it is answered; what it reads is opened with the first credit, so that
 * nothing is held for a receiver that has no room yet, and chunks leave as credits come and the node's rate allows, in turn; a
 * receiver whose chunk waits for that is told so by the offer, again. However it ends (the receiver says
 * so, the connection is lost, it stands still for {@link STILL_MS}), the core is told, and asks the peer where it is. There
 * is one stream a peer at a time.
 */
interface Stream {
  readonly id: number
  readonly replica: Replica
  readonly peer: ReplicaId
  readonly node: NodeId
  credits: number
  /** Undefined until the first credit. */
  opening: Promise<OutgoingSnapshot> | undefined
  /** Of what is read; 0 before it is known. */
  index: LogIndex
  isPumping: boolean
  isOver: boolean
  /** Since something was heard of the receiver, or since it was offered last. */
  heardAt: number
  /** Set while a chunk waits for the node's rate: ends that. */
  release: (() => void) | undefined
}

const STILL_MS = 60_000
const OFFER_MS = 5_000
/** How long what follows an installed snapshot is kept for its receiver. */
const FOLLOW_MS = 30_000
/** When the connection takes nothing more. */
const RETRY_MS = 20

export class SnapshotSender {
  readonly #host: SnapshotsHost
  readonly #streams = new Map<number, Stream>()
  /** Peers that have installed one lately, and still lack what follows it. */
  readonly #following = new Map<
    ReplicaId,
    { readonly replica: Replica; readonly index: LogIndex; readonly until: number }
  >()
  #lastId = 0

  constructor(host: SnapshotsHost) {
    this.#host = host
  }

  /** A peer wants a snapshot. */
  send(replica: Replica, peer: ReplicaId): void {
    // An earlier one that is still under way ends as this one would.
    for (const stream of this.#streams.values()) if (stream.replica === replica && stream.peer === peer) return
    const stream: Stream = {
      ...{ id: ++this.#lastId, replica, peer, node: replica.nodeOf(peer) },
      ...{ credits: 0, opening: undefined, index: 0, isPumping: false, isOver: false, heardAt: 0, release: undefined },
    }
    this.#streams.set(stream.id, stream)
    if (!this.#offer(stream)) this.#end(stream)
  }

  /** From a receiver. */
  onMessage(from: NodeId, message: SnapshotCredit | SnapshotEnded): void {
    const stream = this.#streams.get(message.streamId)
    if (stream === undefined || stream.node !== from) {
      const { streamId } = message
      if (message.kind === 'snapshot-credit')
        this.#host.links.sendSnapshot(from, { kind: 'snapshot-cancelled', streamId })
      return
    }
    stream.heardAt = this.#host.clock.now()
    if (message.kind === 'snapshot-credit') {
      stream.credits += message.chunks
      void this.#pump(stream)
      return
    }
    const { logger, counts } = this.#host
    const { rangeId } = stream.replica.descriptor
    if (message.outcome === 'installed') {
      counts.snapshotsSent++
      const { replica, index } = stream
      this.#following.set(stream.peer, { replica, index, until: stream.heardAt + FOLLOW_MS })
    }
    logger.info('snapshot-sent', { rangeId, peer: stream.peer, outcome: message.outcome })
    this.#end(stream)
  }

  onLinkDown(node: NodeId): void {
    for (const stream of [...this.#streams.values()]) if (stream.node === node) this.#end(stream)
  }

  onTick(): void {
    const now = this.#host.clock.now()
    for (const [peer, { until }] of this.#following) if (now >= until) this.#following.delete(peer)
    for (const stream of [...this.#streams.values()]) {
      const stillMs = now - stream.heardAt
      if (stream.opening === undefined) {
        // What only waits for its turn holds nothing.
        if (stillMs >= OFFER_MS && !this.#offer(stream)) this.#end(stream)
      } else if (stream.release !== undefined) {
        if (stillMs >= OFFER_MS) this.#offer(stream)
      } else if (stillMs >= STILL_MS) this.#cancel(stream)
    }
  }

  /** The log behind this is needed when the receiver has what is under way; undefined when nothing is. */
  pinnedIndex(replica: Replica): LogIndex | undefined {
    let least: LogIndex | undefined
    for (const stream of this.#streams.values()) {
      if (stream.replica === replica && stream.index > 0) least = Math.min(least ?? stream.index, stream.index)
    }
    for (const [peer, { replica: follows, index }] of this.#following) {
      if (follows !== replica) continue
      const matchIndex = Math.max(index, replica.core.progressOf(peer)?.matchIndex ?? 0)
      least = Math.min(least ?? matchIndex, matchIndex)
    }
    return least
  }

  /** The replica goes away. */
  forget(replica: Replica): void {
    for (const stream of [...this.#streams.values()]) if (stream.replica === replica) this.#cancel(stream)
  }

  close(): void {
    for (const stream of [...this.#streams.values()]) this.#end(stream)
  }

  /** False: surely not sent. */
  #offer(stream: Stream): boolean {
    const { id: streamId, replica, peer: to, node } = stream
    stream.heardAt = this.#host.clock.now()
    const { descriptor, replicaId: from } = replica
    const { rangeId, start, end } = descriptor
    const offer = { kind: 'snapshot-offer', streamId, rangeId, from, to, span: { start, end } } as const
    return node !== 0 && this.#host.links.sendSnapshot(node, offer)
  }

  async #pump(stream: Stream): Promise<void> {
    if (stream.isPumping) return
    stream.isPumping = true
    try {
      stream.opening ??= this.#host.state.openSnapshot(stream.replica.state)
      const snapshot = await stream.opening
      stream.index = snapshot.head.index
      while (stream.credits > 0 && !stream.isOver) {
        const chunk = await snapshot.next()
        if (chunk === undefined) return
        await this.#hold(stream, chunk.length)
        await this.#deliver(stream, { kind: 'snapshot-chunk', streamId: stream.id, chunk })
        stream.credits--
      }
    } catch (error) {
      if (stream.isOver) return
      this.#cancel(stream)
      // The state is closed, or the replica is being replaced; a state that failed says so itself.
      if (!(error instanceof CordilleraError)) this.#host.onFatal(error)
    } finally {
      stream.isPumping = false
    }
  }

  /** Waits until the node's rate allows so many bytes. */
  async #hold(stream: Stream, bytes: number): Promise<void> {
    const { clock, snapshotRate } = this.#host
    const delayMs = snapshotRate.claim(bytes, clock.now())
    if (delayMs === 0 || stream.isOver) return
    await new Promise<void>((resolve) => {
      const timer = clock.after(delayMs, resolve)
      stream.release = () => {
        timer.cancel()
        resolve()
      }
    })
    stream.release = undefined
    stream.heardAt = clock.now()
  }

  /** Waits until the connection has room. */
  async #deliver(stream: Stream, message: SnapshotMessage & { readonly chunk: Uint8Array }): Promise<void> {
    const { links, clock, counts } = this.#host
    while (!stream.isOver) {
      if (links.sendSnapshot(stream.node, message)) {
        counts.snapshotBytesSent += message.chunk.length
        return
      }
      await new Promise<void>((resolve) => clock.after(RETRY_MS, resolve))
    }
  }

  #cancel(stream: Stream): void {
    this.#host.links.sendSnapshot(stream.node, { kind: 'snapshot-cancelled', streamId: stream.id })
    this.#end(stream)
  }

  #end(stream: Stream): void {
    stream.isOver = true
    stream.release?.()
    this.#streams.delete(stream.id)
    stream.opening?.then((snapshot) => snapshot.close()).catch(() => undefined)
    stream.replica.onSnapshotEnded(stream.peer)
  }
}
