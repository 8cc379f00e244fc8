import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { type Clock, CordilleraError, type LogIndex } from '@cordillera/base'
import { decodeEntry, type Entry } from '@cordillera/raft-core'
import { ENTRY_OVERHEAD_BYTES, type EntryCache } from './entry-cache.js'
import type { LoggedGroup } from './logged-group.js'
import { RECORD_HEAD_BYTES } from './record.js'
import type { Run } from './run-table.js'
import { beginRead, endRead, type SegmentTable } from './segment-table.js'

export interface RunPlace {
  readonly group: LoggedGroup
  readonly run: Run
}

/** Neighbouring records are read together up to this size, with at most this much of others' between two of them. */
const READ_BYTES_MAX = 1024 * 1024
const READ_GAP_BYTES_MAX = 32 * 1024

/**
 * Reads entries back from the segments.
 *
 * Every record is verified by itself, against the running checksum of the batch that it was written in: bytes that rot
 * on disk never reach a peer or the state. Loads are bounded together by the cache.
 */
export class EntryLoader {
  readonly #segments: SegmentTable
  readonly #cache: EntryCache
  readonly #clock: Clock
  loads = 0
  loadedBytes = 0

  constructor(segments: SegmentTable, cache: EntryCache, clock: Clock) {
    this.#segments = segments
    this.#cache = cache
    this.#clock = clock
  }

  /** See `GroupLog.load`. */
  async load(group: LoggedGroup, from: LogIndex, to: LogIndex, bytesMax: number): Promise<void> {
    await this.#cache.reserve(bytesMax)
    const { changes } = group
    let reserved = bytesMax
    try {
      const last = Math.min(to, group.lastIndex, group.tail.firstIndex - 1)
      if (from <= group.compactedIndex || from > last || this.#cache.findWindow(group, from)) return
      const entries = await this.#read(selectRuns(group, from, last, bytesMax), from, last, bytesMax)
      if (group.changes !== changes || entries.length === 0) return
      let bytes = 0
      for (const entry of entries) bytes += entry.bytes.length + ENTRY_OVERHEAD_BYTES
      this.loads++
      this.loadedBytes += bytes
      this.#cache.adjustReserved(bytes - reserved)
      reserved = bytes
      this.#cache.addWindow({ owner: group, from, entries, bytes })
    } finally {
      const release = (): void => this.#cache.release(reserved)
      this.#clock.defer(() => this.#clock.defer(release))
    }
  }

  /**
   * The whole record of each run, or, in its place, the error that says why it cannot be trusted; its group is then
   * marked as damaged. The runs are neighbours in one segment ({@link neighboursEnd}). Empty when the segment is no
   * longer part of the log.
   */
  async readRecords(places: readonly RunPlace[]): Promise<(Buffer | CordilleraError)[]> {
    const first = places[0]!.run
    const last = places[places.length - 1]!.run
    const segment = this.#segments.tryFind(first.sequence)
    if (!segment) return []
    const bytes = Buffer.allocUnsafeSlow(last.offset + last.byteLength - first.offset)
    beginRead(segment)
    try {
      const length = await segment.file.read(bytes, first.offset)
      return places.map((place) => {
        const start = place.run.offset - first.offset
        const record = bytes.subarray(start, start + place.run.byteLength)
        const isRead = start + record.length <= length
        return isRead && crc32(record, place.run.crcBefore) === place.run.crcAfter ? record : damageAt(place, undefined)
      })
    } catch (error) {
      return places.map((place) => damageAt(place, error))
    } finally {
      endRead(segment)
    }
  }

  async #read(places: readonly RunPlace[], from: LogIndex, to: LogIndex, bytesMax: number): Promise<Entry[]> {
    const entries: Entry[] = []
    let bytes = 0
    for (let start = 0; start < places.length; ) {
      const end = neighboursEnd(places, start)
      const records = await this.readRecords(places.slice(start, end))
      if (records.length === 0) return entries
      for (let i = 0; i < records.length; i++) {
        const { run } = places[start + i]!
        const record = records[i]!
        if (record instanceof CordilleraError) throw record
        for (let at = RECORD_HEAD_BYTES; at < record.length; ) {
          const entry = decodeEntry(record, at)
          at += entry.bytes.length
          if (entry.index < from || entry.index < run.from) continue
          if (entry.index > to || entry.index >= run.from + run.count) break
          bytes += entry.bytes.length
          if (bytes > bytesMax && entries.length > 0) return entries
          entries.push(entry)
        }
      }
      start = end
    }
    return entries
  }
}

/** The runs from `from` to `to` until their bytes pass `bytesMax`. */
function selectRuns(group: LoggedGroup, from: LogIndex, to: LogIndex, bytesMax: number): RunPlace[] {
  const { runs } = group.image
  const selected: RunPlace[] = []
  let bytes = 0
  for (let position = runs.find(from); position >= 0 && position < runs.count && bytes < bytesMax; position++) {
    const run = runs.at(position)
    if (run.from > to) break
    selected.push({ group, run })
    bytes += run.byteLength
  }
  return selected
}

/** The place behind those that are read together with the one at `start`. All lie in order. */
export function neighboursEnd(places: readonly RunPlace[], start: number): number {
  const first = places[start]!.run
  let end = start + 1
  for (; end < places.length; end++) {
    const before = places[end - 1]!.run
    const { run } = places[end]!
    const gap = run.offset - (before.offset + before.byteLength)
    if (run.sequence !== first.sequence || gap < 0 || gap > READ_GAP_BYTES_MAX) break
    if (run.offset + run.byteLength - first.offset > READ_BYTES_MAX) break
  }
  return end
}

function damageAt({ group, run }: RunPlace, cause: unknown): CordilleraError {
  group.onDamageFound()
  return new CordilleraError('LOG_DAMAGED', {
    detail: `entries of replica ${group.replicaId} cannot be read back from the log`,
    details: { replicaId: group.replicaId, index: run.from, segment: run.sequence, offset: run.offset },
    cause,
  })
}
