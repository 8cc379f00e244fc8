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
  type VersionedValue,
  type Write,
} from '@cordillera/ranges'
import { AppliedCut } from './applied-cut.js'
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
  type NewReplica,
  ReplicaCatalog,
  type ReplicaState,
  stageMemory,
} from './replica-catalog.js'
import { openRows, type RowSource } from './rows.js'
import { fillPage } from './scan.js'
import { Snapshots } from './snapshots.js'
import type { StagedSnapshot } from './staged-snapshot.js'
import type { StateEngine } from './state-engine.js'
import { type Successor, writeSuccession } from './succession.js'
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
  readonly #applied: AppliedCut
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
    if (catalog.isNew) await writeFirstRecord(options.engine, catalog)
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
    this.#applied = new AppliedCut(catalog, this.#overlay)
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
    this.#applied.apply(this.#ownReplica(replica), index, term, writes, descriptor)
  }

  /**
   * Applies an entry that cuts the replica's range in two: it keeps the left half, and a new replica, as if its log began at
   * `right.applied`, has the right one, with a copy of the memory. No data moves. Durable with the next flush, both or neither.
   */
  applySplit(replica: ReplicaState, index: LogIndex, term: Term, left: Descriptor, right: NewReplica): ReplicaState {
    this.#assertServing()
    return this.#applied.split(this.#ownReplica(replica), index, term, left, right)
  }

  /**
   * Applies an entry that makes one range of two: the left's replica has what both have, and remembers what both do; the right's
   * is gone, and leaves a tombstone. No data moves. Durable with the next flush, all of it or nothing. The right has applied
   * everything that it ever will.
   */
  applyMerge(left: ReplicaState, index: LogIndex, term: Term, whole: Descriptor, right: ReplicaState): void {
    this.#assertServing()
    this.#applied.merge(this.#ownReplica(left), index, term, whole, this.#ownReplica(right))
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
   * Makes another replica of one that applies nothing any more: the same state under an id that was never used here; a tombstone
   * stays of what it was. One atomic write; durable when it resolves.
   */
  succeedReplica(replica: ReplicaState, successor: Successor): Promise<ReplicaState> {
    const live = this.#ownReplica(replica)
    live.sealed = true
    return this.#writers.enqueue(async () => {
      await this.#flushCut()
      const [engine, catalog, writers] = [this.#engine, this.#catalog, this.#writers]
      return writeSuccession({ engine, catalog, writers }, live, successor)
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
   * when the process dies. A replica that is here applies nothing meanwhile and is not ahead of it; a new one's id was never used
   * here. Its span overlaps with no other replica's, but for those that have merged with it, which go as it comes
   * (`absorbed`), with all that they had. Durable when it resolves.
   */
  installSnapshot(staged: StagedSnapshot, absorbed: readonly ReplicaState[] = []): Promise<ReplicaState> {
    return this.#snapshots.install(
      staged,
      absorbed.map((replica) => this.#ownReplica(replica)),
    )
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
    if (!this.#applied.isEmpty) {
      this.#flushing = true
      try {
        await this.#writeCut()
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
  async #writeCut(): Promise<void> {
    const startedAt = this.#clock.now()
    const frozen = this.#overlay.cut()
    const { advanced, absorbed } = this.#applied.take()
    const batch = this.#engine.batch()
    const records: LiveRecord[] = []
    for (const replica of advanced) {
      const { replicaId, descriptor, appliedIndex, appliedTerm } = replica
      const memoryChecksum = stageMemory(batch, replica)
      records.push({ kind: 'live', replicaId, descriptor, appliedIndex, appliedTerm, memoryChecksum })
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
    const removed = absorbed.map(({ replicaId }) => ({ kind: 'removed', replicaId }) as const)
    for (const { replicaId } of removed) batch.delete(memoryKey(replicaId))
    const staged = this.#catalog.stage(batch, [...records, ...removed])
    await batch.write()
    this.#catalog.commit(staged)
    for (const { replicaId, appliedIndex } of records) this.#catalog.onFlushed(replicaId, appliedIndex)
    this.#overlay.settle()
    this.stats.flushes++
    this.stats.entriesFlushed += frozen.values.size
    this.stats.historyFlushed += history
    const durationMs = this.#clock.now() - startedAt
    this.#onFlush?.({ entries: frozen.values.size, history, replicas: advanced.length, durationMs })
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

/** Nothing is ever written before the record of the store: chunks of a first snapshot, of which a crash leaves some, would be. */
async function writeFirstRecord(engine: StateEngine, catalog: ReplicaCatalog): Promise<void> {
  const batch = engine.batch()
  const staged = catalog.stage(batch, [])
  await batch.write()
  catalog.commit(staged)
}
