import {
  assert,
  type Clock,
  type Key,
  type Logger,
  type LogIndex,
  type ReplicaId,
  type Term,
  type Version,
} from '@cordillera/base'
import {
  type Descriptor,
  decodeStoredValue,
  OperationMemory,
  type Span,
  spanContains,
  type VersionedValue,
  type Write,
} from '@cordillera/ranges'
import { feedBatch, feedDeletes } from './batch-feed.js'
import { dataKey, dataSpan, historySpan, memoryKey } from './engine-keys.js'
import { HeldHistory } from './held-history.js'
import { findMiddleKey } from './middle-key.js'
import type { OutgoingSnapshot } from './outgoing-snapshot.js'
import { Overlay } from './overlay.js'
import { Page, type PageLimits, type ScanEntry } from './page.js'
import type { LiveRecord } from './records.js'
import {
  type LiveReplica,
  liveReplica,
  ReplicaCatalog,
  type ReplicaState,
  splitReplica,
  stageMemory,
} from './replica-catalog.js'
import { openRows, type RowSource } from './rows.js'
import { fillPage } from './scan.js'
import { Snapshots } from './snapshots.js'
import type { StagedSnapshot } from './staged-snapshot.js'
import type { StateEngine } from './state-engine.js'
import { Writers } from './writers.js'

/**
 * The state of all replicas of a store: what their logs, applied, amount to.
 *
 * Applied entries are visible at once and durable with the next flush, which writes all of them and the indexes they
 * bring their replicas to in one atomic, synced batch. After a crash every replica is exactly at its flushed index.
 * Reads and scans see every applied entry and nothing else; a scan sees one moment.
 *
 * Of every key the newest version is one look-up away. Older ones are kept for the snapshots at or above the safe point:
 * in the overlay, and in the engine's history when a flush writes over them. Any failure of the engine to
 * write is fatal: the store keeps what it has, and refuses every call from then on. It never decides when to flush.
 */
export interface StateStoreOptions {
  /** Owned by the store from now on. */
  readonly engine: StateEngine
  readonly clock: Clock
  readonly logger: Logger
  /** Unflushed bytes from which a flush is due (64 MiB); see {@link StateStore.flushDue}. */
  readonly flushBytes?: number
  /** Bounds the cache of what was flushed (twice `flushBytes`). 0 switches it off. */
  readonly cacheBytesMax?: number
  /** Called after every flush; must not throw. */
  readonly onFlush?: (sample: FlushSample) => void
}

export interface FlushSample {
  /** Distinct keys written. */
  readonly entries: number
  /** Older versions that snapshots may still see. */
  readonly history: number
  /** Replicas whose flushed index rose. */
  readonly replicas: number
  /** From the cut until it was durable. */
  readonly durationMs: number
}

export interface ScanRequest extends Span, PageLimits {
  readonly reverse: boolean
  /** The snapshot, not below the safe point; 0 for the newest versions. */
  readonly at: Version
}

export interface ScanResult {
  readonly entries: readonly ScanEntry[]
  /** Whether the span holds another entry behind the last one. */
  readonly more: boolean
}

export interface NewReplica {
  readonly replicaId: ReplicaId
  readonly descriptor: Descriptor
  /** Where its log begins: the state is as after this entry. */
  readonly applied: { readonly index: LogIndex; readonly term: Term }
}

const FLUSH_BYTES = 64 << 20

/** Cumulative counts. */
export interface StateStats {
  flushes: number
  entriesFlushed: number
  historyFlushed: number
  /** Point reads that the overlay and its cache could not answer. */
  engineReads: number
  scans: number
}

export class StateStore {
  readonly #engine: StateEngine
  readonly #clock: Clock
  readonly #catalog: ReplicaCatalog
  readonly #overlay: Overlay
  readonly #flushBytes: number
  readonly #onFlush: ((sample: FlushSample) => void) | undefined
  readonly stats: StateStats = { flushes: 0, entriesFlushed: 0, historyFlushed: 0, engineReads: 0, scans: 0 }
  #advanced: LiveReplica[] = []
  readonly #writers: Writers
  readonly #snapshots: Snapshots
  /** A flush that has not made its cut yet: whoever asks now is served by it. */
  #nextFlush: Promise<ReadonlyMap<ReplicaId, LogIndex>> | undefined
  #flushing = false
  readonly #scans = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined
  readonly #history: HeldHistory

  /** Reads and verifies the records of all replicas. Throws `CORRUPT` when they cannot be trusted. */
  static async open(options: StateStoreOptions): Promise<StateStore> {
    const catalog = await ReplicaCatalog.load(options.engine)
    const store = new StateStore(options, catalog, await HeldHistory.open(options.engine))
    await store.#snapshots.recover()
    return store
  }

  private constructor(options: StateStoreOptions, catalog: ReplicaCatalog, history: HeldHistory) {
    this.#engine = options.engine
    this.#clock = options.clock
    this.#writers = new Writers(options.logger)
    this.#flushBytes = options.flushBytes ?? FLUSH_BYTES
    this.#overlay = new Overlay(options.cacheBytesMax ?? 2 * this.#flushBytes)
    this.#onFlush = options.onFlush
    this.#catalog = catalog
    this.#history = history
    this.#snapshots = new Snapshots({
      clock: options.clock,
      engine: options.engine,
      catalog,
      writers: this.#writers,
      flush: () => this.#flushCut(),
      onInstalled: (hasHistory) => this.#onInstalled(hasHistory),
    })
  }

  /** Whether a replica with this id has never been here. */
  mayCreate(replicaId: ReplicaId): boolean {
    return !this.#catalog.knows(replicaId)
  }

  /** A snapshot is taking the place of what this replica has; it is not to be removed. */
  isInstalling(replicaId: ReplicaId): boolean {
    return this.#snapshots.isInstalling(replicaId)
  }

  /** The replicas that live here. */
  get replicas(): ReadonlyMap<ReplicaId, ReplicaState> {
    return this.#catalog.live
  }

  /** Memory held by what is not durable yet; what was overwritten counts. */
  get unflushedBytes(): number {
    return this.#overlay.unflushedBytes
  }

  /** Whether a flush is being written. */
  get flushing(): boolean {
    return this.#flushing
  }

  /** Whether enough is unflushed that a flush should begin. */
  get flushDue(): boolean {
    return !this.#flushing && this.#overlay.unflushedBytes >= this.#flushBytes
  }

  async createReplica(
    descriptor: Descriptor,
    replicaId: ReplicaId,
    applied: { readonly index: LogIndex; readonly term: Term },
  ): Promise<ReplicaState> {
    const [created] = await this.createReplicas([{ replicaId, descriptor, applied }])
    return created!
  }

  /**
   * Adds replicas whose spans are empty here, in one atomic write; durable when it resolves. Their ids were never used
   * on this store and their spans overlap with no replica's.
   */
  createReplicas(added: readonly NewReplica[]): Promise<readonly ReplicaState[]> {
    return this.#writers.enqueue(async () => {
      const records: LiveRecord[] = []
      for (const { replicaId, descriptor, applied } of added) {
        const { index: appliedIndex, term: appliedTerm } = applied
        records.push({ kind: 'live', replicaId, descriptor, appliedIndex, appliedTerm, memoryChecksum: 0 })
      }
      this.#catalog.assertCreatable(records)
      const batch = this.#engine.batch()
      const staged = this.#catalog.stage(batch, records)
      await this.#writers.write(batch)
      this.#catalog.commit(staged)
      const created = records.map((record) => liveReplica(record, new OperationMemory()))
      for (const replica of created) this.#catalog.live.set(replica.replicaId, replica)
      return created
    })
  }

  /** The newest value; undefined when there is none. It may be a view of an applied entry: do not change it. */
  get(key: Key): VersionedValue | undefined {
    this.#assertServing()
    const overlaid = this.#overlay.get(key)
    if (overlaid !== undefined) return present(overlaid)
    this.stats.engineReads++
    const stored = this.#engine.get(dataKey(key))
    return stored === undefined ? undefined : decodeStoredValue(stored)
  }

  /** The version of the newest value; 0 when there is none. */
  versionOf(key: Key): Version {
    const overlaid = this.#overlay.get(key)
    if (overlaid !== undefined) return overlaid.isDeletion ? 0 : overlaid.version
    return this.get(key)?.version ?? 0
  }

  /**
   * The value that a snapshot at `at` sees, as of the moment of the call. `at` is not below the safe point. A promise when
   * it has to be looked for in the history.
   */
  getAt(key: Key, at: Version): VersionedValue | undefined | Promise<VersionedValue | undefined> {
    this.#assertServing()
    const overlaid = this.#overlay.getAt(key, at)
    if (typeof overlaid !== 'string') return present(overlaid)
    if (overlaid === 'engine') {
      this.stats.engineReads++
      const stored = this.#engine.get(dataKey(key))
      const newest = stored === undefined ? undefined : decodeStoredValue(stored)
      if (newest !== undefined && newest.version <= at) return newest
    }
    return this.#history.isHeld ? this.#track(this.#history.find(key, at)) : undefined
  }

  /**
   * What no snapshot at or above it can see may be gone. A reader at a timestamp below it is refused by whoever serves
   * it. Never goes back; durable with the next flush, and with whatever was collected for it.
   */
  get safePoint(): Version {
    return this.#catalog.safePoint
  }

  /** Nobody will read below `to` any more. Ignored when it is not ahead. */
  advanceSafePoint(to: Version): void {
    if (to > this.#catalog.safePoint) this.#catalog.safePoint = to
  }

  /**
   * Applies the entry at `index`, the one behind the replica's last; visible at once, durable with the next flush. Keys
   * lie in the replica's span, and versions rise. Values are kept as they are: they must not change any more. `descriptor`
   * is what the range is from this entry on, of the same span.
   */
  apply(
    replica: ReplicaState,
    index: LogIndex,
    term: Term,
    writes: readonly Write[],
    descriptor: Descriptor = replica.descriptor,
  ): void {
    this.#assertServing()
    const live = this.#ownReplica(replica)
    assertNext(live, index, term)
    if (writes.length > 0) {
      for (const { key } of writes) assert(spanContains(live.descriptor, key), 'a replica writes within its span')
      this.#overlay.write(live.descriptor, writes, this.#catalog.safePoint)
    }
    const { start, end } = live.descriptor
    assert(descriptor.start === start && descriptor.end === end, 'an entry leaves the span as it is')
    this.#advance(live, index, term, descriptor)
  }

  /**
   * Applies an entry that cuts the replica's range in two: it keeps the left half, and a new replica, as if its log began at
   * `right.applied`, has the right one, with a copy of the memory. No data moves. Durable with the next flush, both or neither.
   */
  applySplit(replica: ReplicaState, index: LogIndex, term: Term, left: Descriptor, right: NewReplica): ReplicaState {
    this.#assertServing()
    const live = this.#ownReplica(replica)
    const { start, end } = live.descriptor
    const isWhole = left.start === start && left.end === right.descriptor.start && right.descriptor.end === end
    assert(isWhole && left.rangeId === live.descriptor.rangeId, 'the halves of a range are the range')
    const { replicaId, descriptor, applied } = right
    assert(!this.#catalog.knows(replicaId), 'a replica id is never used again')
    assertNext(live, index, term)
    this.#advance(live, index, term, left)
    const created = splitReplica(
      { replicaId, descriptor, appliedIndex: applied.index, appliedTerm: applied.term },
      live.memory,
    )
    this.#catalog.live.set(replicaId, created)
    this.#noteAdvanced(created)
    return created
  }

  /** One page of a span, as of the moment of the call: exactly what was applied before. */
  scan(request: ScanRequest): Promise<ScanResult> {
    const refusal = this.#writers.refusal()
    if (refusal !== undefined) return Promise.reject(refusal)
    this.stats.scans++
    return this.#track(this.#scan(request))
  }

  /** Closing waits for it. */
  #track<T>(read: Promise<T>): Promise<T> {
    this.#scans.add(read)
    const onEnd = (): boolean => this.#scans.delete(read)
    read.then(onEnd, onEnd)
    return read
  }

  /** What the span's data takes on disk, as an estimate: what is not flushed yet does not show. 0 once closed. */
  approximateBytes(span: Span): Promise<number> {
    if (this.#writers.refusal() !== undefined) return Promise.resolve(0)
    const { start, end } = dataSpan(span)
    assert(end !== null, 'data ends before other things begin')
    return this.#engine.approximateBytes({ start, end })
  }

  /** A key that leaves about as many bytes of keys and values on either side; undefined when there are not two keys. */
  async middleKey(span: Span): Promise<Key | undefined> {
    await this.flush()
    return this.#track(findMiddleKey(this.#engine, this.#clock, span))
  }

  /**
   * Makes everything applied before the call durable: one consistent cut of all replicas, in one atomic write.
   * Resolves to the flushed index of every replica. One flush at a time: a call during one waits for it and then
   * flushes anew, together with every other call that waits. Rejects with `DISK_FAILED`, for ever, once one failed.
   */
  flush(): Promise<ReadonlyMap<ReplicaId, LogIndex>> {
    const refusal = this.#writers.refusal()
    if (refusal !== undefined) return Promise.reject(refusal)
    this.#nextFlush ??= this.#writers.enqueue(() => {
      this.#nextFlush = undefined
      return this.#flushCut()
    })
    return this.#nextFlush
  }

  /**
   * Removes a replica that applies nothing any more, and everything in its span, in one atomic write; durable when it
   * resolves. A tombstone stays: the id is never used again. The batch holds every key of the span at once.
   */
  removeReplica(replica: ReplicaState): Promise<void> {
    const { replicaId, descriptor } = replica
    this.#ownReplica(replica).sealed = true
    return this.#writers.enqueue(async () => {
      await this.#flushCut()
      const batch = this.#engine.batch()
      await feedDeletes(batch, this.#engine, dataSpan(descriptor))
      await feedDeletes(batch, this.#engine, historySpan(descriptor))
      batch.delete(memoryKey(replicaId))
      const staged = this.#catalog.stage(batch, [{ kind: 'removed', replicaId }])
      await this.#writers.write(batch)
      this.#catalog.commit(staged)
      this.#catalog.live.delete(replicaId)
      this.#overlay.dropClean()
    })
  }

  /**
   * A snapshot of the replica's range, not before everything applied so far, with its history: as of a flush that this asks
   * for. Close it; closing the store does.
   */
  openSnapshot(replica: ReplicaState): Promise<OutgoingSnapshot> {
    this.#ownReplica(replica)
    return this.#snapshots.open(replica.replicaId)
  }

  /**
   * Takes the chunks of a snapshot for a replica: one that is here, or a new one. They are kept on the disk, and nothing else
   * changes before {@link installSnapshot}. What was staged for it before is given up.
   */
  stageSnapshot(replicaId: ReplicaId): StagedSnapshot {
    return this.#snapshots.stage(replicaId)
  }

  /**
   * Puts a complete snapshot in the place of everything that the replica has, its memory included: all of it or nothing, also
   * when the process dies. A replica that is here applies nothing meanwhile, is not ahead of it and has its span; a new one's
   * span overlaps with no replica's and its id was never used here. Durable when it resolves.
   */
  installSnapshot(staged: StagedSnapshot): Promise<ReplicaState> {
    return this.#snapshots.install(staged)
  }

  /**
   * Flushes, waits for scans under way and closes the engine; every later call is refused with `CLOSED`. A store that
   * has failed closes without flushing. Rejects when the last flush failed; the engine is closed all the same.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    this.#writers.end()
    return this.#closing
  }

  async #close(): Promise<void> {
    try {
      if (!this.#writers.hasFailed) await this.flush()
    } finally {
      await this.#writers.idle()
      await Promise.allSettled(this.#scans)
      await this.#snapshots.close()
      await this.#engine.close()
    }
  }

  async #flushCut(): Promise<ReadonlyMap<ReplicaId, LogIndex>> {
    const cut = this.#advanced
    if (cut.length > 0) {
      this.#flushing = true
      try {
        await this.#writeCut(cut)
      } catch (error) {
        throw this.#writers.fail(error)
      } finally {
        this.#flushing = false
      }
    }
    const flushed = new Map<ReplicaId, LogIndex>()
    for (const { replicaId, flushedIndex } of this.#catalog.live.values()) flushed.set(replicaId, flushedIndex)
    return flushed
  }

  /** Everything up to the first `await` is the cut; what is applied later belongs to the next one. */
  async #writeCut(cut: readonly LiveReplica[]): Promise<void> {
    const startedAt = this.#clock.now()
    const frozen = this.#overlay.cut()
    this.#advanced = []
    const batch = this.#engine.batch()
    const records: LiveRecord[] = []
    for (const replica of cut) {
      const { replicaId, descriptor, appliedIndex, appliedTerm } = replica
      const memoryChecksum = stageMemory(batch, replica)
      records.push({ kind: 'live', replicaId, descriptor, appliedIndex, appliedTerm, memoryChecksum })
      replica.advanced = false
    }
    const { safePoint } = this.#catalog
    await this.#history.collect(batch, safePoint)
    const history = await feedBatch(batch, {
      values: frozen.values,
      clock: this.#clock,
      safePoint,
      flushed: (key) => this.#flushed(key),
    })
    if (history > 0) this.#history.onPut()
    const staged = this.#catalog.stage(batch, records)
    await batch.write()
    this.#catalog.commit(staged)
    for (const [i, replica] of cut.entries()) replica.flushedIndex = records[i]!.appliedIndex
    this.#overlay.settle()
    this.stats.flushes++
    this.stats.entriesFlushed += frozen.values.size
    this.stats.historyFlushed += history
    const durationMs = this.#clock.now() - startedAt
    this.#onFlush?.({ entries: frozen.values.size, history, replicas: cut.length, durationMs })
  }

  /** The newest version in the engine, before a flush writes over it. */
  #flushed(key: Key): VersionedValue | undefined {
    const cached = this.#overlay.flushed(key)
    if (cached !== undefined) return present(cached)
    const stored = this.#engine.get(dataKey(key))
    return stored === undefined ? undefined : decodeStoredValue(stored)
  }

  /** Overlay and engine of the moment of the call: the first `await` is behind both. */
  async #scan(request: ScanRequest): Promise<ScanResult> {
    const { reverse } = request
    const limits: PageLimits = { limit: request.limit, bytesMax: request.bytesMax, values: request.values }
    const page = new Page(limits)
    const overlaid = this.#overlay.collect(request, request.at, reverse, limits)
    const snapshot = this.#engine.snapshot()
    let rows: RowSource | undefined
    try {
      rows = openRows(snapshot, { ...request, hasHistory: this.#history.isHeld })
      await fillPage(page, overlaid, rows, request)
    } finally {
      await rows?.close()
      await snapshot.close()
    }
    return { entries: page.entries, more: page.full }
  }

  #advance(live: LiveReplica, index: LogIndex, term: Term, descriptor: Descriptor): void {
    const { version, confVersion } = live.descriptor.epoch
    assert(descriptor.epoch.version >= version && descriptor.epoch.confVersion >= confVersion, 'epochs do not go back')
    live.descriptor = descriptor
    live.appliedIndex = index
    live.appliedTerm = term
    this.#noteAdvanced(live)
  }

  #noteAdvanced(live: LiveReplica): void {
    if (live.advanced) return
    live.advanced = true
    this.#advanced.push(live)
  }

  #onInstalled(hasHistory: boolean): void {
    this.#overlay.dropClean()
    if (hasHistory) this.#history.onPut()
  }

  #ownReplica(replica: ReplicaState): LiveReplica {
    const live = this.#catalog.live.get(replica.replicaId)
    assert(live !== undefined && live === replica, 'the replica is one of this store')
    return live
  }

  #assertServing(): void {
    const refusal = this.#writers.refusal()
    if (refusal !== undefined) throw refusal
  }
}

function present({ version, value }: Write): VersionedValue | undefined {
  return value === undefined ? undefined : { version, value }
}

function assertNext(live: LiveReplica, index: LogIndex, term: Term): void {
  assert(!live.sealed, 'a replica that is being removed applies nothing')
  assert(index === live.appliedIndex + 1, 'entries are applied one behind the other')
  assert(term >= live.appliedTerm, 'terms do not go back in a log')
}
