import { CordilleraError, type NodeId, paced, type RangeId, type ReplicaId } from '@cordillera/base'
import { isFrozen, type Span, spansOverlap } from '@cordillera/ranges'
import type { ReplicaState, SnapshotHead, StagedSnapshot } from '@cordillera/state'
import type { SnapshotCancelled, SnapshotChunk, SnapshotOffer, SnapshotOutcome } from '@cordillera/wire'
import type { Replica } from './replica.js'
import { mayCreate, type SnapshotsHost } from './snapshots-host.js'

/**
 * Snapshots that arrive, for replicas that are here and fell behind, and for new ones.
 *
 * So many are taken at a time; other offers wait for their turn. A chunk is on the disk before another is asked for, so a
 * stream has {@link CREDITS} chunks in memory and on the way at most, and heartbeats never wait behind more than that. The disk
 * is shared with the log, whose syncs everybody waits for: it is left alone for most of the time. Once all
 * of it is here and whole, it is installed: a replica that is here is asked whether it still wants it and applies nothing
 * meanwhile; a new one begins with it, its term on the disk before.
 *
 * Two at once for one replica: the later offer takes the place of the earlier one, unless that is being installed. Who
 * speaks of a stream that the other does not know is told that it is over.
 */
interface Stream {
  /** 0 once the connection is lost, and it is being installed all the same. */
  node: NodeId
  readonly id: number
  readonly rangeId: RangeId
  readonly to: ReplicaId
  /** What it will have, as far as its sender has said. */
  span: Span
  /** Undefined while it waits for its turn. */
  staged: StagedSnapshot | undefined
  /** Chunks that it may still send, and those for which the sender could not be told yet. */
  credits: number
  owed: number
  /** Chunks are staged one behind the other. */
  work: Promise<void>
  phase: 'waiting' | 'receiving' | 'installing' | 'over'
  heardAt: number
}

const STREAMS_MAX = 1
const CREDITS = 2
/** A sender is told that a snapshot is still being installed. */
const ALIVE_MS = 5_000
/** A sender from which nothing comes makes room for others. */
const STILL_MS = 20_000

export class SnapshotReceiver {
  readonly #host: SnapshotsHost
  readonly #streams = new Set<Stream>()
  /** Answers that the connection had no room for. */
  #unsaid: { readonly node: NodeId; readonly streamId: number; readonly outcome: SnapshotOutcome }[] = []

  constructor(host: SnapshotsHost) {
    this.#host = host
  }

  /** Whether something is on its way for the replica. */
  expects(replicaId: ReplicaId): boolean {
    return this.#of(replicaId) !== undefined
  }

  onMessage(from: NodeId, message: SnapshotOffer | SnapshotChunk | SnapshotCancelled): void {
    if (message.kind === 'snapshot-offer') {
      this.#onOffer(from, message)
      return
    }
    const stream = [...this.#streams].find(({ node, id }) => node === from && id === message.streamId)
    if (stream === undefined) {
      if (message.kind === 'snapshot-chunk') this.#answer(from, message.streamId, 'failed')
      return
    }
    if (message.kind === 'snapshot-cancelled') this.#giveUp(stream)
    else this.#onChunk(stream, message.chunk)
  }

  onLinkDown(node: NodeId): void {
    for (const stream of [...this.#streams]) {
      if (stream.node !== node) continue
      this.#giveUp(stream)
      stream.node = 0
    }
    this.#unsaid = this.#unsaid.filter((answer) => answer.node !== node)
  }

  onTick(): void {
    const now = this.#host.clock.now()
    for (const stream of [...this.#streams]) {
      if (stream.phase === 'receiving' && stream.credits > 0 && now - stream.heardAt >= STILL_MS) {
        this.#refuse(stream, 'failed')
      } else if (stream.owed > 0) {
        this.#tryGrant(stream, 0)
      } else if (stream.phase === 'installing' && now - stream.heardAt >= ALIVE_MS) {
        stream.heardAt = now
        this.#tryGrant(stream, 0)
      }
    }
    for (const { node, streamId, outcome } of this.#unsaid.splice(0)) this.#answer(node, streamId, outcome)
    this.#beginNext()
  }

  close(): void {
    for (const stream of [...this.#streams]) this.#giveUp(stream)
  }

  /** The replica has come to be in another way: what is offered to it and waits is not needed. */
  onCreated(replicaId: ReplicaId): void {
    const stream = this.#of(replicaId)
    if (stream?.phase === 'waiting') this.#refuse(stream, 'unwanted')
    else this.#beginNext()
  }

  #onOffer(node: NodeId, { streamId: id, rangeId, to, span }: SnapshotOffer): void {
    const earlier = this.#of(to)
    if (earlier?.node === node && earlier.id === id) {
      // Offered again: its turn has not come, or its sender's.
      earlier.heardAt = this.#host.clock.now()
      earlier.span = span
      return
    }
    const isKnown = this.#host.replica(rangeId)?.replicaId === to
    if (earlier?.phase === 'installing' || !(isKnown || mayCreate(this.#host, rangeId, to))) {
      this.#answer(node, id, 'unwanted')
      return
    }
    if (earlier !== undefined) this.#refuse(earlier, 'unwanted')
    if (!this.#host.hasRoom()) {
      this.#answer(node, id, 'failed')
      return
    }
    const heardAt = this.#host.clock.now()
    const work = Promise.resolve()
    this.#streams.add({
      ...{ node, id, rangeId, to, span, staged: undefined, credits: 0, owed: 0, work, phase: 'waiting', heardAt },
    })
    this.#beginNext()
  }

  #beginNext(): void {
    let free = STREAMS_MAX
    for (const { phase } of this.#streams) if (phase !== 'waiting') free--
    for (const stream of this.#streams) {
      if (free <= 0) return
      if (stream.phase !== 'waiting' || this.#isOccupied(stream, stream.span)) continue
      if (!this.#tryGrant(stream, CREDITS)) continue
      free--
      stream.phase = 'receiving'
      stream.staged = this.#host.state.stageSnapshot(stream.to)
      stream.heardAt = this.#host.clock.now()
    }
  }

  #onChunk(stream: Stream, chunk: Uint8Array): void {
    if (stream.phase !== 'receiving') return
    stream.heardAt = this.#host.clock.now()
    if (stream.credits === 0) {
      this.#refuse(stream, 'failed')
      return
    }
    stream.credits--
    stream.work = stream.work.then(() => this.#stage(stream, chunk)).catch((error) => this.#onError(stream, error))
  }

  async #stage(stream: Stream, chunk: Uint8Array): Promise<void> {
    const { staged } = stream
    if (stream.phase !== 'receiving' || staged === undefined) return
    const isFirst = staged.head === undefined
    await paced(this.#host.clock, () => staged.add(chunk))
    if (!this.#isReceiving(stream)) return
    if (isFirst && !this.#isWanted(stream, staged.head!)) this.#refuse(stream, 'unwanted')
    else if (staged.isComplete) await this.#install(stream, staged)
    else this.#grant(stream)
  }

  /** Looked at again after every wait. */
  #isReceiving({ phase }: Stream): boolean {
    return phase === 'receiving'
  }

  /** Whether it is for a replica that is behind it, or for one that may be here. */
  #isWanted(stream: Stream, { descriptor, index }: SnapshotHead): boolean {
    const { rangeId, to } = stream
    const { nodeId } = this.#host
    if (descriptor.rangeId !== rangeId) return false
    const replica = this.#host.replica(rangeId)
    if (this.#isOccupied(stream, descriptor)) return false
    if (replica !== undefined) {
      // What is frozen has all that it will ever need, and may be merged at any moment, unless it was thawed since.
      const isAsFrozen = isFrozen(replica.descriptor) && isFrozen(descriptor)
      return replica.replicaId === to && index > replica.core.commitIndex && !isAsFrozen
    }
    if (!this.#isForgetful(to, descriptor)) return false
    if (!mayCreate(this.#host, rangeId, to)) return false
    return descriptor.replicas.some((place) => place.replicaId === to && place.nodeId === nodeId)
  }

  /**
   * Whether nothing can have been promised in the name of a replica that is not here. After damage of which it is not known whose
   * it was, a voter may have been the right half of a range, with a vote and entries that are lost.
   */
  #isForgetful(to: ReplicaId, { replicas }: SnapshotHead['descriptor']): boolean {
    const { log } = this.#host
    if (!log.hasUnattributedDamage || log.groups.has(to)) return true
    return replicas.some(({ replicaId, type }) => replicaId === to && type === 'learner')
  }

  /**
   * Whether another range here has any of the span: one that was cut elsewhere and not yet here, or one that has yet to go. The
   * replica itself, the damaged one that makes room for it, and those that wait to be merged with it, are no others.
   */
  #isOccupied({ rangeId, to }: Stream, span: Span): boolean {
    const former = this.#host.silencedState(rangeId)
    for (const other of this.#host.state.replicas.values()) {
      const isOther = other.replicaId !== to && other !== former && !isFrozenFor(other, rangeId)
      if (isOther && spansOverlap(other.descriptor, span)) return true
    }
    // Those that are being installed are not among them yet.
    for (const { phase, staged } of this.#streams) {
      if (phase !== 'installing' || staged === undefined || staged.replicaId === to) continue
      if (spansOverlap(staged.head!.descriptor, span)) return true
    }
    return false
  }

  async #install(stream: Stream, staged: StagedSnapshot): Promise<void> {
    stream.phase = 'installing'
    const head = staged.head!
    const replica = this.#host.replica(stream.rangeId)
    const startedAt = this.#host.clock.now()
    const isInstalled =
      replica === undefined
        ? await this.#installNew(stream, staged, head)
        : await this.#installIn(replica, staged, head)
    if (!isInstalled) {
      stream.phase = 'receiving'
      this.#refuse(stream, 'unwanted')
      return
    }
    this.#host.counts.snapshotsInstalled++
    const ms = Math.round(this.#host.clock.now() - startedAt)
    const { rangeId, to: replicaId, node: from } = stream
    this.#host.logger.info('snapshot-installed', { rangeId, replicaId, from, index: head.index, ms })
    this.#answer(stream.node, stream.id, 'installed')
    this.#end(stream)
  }

  async #installIn(replica: Replica, staged: StagedSnapshot, { index, term }: SnapshotHead): Promise<boolean> {
    const { log } = this.#host
    if (replica.replicaId !== staged.replicaId || !replica.tryBeginRestore(index, term)) return false
    // The term of a snapshot is durable before the snapshot is.
    await log.flush()
    if (replica.isClosed) return false
    await this.#installAbsorbing(staged)
    replica.finishRestore()
    return true
  }

  /** What has merged with the range since goes as the snapshot comes. */
  async #installAbsorbing(staged: StagedSnapshot): Promise<ReplicaState> {
    const { state, log } = this.#host
    const { descriptor } = staged.head!
    const going = [...state.replicas.values()].filter((one) => {
      return isFrozenFor(one, descriptor.rangeId) && spansOverlap(one.descriptor, descriptor)
    })
    this.#host.absorb(descriptor.rangeId, going)
    const installed = await state.installSnapshot(staged, going)
    for (const { replicaId } of going) log.removeGroup(replicaId)
    return installed
  }

  async #installNew(stream: Stream, staged: StagedSnapshot, head: SnapshotHead): Promise<boolean> {
    const { log } = this.#host
    if (!this.#isWanted(stream, head)) return false
    const { to: replicaId, rangeId } = stream
    const former = this.#host.silencedState(rangeId)
    if (former !== undefined) await this.#host.destroy(former)
    // One that was the right half of a range, before a crash, may have voted, and have entries that count: they are kept.
    const group = log.groups.get(replicaId) ?? log.createGroup(replicaId)
    const { hardState } = group
    if (head.term > hardState.term) group.append([], { term: head.term, vote: 0, commitIndex: hardState.commitIndex })
    await log.flush()
    this.#host.onCreated(await this.#installAbsorbing(staged))
    return true
  }

  #onError(stream: Stream, error: unknown): void {
    if (stream.phase === 'over') return
    const code = error instanceof CordilleraError ? error.code : undefined
    const { logger } = this.#host
    if (code === 'CORRUPT' && stream.phase === 'receiving') {
      logger.warn('snapshot-corrupt', { rangeId: stream.rangeId, from: stream.node, detail: String(error) })
      this.#refuse(stream, 'failed')
      return
    }
    stream.phase = 'over'
    this.#streams.delete(stream)
    // What the disk refuses, or an invariant that is broken, stops the store; a store that is closed was stopped.
    if (code !== 'CLOSED') this.#host.onFatal(error)
  }

  /** Without a credit nothing more would come: it is owed until it can be said. */
  #grant(stream: Stream): void {
    stream.owed++
    this.#tryGrant(stream, 0)
  }

  /** Grants so many chunks, and what is owed. */
  #tryGrant(stream: Stream, count: number): boolean {
    const { node, id: streamId } = stream
    const chunks = count + stream.owed
    const isSent = this.#host.links.sendSnapshot(node, { kind: 'snapshot-credit', streamId, chunks })
    if (!isSent) return false
    stream.credits += chunks
    stream.owed = 0
    return true
  }

  #refuse(stream: Stream, outcome: SnapshotOutcome): void {
    this.#answer(stream.node, stream.id, outcome)
    this.#giveUp(stream)
  }

  /** Now, or as soon as the connection has room; once it is lost, nobody waits for it any more. */
  #answer(node: NodeId, streamId: number, outcome: SnapshotOutcome): void {
    const { links } = this.#host
    if (links.sendSnapshot(node, { kind: 'snapshot-ended', streamId, outcome })) return
    if (node !== 0 && links.isUp(node)) this.#unsaid.push({ node, streamId, outcome })
  }

  /** What is being installed already goes on. */
  #giveUp(stream: Stream): void {
    if (stream.phase === 'installing') return
    stream.staged?.abandon()
    this.#end(stream)
  }

  #end(stream: Stream): void {
    stream.phase = 'over'
    this.#streams.delete(stream)
    this.#beginNext()
  }

  #of(replicaId: ReplicaId): Stream | undefined {
    for (const stream of this.#streams) if (stream.to === replicaId) return stream
    return undefined
  }
}

/** Whether it waits to be merged with the range. */
function isFrozenFor({ descriptor: { merge } }: ReplicaState, leftId: RangeId): boolean {
  return merge?.kind === 'frozen' && merge.leftId === leftId
}
