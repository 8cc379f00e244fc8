import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { assert, type Clock, type ReplicaId } from '@cordillera/base'
import {
  BatchKind,
  type BatchSummary,
  batchHeaderBytes,
  bodySeed,
  emptyBatchBytes,
  writeBatchHeader,
} from './batch-header.js'
import type { LoggedGroup } from './logged-group.js'
import { type Layout, layOut, type PendingRecord, pendingBytes } from './pending-record.js'
import { roundUpToSector, SEGMENT_HEADER_BYTES } from './segment-format.js'
import type { SegmentShelf } from './segment-shelf.js'
import type { SegmentTable } from './segment-table.js'

/** Where the log goes on. */
export interface WritePosition {
  /** In the active segment. */
  readonly position: number
  /** The number of the next batch. */
  readonly number: number
  readonly previous: BatchSummary | undefined
}

/** What one write and one fdatasync took, for whoever watches the disk. */
export interface SyncSample {
  readonly durationMs: number
  readonly records: number
  readonly entries: number
  readonly groups: number
  readonly bytes: number
}

export interface WrittenBatch {
  readonly taken: number
  readonly groups: readonly LoggedGroup[]
}

export interface BatchWriterOptions {
  readonly clock: Clock
  readonly segments: SegmentTable
  readonly shelf: SegmentShelf
  readonly segmentBytes: number
  readonly batchBytesMax: number
  readonly onSync: (sample: SyncSample) => void
}

/** More groups in one batch would make its header, and the copy of it in the next one, large. */
const BATCH_GROUPS_MAX = 4096
/** A buffer that had to grow beyond this for one large batch is not kept. */
const KEPT_BUFFER_BYTES_MAX = 16 * 1024 * 1024

/**
 * Writes batches, one at a time: a batch is begun only after the one before it is durable.
 *
 * Records are copied once, into a buffer that is used again for the next batch. Every batch states the oldest segment
 * that recovery needs as of itself; segments before it are given back once that batch and one more are durable, so that
 * the loss of one batch never makes recovery look for a file that is gone.
 */
export class BatchWriter {
  readonly #options: BatchWriterOptions
  #buffer: Buffer = Buffer.allocUnsafeSlow(64 * 1024)
  #position: number
  #number: number
  #previous: BatchSummary | undefined
  #declaredHead = 0
  /** When the write under way, or the wait for its segment, began; undefined when there is none. */
  writingSince: number | undefined

  constructor(options: BatchWriterOptions, start: WritePosition) {
    this.#options = options
    this.#position = start.position
    this.#number = start.number
    this.#previous = start.previous
  }

  /** The number of the last batch that is durable; 0 for none. Counts up by one, for as long as the log exists. */
  get durableBatch(): number {
    return this.#number - 1
  }

  /** Whether nothing but an empty batch lies at the end of the log. */
  get isSealed(): boolean {
    return this.#previous === undefined || this.#previous.kind !== BatchKind.data
  }

  /** Makes the records from `start` durable, as many as one batch takes. */
  async write(records: readonly PendingRecord[], start: number): Promise<WrittenBatch> {
    if (this.#shouldMoveOn()) await this.#moveOn()
    let plan = this.#plan(records, start)
    if (plan.end === start) {
      await this.#moveOn()
      plan = this.#plan(records, start)
      assert(plan.end > start, 'every record fits in a segment of its own')
    }
    const { groups, end, bytesMax } = plan
    await this.#write(BatchKind.data, groups, bytesMax, end - start, (layout) => {
      for (let i = start; i < end; i++) layOut(records[i]!, layout)
    })
    this.#shrinkBuffer()
    return { taken: end - start, groups }
  }

  /** Ends the log with an empty batch, so that damage to the last one with records cannot pass for a tear. */
  async seal(): Promise<void> {
    const bytes = emptyBatchBytes(this.#previous?.groups.length ?? 0) + emptyBatchBytes(0)
    if (bytes > this.#room) await this.#moveOn()
    else await this.#write(BatchKind.seal, [], bytes, 0, () => {})
  }

  get #room(): number {
    return this.#options.segmentBytes - this.#position
  }

  /** A segment that was begun before it was zeroed is left as soon as a zeroed one is ready. */
  #shouldMoveOn(): boolean {
    const { segments, shelf, segmentBytes } = this.#options
    const { active } = segments
    const isPartial = active.allocatedBytes < segmentBytes && this.#position > SEGMENT_HEADER_BYTES
    return isPartial && shelf.isReady(active.sequence + 1)
  }

  /** Which records fit in a batch here, such that the end of the segment can still be marked behind it. */
  #plan(records: readonly PendingRecord[], start: number): { end: number; groups: LoggedGroup[]; bytesMax: number } {
    const groups: LoggedGroup[] = []
    const previousGroups = this.#previous?.groups.length ?? 0
    const mark = this.#number
    let bodyBytes = 0
    let bytesMax = 0
    let end = start
    for (; end < records.length; end++) {
      const record = records[end]!
      const isNew = record.group.image.batchNumber !== mark
      const groupCount = groups.length + (isNew ? 1 : 0)
      const nextBytes = bodyBytes + pendingBytes(record)
      const total = roundUpToSector(batchHeaderBytes(groupCount, previousGroups) + nextBytes)
      if (total + emptyBatchBytes(groupCount) > this.#room || groupCount > BATCH_GROUPS_MAX) break
      if (nextBytes > this.#options.batchBytesMax && end > start) break
      if (isNew) groups.push(record.group)
      record.group.image.batchNumber = mark
      bodyBytes = nextBytes
      bytesMax = total
    }
    return { end, groups, bytesMax }
  }

  async #write(
    kind: BatchKind,
    groups: readonly LoggedGroup[],
    bytesMax: number,
    records: number,
    fill: (layout: Layout) => void,
  ): Promise<void> {
    const { segments, clock } = this.#options
    const { active } = segments
    const { sequence } = active
    const headerBytes = batchHeaderBytes(groups.length, this.#previous?.groups.length ?? 0)
    const buffer = this.#reserve(bytesMax)
    const crc = bodySeed(sequence, this.#number)
    const layout: Layout = { buffer, sequence, position: this.#position, segments, at: headerBytes, crc, entries: 0 }
    fill(layout)
    const byteLength = roundUpToSector(layout.at)
    buffer.fill(0, layout.at, byteLength)
    const bodyCrc = crc32(buffer.subarray(layout.at, byteLength), layout.crc)
    const summary = { sequence, headerBytes, byteLength, bodyCrc, kind, groups: groupIds(groups) }
    const { headSequence } = segments
    writeBatchHeader(buffer, 0, { ...summary, number: this.#number, headSequence, previous: this.#previous })
    this.writingSince = clock.now()
    await active.file.writeThrough([buffer.subarray(0, byteLength)], this.#position)
    const durationMs = clock.now() - this.writingSince
    this.writingSince = undefined
    this.#position += byteLength
    active.allocatedBytes = Math.max(active.allocatedBytes, this.#position)
    this.#number++
    this.#previous = summary
    for (const segment of segments.takeBefore(this.#declaredHead)) this.#options.shelf.offer(segment)
    this.#declaredHead = headSequence
    this.#options.onSync({ durationMs, records, entries: layout.entries, groups: groups.length, bytes: byteLength })
  }

  /**
   * Goes on in the next segment. Its header is durable before the mark that ends this one is written, and the mark is
   * durable before anything is written there: a log whose end mark leads nowhere has lost a segment.
   */
  async #moveOn(): Promise<void> {
    const { segments, shelf, clock } = this.#options
    // Its header may have to be written and synced first.
    this.writingSince = clock.now()
    const next = await shelf.take(segments.active.sequence + 1)
    await this.#write(BatchKind.end, [], emptyBatchBytes(this.#previous?.groups.length ?? 0), 0, () => {})
    segments.push(next)
    this.#position = SEGMENT_HEADER_BYTES
    shelf.prepare(next.sequence + 1)
  }

  #reserve(bytes: number): Buffer {
    if (this.#buffer.length < bytes) {
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(this.#buffer.length * 2, KEPT_BUFFER_BYTES_MAX)))
    }
    return this.#buffer
  }

  #shrinkBuffer(): void {
    if (this.#buffer.length > KEPT_BUFFER_BYTES_MAX) this.#buffer = Buffer.allocUnsafeSlow(KEPT_BUFFER_BYTES_MAX)
  }
}

/** The most bytes that the records of one entry may take, in a log with segments of this size. */
export function entryBytesMax(segmentBytes: number): number {
  const framing = SEGMENT_HEADER_BYTES + roundUpToSector(batchHeaderBytes(1, 0) + 64) + emptyBatchBytes(1)
  return segmentBytes - framing
}

function groupIds(groups: readonly LoggedGroup[]): ReplicaId[] {
  return groups.map((group) => group.replicaId)
}
