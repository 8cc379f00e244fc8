import type { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import type { LogIndex, ReplicaId } from '@cordillera/base'
import { type BatchSummary, bodySeed } from './batch-header.js'
import { GroupImage } from './group-image.js'
import { type CarriedState, decodeRecords, type EntriesRecord, type LogRecord, RecordKind } from './record.js'
import type { Run } from './run-table.js'
import type { SegmentTable } from './segment-table.js'

/**
 * Rebuilds every group's image from the records of whole batches, in their order, and keeps account of damage.
 *
 * Damage that names its groups concerns those alone. Damage that does not concerns every group that existed then: all
 * those met before, and those met later without the record of their creation. From its damage on a group's entries are
 * not believed until a record says where its log ended when the damage was found (or it is reset). A group whose log
 * has a gap in the end, or ends before a carried state says that it did, is damaged too: something was lost unseen.
 */
export class Replay {
  readonly images = new Map<ReplicaId, GroupImage>()
  readonly #segments: SegmentTable
  readonly #progress = new Map<ReplicaId, Progress>()
  /** A part of the log was lost, and it cannot be said whose. */
  hasUnattributedDamage = false

  constructor(segments: SegmentTable) {
    this.#segments = segments
  }

  /** Throws `CORRUPT`, before anything is changed, when the body is not a sequence of records. */
  replayBatch(bytes: Buffer, at: number, summary: BatchSummary, number: number): void {
    const end = at + summary.byteLength
    const records = decodeRecords(bytes, at + summary.headerBytes, end)
    let crc = bodySeed(summary.sequence, number)
    let checked = at + summary.headerBytes
    for (const record of records) {
      if (!isOfEntries(record)) {
        this.#replay(record, summary.sequence)
        continue
      }
      const recordEnd = record.start + record.byteLength
      const crcBefore = crc32(bytes.subarray(checked, record.start), crc)
      crc = crc32(bytes.subarray(record.start, recordEnd), crcBefore)
      checked = recordEnd
      this.#replayEntries(record, {
        from: record.firstIndex,
        count: record.count,
        term: record.term,
        sequence: summary.sequence,
        offset: record.start,
        byteLength: record.byteLength,
        crcBefore,
        crcAfter: crc,
      })
    }
  }

  /** Records of these groups were lost; undefined: of any group. */
  onDamage(groups: readonly ReplicaId[] | undefined): void {
    if (groups === undefined) this.hasUnattributedDamage = true
    for (const group of groups ?? this.images.keys()) {
      this.#image(group, false).damaged = true
      this.#progressOf(group).isFrozen = true
    }
  }

  /** Call once, after the last batch. */
  finish(): void {
    for (const [group, image] of this.images) {
      const { expectedLastIndex, hasBase } = this.#progressOf(group)
      const contiguousEnd = endOfContiguous(image)
      if (!hasBase || contiguousEnd < image.lastIndex || image.lastIndex < expectedLastIndex) image.damaged = true
      if (contiguousEnd < image.lastIndex) image.runs.truncateFrom(contiguousEnd + 1, this.#segments)
    }
  }

  #replay(record: Exclude<LogRecord, EntriesRecord>, sequence: number): void {
    const segments = this.#segments
    const { group } = record
    if (record.kind === RecordKind.removal) {
      this.images.get(group)?.release(segments)
      this.images.delete(group)
      this.#progress.delete(group)
      return
    }
    const image = this.#image(group, record.kind === RecordKind.creation)
    const progress = this.#progressOf(group)
    switch (record.kind) {
      case RecordKind.hardState:
        image.setHardState(record.hardState, sequence, segments)
        return
      case RecordKind.flushed:
        image.setFlushed(record.index, sequence, segments)
        return
      case RecordKind.compaction:
        image.compact(record.index, record.term, sequence, segments)
        progress.hasBase = true
        return
      case RecordKind.reset:
        image.reset(record.index, record.term, sequence, segments)
        progress.expectedLastIndex = 0
        progress.hasBase = true
        progress.isFrozen = false
        return
      case RecordKind.creation:
        image.create(sequence, segments)
        progress.hasBase = true
        return
      case RecordKind.carriedState:
        this.#replayCarriedState(image, progress, record.state, sequence)
    }
  }

  #replayCarriedState(image: GroupImage, progress: Progress, state: CarriedState, sequence: number): void {
    image.carryState(state, sequence, this.#segments)
    progress.hasBase = true
    if (state.damaged) {
      image.runs.truncateFrom(state.lastIndex + 1, this.#segments)
      progress.isFrozen = false
    } else {
      progress.expectedLastIndex = state.lastIndex
    }
  }

  #replayEntries(record: EntriesRecord, run: Run): void {
    const image = this.#image(record.group, false)
    const progress = this.#progressOf(record.group)
    if (record.kind === RecordKind.carriedEntries) {
      image.carryEntries(run, this.#segments)
    } else if (!progress.isFrozen) {
      image.addEntries(run, this.#segments)
      progress.expectedLastIndex = 0
    }
  }

  #image(group: ReplicaId, isBorn: boolean): GroupImage {
    let image = this.images.get(group)
    if (!image) {
      image = new GroupImage()
      image.damaged = this.hasUnattributedDamage && !isBorn
      this.images.set(group, image)
    }
    return image
  }

  #progressOf(group: ReplicaId): Progress {
    let progress = this.#progress.get(group)
    if (!progress) {
      progress = { hasBase: false, isFrozen: false, expectedLastIndex: 0 }
      this.#progress.set(group, progress)
    }
    return progress
  }
}

function isOfEntries(record: LogRecord): record is EntriesRecord {
  return record.kind === RecordKind.entries || record.kind === RecordKind.carriedEntries
}

interface Progress {
  /** A record said where the group's log begins. */
  hasBase: boolean
  isFrozen: boolean
  expectedLastIndex: LogIndex
}

function endOfContiguous(image: GroupImage): LogIndex {
  let end = image.compactedIndex
  for (let i = 0; i < image.runs.count; i++) {
    const run = image.runs.at(i)
    if (run.from > end + 1) break
    end = Math.max(end, run.from + run.count - 1)
  }
  return end
}
