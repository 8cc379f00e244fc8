import { assert, type LogIndex, type ReplicaId, type Term } from '@cordillera/base'
import type { Entry, HardState } from '@cordillera/raft-core'
import { type EntryCache, EntryTail } from './entry-cache.js'
import type { GroupImage } from './group-image.js'
import type { GroupLog } from './group-log.js'
import type { PendingRecord } from './pending-record.js'
import { ENTRIES_RECORD_BYTES_MAX, RecordKind } from './record.js'

/** What a group needs of the log that it is part of. */
export interface LogServices {
  readonly cache: EntryCache
  readonly entryBytesMax: number
  /** Throws when the log takes nothing more. */
  assertWritable(): void
  enqueue(record: PendingRecord): void
  loadInto(group: LoggedGroup, from: LogIndex, to: LogIndex, bytesMax: number): Promise<void>
}

/**
 * A group as its owner sees it: the image of what is laid out in the log, and what has been enqueued since.
 *
 * Everything that is not durable yet is in the tail; so an index below the tail's first is in the image's runs, and
 * those say the same about it as the owner's view.
 */
export class LoggedGroup implements GroupLog {
  readonly replicaId: ReplicaId
  readonly image: GroupImage
  readonly recoveredFlushedIndex: LogIndex
  hardState: HardState
  compactedIndex: LogIndex
  lastIndex: LogIndex
  /** Counts truncations and resets, so that a load under way notices them. */
  changes = 0
  isRemoved = false
  readonly tail: EntryTail
  readonly #services: LogServices
  #compactedTerm: Term
  #isCreated: boolean
  #damaged: boolean
  #laidOutThrough: LogIndex
  #reportedFlushedIndex: LogIndex

  constructor(replicaId: ReplicaId, image: GroupImage, services: LogServices, isCreated: boolean) {
    this.replicaId = replicaId
    this.image = image
    this.#services = services
    this.#isCreated = isCreated
    this.recoveredFlushedIndex = this.#reportedFlushedIndex = image.flushedIndex
    this.compactedIndex = image.compactedIndex
    this.#compactedTerm = image.compactedTerm
    this.lastIndex = this.#laidOutThrough = image.lastIndex
    this.#damaged = image.damaged
    const { term, vote, commitIndex } = image.hardState
    this.hardState = { term, vote, commitIndex: Math.max(this.compactedIndex, Math.min(commitIndex, this.lastIndex)) }
    this.tail = new EntryTail(this.lastIndex + 1)
  }

  get damaged(): boolean {
    return this.#damaged
  }

  /** Whether the log knows of this group, or will with the next batch. */
  get isCreated(): boolean {
    return this.#isCreated
  }

  termAt(index: LogIndex): Term | undefined {
    if (index <= this.compactedIndex) return index === this.compactedIndex ? this.#compactedTerm : undefined
    if (index > this.lastIndex) return undefined
    return this.tail.tryGet(index)?.term ?? this.image.runs.termAt(index)
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    if (from <= this.compactedIndex || from > this.lastIndex) return undefined
    const { cache } = this.#services
    const first = this.tail.tryGet(from)
    const window = first ? undefined : cache.findWindow(this, from)
    if (!first && !window) return undefined
    const found: Entry[] = []
    let bytes = 0
    for (let index = from; index <= to; index++) {
      const entry = window ? window.entries[index - window.from] : this.tail.tryGet(index)
      if (!entry) break
      bytes += entry.bytes.length
      if (bytes > bytesMax && found.length > 0) break
      found.push(entry)
    }
    return found
  }

  append(entries: readonly Entry[], hardState: HardState | undefined): void {
    this.#beginWrite()
    if (hardState) {
      this.hardState = hardState
      this.#services.enqueue({ kind: RecordKind.hardState, group: this, hardState })
    }
    const first = entries[0]
    if (!first) return
    assert(first.index > this.compactedIndex, 'compacted entries are not replaced')
    assert(first.index <= this.lastIndex + 1, 'entries follow the log without a gap')
    if (first.index <= this.lastIndex) this.#truncateFrom(first.index)
    this.#enqueueEntries(entries)
    const { cache } = this.#services
    cache.count(this.tail.append(entries))
    cache.touch(this.tail)
    this.tail.pinnedFrom = Math.min(this.tail.pinnedFrom, first.index)
    this.lastIndex = first.index + entries.length - 1
  }

  compactTo(index: LogIndex): void {
    this.#beginWrite()
    if (index <= this.compactedIndex) return
    assert(index <= this.lastIndex, 'only what is in the log is compacted')
    const term = this.termAt(index)
    assert(term !== undefined, 'the term of an entry in the log is known')
    this.compactedIndex = index
    this.#compactedTerm = term
    this.#services.cache.count(-this.tail.dropThrough(index))
    if (this.tail.pinnedFrom <= index) this.tail.pinnedFrom = index + 1
    this.#services.enqueue({ kind: RecordKind.compaction, group: this, index, term })
  }

  keepingIndex(entriesMax: number, bytesMax: number): LogIndex {
    const byEntries = Math.max(this.compactedIndex, this.lastIndex - entriesMax)
    return Math.max(byEntries, Math.min(this.lastIndex, this.image.runs.lastBefore(bytesMax)))
  }

  recordFlushed(index: LogIndex): void {
    this.#beginWrite()
    if (index <= this.#reportedFlushedIndex) return
    this.#reportedFlushedIndex = index
    this.#services.enqueue({ kind: RecordKind.flushed, group: this, index })
  }

  reset(index: LogIndex, term: Term): void {
    this.#beginWrite()
    assert(index >= this.compactedIndex && (index > 0 || term === 0), 'a log never goes back behind its compaction')
    this.changes++
    const { cache } = this.#services
    cache.dropWindows(this)
    cache.count(-this.tail.reset(index + 1))
    this.tail.pinnedFrom = Number.MAX_SAFE_INTEGER
    this.compactedIndex = this.lastIndex = this.#laidOutThrough = index
    this.#compactedTerm = term
    this.#services.enqueue({ kind: RecordKind.reset, group: this, index, term })
  }

  markDamaged(): void {
    this.#beginWrite()
    this.onDamageFound()
  }

  load(from: LogIndex, to: LogIndex, bytesMax: number): Promise<void> {
    return this.#services.loadInto(this, from, to, bytesMax)
  }

  /** The entries from `start` to before `end` have been laid out in a batch. */
  onLaidOut(entries: readonly Entry[], start: number, end: number): void {
    let last = end - 1
    while (last >= start && this.tail.tryGet(entries[last]!.index) !== entries[last]) last--
    if (last >= start) this.#laidOutThrough = entries[last]!.index
  }

  /** What was laid out is durable. */
  onDurable(): void {
    const { tail } = this
    tail.pinnedFrom = Math.max(tail.pinnedFrom, this.#laidOutThrough + 1)
    if (tail.pinnedFrom > this.lastIndex) tail.pinnedFrom = Number.MAX_SAFE_INTEGER
  }

  /** Bytes read from disk were not what was written. */
  onDamageFound(): void {
    if (this.#damaged || this.isRemoved) return
    this.#damaged = this.image.damaged = true
    this.#services.enqueue({ kind: RecordKind.carriedState, group: this })
  }

  /** The group is gone; its handle is of no more use. */
  onRemoved(): void {
    const { cache } = this.#services
    this.isRemoved = true
    this.changes++
    cache.dropWindows(this)
    cache.count(-this.tail.reset(this.lastIndex + 1))
    cache.forget(this.tail)
  }

  #beginWrite(): void {
    this.#services.assertWritable()
    assert(!this.isRemoved, 'a removed group is not written to')
    if (this.#isCreated) return
    this.#isCreated = true
    this.#services.enqueue({ kind: RecordKind.creation, group: this })
  }

  #truncateFrom(index: LogIndex): void {
    const { cache } = this.#services
    this.changes++
    cache.dropWindows(this)
    cache.count(-this.tail.truncateFrom(index))
    this.#laidOutThrough = Math.min(this.#laidOutThrough, index - 1)
  }

  /** One record for entries of one term, up to a size. */
  #enqueueEntries(entries: readonly Entry[]): void {
    const { entryBytesMax } = this.#services
    const recordBytesMax = Math.min(ENTRIES_RECORD_BYTES_MAX, entryBytesMax)
    const firstIndex = entries[0]!.index
    let start = 0
    let byteLength = 0
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!
      const { length } = entry.bytes
      assert(entry.index === firstIndex + i, 'entries are contiguous')
      assert(length <= entryBytesMax, 'an entry fits in a segment')
      if (i > start && (entry.term !== entries[start]!.term || byteLength + length > recordBytesMax)) {
        this.#services.enqueue({ kind: RecordKind.entries, group: this, entries, start, end: i, byteLength })
        start = i
        byteLength = 0
      }
      byteLength += length
    }
    this.#services.enqueue({ kind: RecordKind.entries, group: this, entries, start, end: entries.length, byteLength })
  }
}
