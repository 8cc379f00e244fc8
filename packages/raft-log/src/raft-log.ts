import { assert, type Clock, CordilleraError, type Logger, type ReplicaId } from '@cordillera/base'
import { BatchWriter, entryBytesMax, type SyncSample } from './batch-writer.js'
import { CarryForward } from './carry-forward.js'
import type { Disk } from './disk.js'
import { EntryCache } from './entry-cache.js'
import { EntryLoader } from './entry-loader.js'
import { GroupCommit } from './group-commit.js'
import { GroupImage } from './group-image.js'
import type { GroupLog } from './group-log.js'
import { LoggedGroup, type LogServices } from './logged-group.js'
import type { PendingRecord } from './pending-record.js'
import { RecordKind } from './record.js'
import { type Recovered, recover } from './recovery.js'
import { SEGMENT_HEADER_BYTES } from './segment-format.js'
import { SegmentShelf } from './segment-shelf.js'
import { closeUnread, type SegmentTable } from './segment-table.js'

export interface RaftLogOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
  /** The size of a segment's file; 64 MiB. An entry must fit in one. */
  readonly segmentBytes?: number
  /** Entries held in memory, all groups together; 64 MiB. What is not durable yet is held in any case. */
  readonly cacheBytesMax?: number
  /** A batch takes no more records above this; 8 MiB. */
  readonly batchBytesMax?: number
  /** Segments in use beyond this are reported; 2 GiB. */
  readonly logBytesMax?: number
  /** An idle log is sealed after this; 100 ms. */
  readonly sealAfterMs?: number
  /** Files kept to be used again, besides the next segment; 1. */
  readonly sparesMax?: number
  /** A new segment is zeroed in chunks of this; 1 MiB. */
  readonly zeroChunkBytes?: number
  /** Called for every write+fdatasync, empty batches included. */
  readonly syncObserver?: (sample: SyncSample) => void
  /** The log passed `logBytesMax`: these groups keep its oldest segment. Called once for each such segment. */
  readonly onLogBytesMax?: (report: LogBytesReport) => void
}

export interface LogBytesReport {
  readonly logBytes: number
  readonly groups: readonly ReplicaId[]
}

/** Cumulative since opening, unless it says otherwise. */
export interface RaftLogStats {
  readonly syncs: number
  readonly records: number
  readonly entries: number
  readonly bytes: number
  readonly carriedEntries: number
  readonly recycledSegments: number
  readonly loads: number
  readonly loadedBytes: number
  /** Now. */
  readonly segments: number
  readonly spareSegments: number
  readonly logBytes: number
  readonly cacheBytes: number
  /** Enqueued and not yet in a batch. */
  readonly pendingBytes: number
  /** How long the write+fdatasync under way, or the wait for a segment to write to, has been going on; 0 for none. */
  readonly writingForMs: number
  /** The disk has no room for the next segment. */
  readonly spaceShort: boolean
}

type Settings = Required<Omit<RaftLogOptions, 'syncObserver' | 'onLogBytesMax'>> &
  Pick<RaftLogOptions, 'syncObserver' | 'onLogBytesMax'>

const MIB = 1024 * 1024

/**
 * The one log of a store, shared by all its Raft groups: one write and one fdatasync serve every group that had
 * something to write.
 *
 * Not safe for two users of one directory. After a failure of the disk nothing succeeds any more: every call throws or
 * rejects with `DISK_FAILED`.
 */
export class RaftLog {
  readonly #settings: Settings
  readonly #groups = new Map<ReplicaId, LoggedGroup>()
  readonly #segments: SegmentTable
  readonly #shelf: SegmentShelf
  readonly #writer: BatchWriter
  readonly #commit: GroupCommit
  readonly #cache: EntryCache
  readonly #loader: EntryLoader
  readonly #carry: CarryForward
  readonly #services: LogServices
  readonly #counts = { syncs: 0, records: 0, entries: 0, bytes: 0 }
  #closing: Promise<void> | undefined
  #reportedSequence = 0
  /**
   * A part of the log was lost and it cannot be said whose: every group here is damaged, and so is any replica of the
   * store that is not here.
   */
  readonly hasUnattributedDamage: boolean
  /** The number of the last batch that recovery found; 0 for none. No less than {@link durableBatch} ever was before. */
  readonly recoveredBatch: number

  /**
   * Recovers the log; see `decisions/0002-tear-or-damage.md` for the rules. What was lost is in the groups' `damaged`.
   * Throws `LOG_DAMAGED` when nothing at all can be read of a log that was not empty, `DIRECTORY_INVALID` for a log
   * of another format, `DISK_FAILED` when reading or writing fails.
   */
  static async open(options: RaftLogOptions): Promise<RaftLog> {
    const settings = parse(options)
    try {
      await settings.disk.syncDirectory()
      const recovered = await recover(settings.disk, settings.logger)
      let log: RaftLog | undefined
      const shelf = newShelf(settings, recovered, (error) => {
        if (log) log.#commit.fail(error)
      })
      if (recovered.position === undefined) recovered.segments.push(await shelf.take(recovered.nextSequence))
      log = new RaftLog(settings, recovered, shelf)
      await log.#begin()
      return log
    } catch (error) {
      if (error instanceof CordilleraError) throw error
      throw new CordilleraError('DISK_FAILED', { detail: 'the Raft log could not be opened', cause: error })
    }
  }

  private constructor(settings: Settings, recovered: Recovered, shelf: SegmentShelf) {
    const { clock, segmentBytes } = settings
    const { segments } = recovered
    this.#settings = settings
    this.#segments = segments
    this.#shelf = shelf
    this.#cache = new EntryCache(settings.cacheBytesMax)
    this.#loader = new EntryLoader(segments, this.#cache, clock)
    this.hasUnattributedDamage = recovered.hasUnattributedDamage
    this.recoveredBatch = recovered.nextNumber - 1
    this.#writer = new BatchWriter(
      { clock, segments, shelf, segmentBytes, batchBytesMax: settings.batchBytesMax, onSync: (s) => this.#onSync(s) },
      {
        position: recovered.position ?? SEGMENT_HEADER_BYTES,
        number: recovered.nextNumber,
        previous: recovered.previous,
      },
    )
    this.#commit = new GroupCommit({
      clock,
      writer: this.#writer,
      sealAfterMs: settings.sealAfterMs,
      onDurable: (groups) => this.#onDurable(groups),
      onFailure: (error) => settings.logger.error('log-failed', { detail: error.message, cause: String(error.cause) }),
    })
    this.#services = {
      cache: this.#cache,
      entryBytesMax: entryBytesMax(segmentBytes),
      assertWritable: () => this.#assertOpen(),
      enqueue: (record: PendingRecord) => this.#commit.enqueue(record),
      loadInto: (group, from, to, bytesMax) => this.#load(group, from, to, bytesMax),
    }
    for (const [id, image] of recovered.images) {
      this.#groups.set(id, new LoggedGroup(id, image, this.#services, true))
    }
    this.#carry = new CarryForward({
      segments,
      groups: this.#groups,
      loader: this.#loader,
      logger: settings.logger,
      segmentBytes,
      enqueue: this.#services.enqueue,
      flush: () => this.#commit.flush(),
      onFailure: (error) => this.#commit.fail(error),
    })
  }

  /** The number of the last batch that is durable. A log that is opened later and has fewer is not this one any more. */
  get durableBatch(): number {
    return this.#writer.durableBatch
  }

  /** The groups that exist, by their replica. */
  get groups(): ReadonlyMap<ReplicaId, GroupLog> {
    return this.#groups
  }

  /** A group with an empty log. In memory; durable with the first thing written to it. Ids are never used again. */
  createGroup(replicaId: ReplicaId): GroupLog {
    this.#assertOpen()
    assert(!this.#groups.has(replicaId), 'a group is created once')
    const group = new LoggedGroup(replicaId, new GroupImage(), this.#services, false)
    this.#groups.set(replicaId, group)
    return group
  }

  /** Forgets the group and its log, durably with the next flush. Its handle must not be used again. */
  removeGroup(replicaId: ReplicaId): void {
    this.#assertOpen()
    const group = this.#groups.get(replicaId)
    if (!group) return
    this.#groups.delete(replicaId)
    group.onRemoved()
    if (group.isCreated) this.#services.enqueue({ kind: RecordKind.removal, group })
  }

  /**
   * Makes everything that was enqueued durable, across all groups.
   *
   * Resolves only after the sync has returned: votes and acknowledgements may be released then, and not before. While a
   * write is under way all callers share the next one and its promise. Rejects with `DISK_FAILED` after any failure; a
   * failed sync is never tried again.
   */
  flush(): Promise<void> {
    if (this.#closing && !this.#commit.failure) return Promise.reject(new CordilleraError('CLOSED'))
    return this.#commit.flush()
  }

  /** Has an idle log write an empty batch, so that `syncObserver` hears how its disk is. Nothing on a busy or ended one. */
  probe(): void {
    if (!this.#closing) this.#commit.probe()
  }

  /** Flushes, seals the log and closes its files. Idempotent. Rejects with `DISK_FAILED` if anything is not durable. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  get stats(): RaftLogStats {
    const { writingSince } = this.#writer
    return {
      ...this.#counts,
      carriedEntries: this.#carry.carriedEntries,
      recycledSegments: this.#shelf.recycled,
      loads: this.#loader.loads,
      loadedBytes: this.#loader.loadedBytes,
      segments: this.#segments.count,
      spareSegments: this.#shelf.spareCount,
      logBytes: this.#segments.allocatedBytes,
      cacheBytes: this.#cache.bytes,
      pendingBytes: this.#commit.pendingBytes,
      writingForMs: writingSince === undefined ? 0 : this.#settings.clock.now() - writingSince,
      spaceShort: this.#shelf.spaceShort,
    }
  }

  /** Whatever recovery found out is durable, and the log sealed, before anyone uses it. */
  async #begin(): Promise<void> {
    this.#shelf.prepare(this.#segments.active.sequence + 1)
    for (const group of this.#groups.values()) {
      if (group.damaged) this.#services.enqueue({ kind: RecordKind.carriedState, group })
    }
    await this.#commit.seal()
  }

  async #close(): Promise<void> {
    try {
      await this.#carry.stop()
      await this.#commit.close()
    } finally {
      await this.#shelf.close()
      for (const segment of this.#segments) await closeUnread(segment)
    }
  }

  async #load(group: LoggedGroup, from: number, to: number, bytesMax: number): Promise<void> {
    this.#assertOpen()
    await this.#loader.load(group, from, to, bytesMax)
  }

  #onSync(sample: SyncSample): void {
    this.#counts.syncs++
    this.#counts.records += sample.records
    this.#counts.entries += sample.entries
    this.#counts.bytes += sample.bytes
    this.#settings.syncObserver?.(sample)
  }

  #onDurable(groups: readonly LoggedGroup[]): void {
    for (const group of groups) group.onDurable()
    this.#cache.evict()
    this.#carry.tryBegin()
    if (this.#segments.count > 1 && this.#segments.allocatedBytes > this.#settings.logBytesMax) this.#reportSize()
  }

  #reportSize(): void {
    const { headSequence } = this.#segments
    if (headSequence <= this.#reportedSequence) return
    this.#reportedSequence = headSequence
    const groups: ReplicaId[] = []
    for (const { replicaId, image } of this.#groups.values()) {
      if (image.needsStateIn(headSequence) || image.runsIn(headSequence).length > 0) groups.push(replicaId)
    }
    this.#settings.onLogBytesMax?.({ logBytes: this.#segments.allocatedBytes, groups })
  }

  #assertOpen(): void {
    if (this.#commit.failure) throw this.#commit.failure
    if (this.#closing) throw new CordilleraError('CLOSED')
  }
}

function newShelf(settings: Settings, recovered: Recovered, onFailure: (error: unknown) => void): SegmentShelf {
  const shelf = new SegmentShelf({ ...settings, onFailure })
  for (const { slot } of recovered.segments) shelf.claimSlot(slot)
  for (const { slot } of recovered.spares) shelf.claimSlot(slot)
  const newestLast = [...recovered.spares].sort((a, b) => (a.sequence ?? 0) - (b.sequence ?? 0))
  for (const { slot, file, bytes } of newestLast) {
    shelf.addSpare({ slot, file, allocatedBytes: bytes })
  }
  return shelf
}

function parse(options: RaftLogOptions): Settings {
  const settings = {
    segmentBytes: 64 * MIB,
    cacheBytesMax: 64 * MIB,
    batchBytesMax: 8 * MIB,
    logBytesMax: 2048 * MIB,
    sealAfterMs: 100,
    sparesMax: 1,
    zeroChunkBytes: MIB,
    ...options,
  }
  if (settings.segmentBytes % SEGMENT_HEADER_BYTES !== 0 || settings.segmentBytes < 4 * SEGMENT_HEADER_BYTES) {
    throw new CordilleraError('CONFIG_INVALID', { detail: 'segmentBytes is a multiple of 4096, at least 16 KiB' })
  }
  return settings
}
