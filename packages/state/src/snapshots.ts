import { assert, type Clock, CordilleraError, paced, type ReplicaId } from '@cordillera/base'
import { OperationMemory, type Span } from '@cordillera/ranges'
import { feedDeletes } from './batch-feed.js'
import {
  dataSpan,
  historySpan,
  isHistory,
  memoryKey,
  replicaRecordKey,
  STAGED,
  stagedKey,
  stagedSpan,
} from './engine-keys.js'
import { OutgoingSnapshot } from './outgoing-snapshot.js'
import { decodeReplicaRecord, type InstallingRecord, type LiveRecord, memoryChecksum } from './records.js'
import { type LiveReplica, liveReplica, type ReplicaCatalog, type ReplicaState } from './replica-catalog.js'
import { readRows, SnapshotDecoder, type SnapshotHead } from './snapshot-codec.js'
import { StagedSnapshot } from './staged-snapshot.js'
import type { StateEngine } from './state-engine.js'
import type { Writers } from './writers.js'

/**
 * Snapshots of ranges: read out of the engine, and installed, all or nothing.
 *
 * What arrives is staged in the engine, chunk by chunk, beside what is there. Once it is all there and whole, one write turns
 * the replica's record into `installing`: from then on the snapshot is what the replica is, and the rest is done again after
 * a crash until it is finished. The old rows go, the new ones come, in batches of bounded size with other writers and pauses
 * between them, and one last write makes the record `live`, with the memory, and removes the chunks. Before that first write,
 * nothing has changed but the disk's free space: chunks without such a record are removed when they are given up, or at the
 * next opening.
 */
export interface SnapshotsOptions {
  readonly clock: Clock
  readonly engine: StateEngine
  readonly catalog: ReplicaCatalog
  readonly writers: Writers
  /** Of a writer: makes everything applied durable. */
  flush(): Promise<unknown>
  onInstalled(hasHistory: boolean): void
}

/** Rows that are deleted at once. */
const DELETED_MAX = 512

export class Snapshots {
  readonly #options: SnapshotsOptions
  readonly #staged = new Map<ReplicaId, StagedSnapshot>()
  readonly #outgoing = new Set<OutgoingSnapshot>()
  readonly #installing = new Set<ReplicaId>()
  /** Others use the disk, too. */
  #isOpen = false

  constructor(options: SnapshotsOptions) {
    this.#options = options
  }

  /** At the opening: what was being installed is, and what was not will not be. Throws `CORRUPT`. */
  async recover(): Promise<void> {
    const { catalog } = this.#options
    for (const record of catalog.installing.splice(0)) await this.#finish(record, undefined)
    await this.#deleteAll(STAGED)
    this.#isOpen = true
  }

  open(replicaId: ReplicaId): Promise<OutgoingSnapshot> {
    const { writers, engine, catalog } = this.#options
    return writers.enqueue(async () => {
      await this.#options.flush()
      const bytes = engine.get(replicaRecordKey(replicaId))
      const record = bytes === undefined ? undefined : decodeReplicaRecord(bytes)
      if (record?.kind !== 'live') throw new CordilleraError('CLOSED', { detail: 'the replica is being replaced' })
      const { descriptor, appliedIndex: index, appliedTerm: term } = record
      const memory = engine.get(memoryKey(replicaId)) ?? new Uint8Array(0)
      const head = { descriptor, index, term, safePoint: catalog.safePoint }
      const outgoing: OutgoingSnapshot = new OutgoingSnapshot(engine.snapshot(), head, memory, () =>
        this.#outgoing.delete(outgoing),
      )
      this.#outgoing.add(outgoing)
      return outgoing
    })
  }

  stage(replicaId: ReplicaId): StagedSnapshot {
    const { writers, engine } = this.#options
    this.#staged.get(replicaId)?.abandon()
    const put = (chunk: Uint8Array, number: number): Promise<void> =>
      writers.enqueue(() => {
        const batch = engine.batch()
        batch.put(stagedKey(replicaId, number), chunk)
        return writers.write(batch)
      })
    const onAbandoned = (): void => {
      if (this.#staged.get(replicaId) !== staged) return
      this.#staged.delete(replicaId)
      // Should the disk refuse this, it refuses everything from now on.
      writers.enqueue(() => this.#deleteIn(stagedSpan(replicaId))).catch(() => undefined)
    }
    const staged = new StagedSnapshot(replicaId, put, onAbandoned)
    this.#staged.set(replicaId, staged)
    return staged
  }

  isInstalling(replicaId: ReplicaId): boolean {
    return this.#installing.has(replicaId)
  }

  async install(staged: StagedSnapshot, absorbed: readonly LiveReplica[]): Promise<ReplicaState> {
    this.#installing.add(staged.replicaId)
    try {
      return await this.#install(staged, absorbed)
    } finally {
      this.#installing.delete(staged.replicaId)
    }
  }

  async #install(staged: StagedSnapshot, absorbed: readonly LiveReplica[]): Promise<ReplicaState> {
    const { catalog, writers, engine } = this.#options
    const { replicaId, head, memory } = staged
    assert(staged.isComplete && head !== undefined, 'a snapshot is all there before it is installed')
    assert(this.#staged.get(replicaId) === staged, 'nothing else was staged for the replica')
    this.#staged.delete(replicaId)
    const { descriptor, index: appliedIndex, term: appliedTerm } = head
    const checksum = memory.length === 0 ? 0 : memoryChecksum(memory)
    const record = { replicaId, descriptor, appliedIndex, appliedTerm, memoryChecksum: checksum }
    const live = catalog.live.get(replicaId)
    const before = live === undefined ? absorbed : [live, ...absorbed]
    const clears = coverOf([descriptor, ...before.map((one) => one.descriptor)])
    const installing: InstallingRecord = { kind: 'installing', ...record, clears }
    if (live === undefined) catalog.assertCreatable([installing], absorbed)
    else {
      assert(appliedIndex > live.appliedIndex && !live.sealed, 'the applied index never goes back')
      assert(live.descriptor.rangeId === descriptor.rangeId, 'a snapshot is of the replica’s range')
      catalog.assertDisjoint([installing], absorbed)
      live.sealed = true
    }
    for (const going of absorbed) going.sealed = true
    await writers.enqueue(async () => {
      await this.#options.flush()
      const batch = engine.batch()
      const removed = absorbed.map((going) => ({ kind: 'removed', replicaId: going.replicaId }) as const)
      for (const going of removed) batch.delete(memoryKey(going.replicaId))
      const records = catalog.stage(batch, [installing, ...removed])
      await writers.write(batch)
      catalog.commit(records)
      for (const going of removed) catalog.live.delete(going.replicaId)
    })
    return this.#finish(installing, live)
  }

  /** Whatever is open is closed. */
  async close(): Promise<void> {
    for (const outgoing of [...this.#outgoing]) await outgoing.close()
  }

  /** The record says `installing`. Can be done again from the start. */
  async #finish(installing: InstallingRecord, live: LiveReplica | undefined): Promise<ReplicaState> {
    const { catalog, writers, engine } = this.#options
    const { clears, ...indexes } = installing
    const { replicaId } = indexes
    await this.#deleteAll(dataSpan(clears))
    await this.#deleteAll(historySpan(clears))
    const { head, bytes, hasHistory } = await this.#putRows(installing)
    const record: LiveRecord = { ...indexes, kind: 'live' }
    const memory = bytes.length === 0 ? new OperationMemory() : OperationMemory.decode(bytes)
    return writers.enqueue(async () => {
      const batch = engine.batch()
      catalog.safePoint = Math.max(catalog.safePoint, head.safePoint)
      const records = catalog.stage(batch, [record])
      if (bytes.length === 0) batch.delete(memoryKey(replicaId))
      else batch.put(memoryKey(replicaId), bytes)
      await feedDeletes(batch, engine, stagedSpan(replicaId))
      await writers.write(batch)
      catalog.commit(records)
      this.#options.onInstalled(hasHistory)
      const fresh = liveReplica(record, memory)
      const replica = live === undefined ? fresh : Object.assign(live, fresh)
      catalog.live.set(replicaId, replica)
      return replica
    })
  }

  /** From the staged chunks, which are checked again: the engine may have lost some. `bytes`: the encoded memory. */
  async #putRows({
    replicaId,
    descriptor,
  }: InstallingRecord): Promise<{ head: SnapshotHead; bytes: Uint8Array; hasHistory: boolean }> {
    const { writers, engine } = this.#options
    const decoder = new SnapshotDecoder()
    let hasHistory = false
    const snapshot = engine.snapshot()
    const iterator = snapshot.iterate({ ...stagedSpan(replicaId), reverse: false })
    try {
      for (;;) {
        const [entry] = await iterator.next(1)
        if (entry === undefined) break
        const [, chunk] = entry
        decoder.add(chunk)
        const put = (): Promise<void> => {
          const batch = engine.batch()
          for (const [key, value] of readRows(chunk, descriptor)) {
            batch.put(key, value)
            if (isHistory(key)) hasHistory = true
          }
          return writers.write(batch)
        }
        await this.#step(() => writers.enqueue(put))
      }
    } finally {
      await iterator.close()
      await snapshot.close()
    }
    const { head } = decoder
    if (!decoder.isComplete || head === undefined) {
      throw new CordilleraError('CORRUPT', { detail: `the snapshot of replica ${replicaId} is not all there any more` })
    }
    return { head, bytes: decoder.memory, hasHistory }
  }

  async #deleteAll(span: Span): Promise<void> {
    const { writers } = this.#options
    // Behind what was deleted: it is in the way of every iterator for a while.
    for (let start: string | undefined = span.start; start !== undefined; ) {
      const rest: Span = { start, end: span.end }
      start = await this.#step(() => writers.enqueue(() => this.#deleteIn(rest, DELETED_MAX)))
    }
  }

  #step<T>(step: () => Promise<T>): Promise<T> {
    return this.#isOpen ? paced(this.#options.clock, step) : step()
  }

  /** Of a writer: deletes what is in the span, so many keys at most. Returns where there may be more. */
  async #deleteIn(span: Span, max?: number): Promise<string | undefined> {
    const { engine, writers } = this.#options
    const batch = engine.batch()
    const { count, end } = await feedDeletes(batch, engine, span, max)
    if (count > 0) await writers.write(batch)
    return count === max ? end : undefined
  }
}

/** From the first of their keys to the last: of a range before and after it was cut or joined, and of those that it was joined with. */
function coverOf(spans: readonly Span[]): Span {
  const [first, ...others] = spans as [Span, ...Span[]]
  return others.reduce((cover, { start, end }) => {
    const isLonger = cover.end !== null && (end === null || end > cover.end)
    return { start: start < cover.start ? start : cover.start, end: isLonger ? end : cover.end }
  }, first)
}
