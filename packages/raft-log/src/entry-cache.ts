import type { LogIndex } from '@cordillera/base'
import type { Entry } from '@cordillera/raft-core'

/** What an entry costs in memory besides its bytes. */
export const ENTRY_OVERHEAD_BYTES = 96

/**
 * The newest entries of one group, contiguous up to the end of its log.
 *
 * Entries that are not durable yet are pinned: they count in the cache's bytes and are never evicted, so that an index
 * missing here is always on disk.
 */
export class EntryTail {
  #entries: Entry[] = []
  #start = 0
  #firstIndex: LogIndex
  /** Everything from here on is pinned. */
  pinnedFrom: LogIndex = Number.MAX_SAFE_INTEGER

  constructor(nextIndex: LogIndex) {
    this.#firstIndex = nextIndex
  }

  /** The index behind the log's last entry when the tail is empty. */
  get firstIndex(): LogIndex {
    return this.#firstIndex
  }

  get count(): number {
    return this.#entries.length - this.#start
  }

  tryGet(index: LogIndex): Entry | undefined {
    const position = index - this.#firstIndex
    return position < 0 ? undefined : this.#entries[this.#start + position]
  }

  /** The entries must follow what is there. Returns the bytes that they add. */
  append(entries: readonly Entry[]): number {
    let bytes = 0
    for (const entry of entries) {
      this.#entries.push(entry)
      bytes += entry.bytes.length + ENTRY_OVERHEAD_BYTES
    }
    return bytes
  }

  /** Forgets `index` and everything behind it; `index` is the next to be appended. Returns the bytes let go. */
  truncateFrom(index: LogIndex): number {
    const keep = Math.max(0, Math.min(this.count, index - this.#firstIndex))
    const bytes = bytesOf(this.#entries, this.#start + keep)
    this.#entries.length = this.#start + keep
    if (keep === 0) this.#firstIndex = index
    return bytes
  }

  /** Forgets everything up to `index`. Returns the bytes let go. */
  dropThrough(index: LogIndex): number {
    const gone = Math.max(0, Math.min(this.count, index + 1 - this.#firstIndex))
    return this.#shift(gone)
  }

  /** Empties the tail. Returns the bytes let go. */
  reset(nextIndex: LogIndex): number {
    const bytes = bytesOf(this.#entries, this.#start)
    this.#entries = []
    this.#start = 0
    this.#firstIndex = nextIndex
    return bytes
  }

  /** Evicts the older half of what is not pinned, or all of it when it is little. Returns the bytes let go. */
  evict(): number {
    const evictable = Math.min(this.count, this.pinnedFrom - this.#firstIndex)
    if (evictable <= 0) return 0
    return this.#shift(evictable <= 16 ? evictable : evictable >>> 1)
  }

  #shift(count: number): number {
    let bytes = 0
    const end = this.#start + count
    for (let i = this.#start; i < end; i++) bytes += this.#entries[i]!.bytes.length + ENTRY_OVERHEAD_BYTES
    this.#start = end
    this.#firstIndex += count
    if (this.#start * 2 >= this.#entries.length) {
      this.#entries.splice(0, this.#start)
      this.#start = 0
    } else {
      this.#entries.fill(undefined as unknown as Entry, end - count, end)
    }
    return bytes
  }
}

/** Entries that were read back from disk. */
export interface LoadedWindow {
  readonly owner: object
  readonly from: LogIndex
  readonly entries: readonly Entry[]
  readonly bytes: number
}

/**
 * Bounds the bytes of all groups' tails and loaded windows together.
 *
 * The groups whose entries were used longest ago give theirs up first, the older half at a time. Windows live in a
 * quarter of the limit, oldest out first; one that was just loaded stays at least until its reader has had a turn,
 * and {@link reserve} makes further loads wait meanwhile, so that loads do not chase each other's entries away.
 */
export class EntryCache {
  readonly #bytesMax: number
  readonly #windowBytesMax: number
  readonly #tails = new Set<EntryTail>()
  #windows: LoadedWindow[] = []
  #tailBytes = 0
  #windowBytes = 0
  #reservedBytes = 0
  readonly #waiting: { bytes: number; resolve: () => void }[] = []

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#windowBytesMax = Math.floor(bytesMax / 4)
  }

  get bytes(): number {
    return this.#tailBytes + this.#windowBytes
  }

  /** The tail grew (or shrank, when negative). */
  count(bytes: number): void {
    this.#tailBytes += bytes
  }

  /** Marks the tail as used just now. */
  touch(tail: EntryTail): void {
    this.#tails.delete(tail)
    this.#tails.add(tail)
  }

  forget(tail: EntryTail): void {
    this.#tails.delete(tail)
  }

  /** Makes room, as far as pins allow. */
  evict(): void {
    let unhelpful = 0
    while (this.bytes > this.#bytesMax && unhelpful < this.#tails.size) {
      const tail: EntryTail = this.#tails.values().next().value!
      const bytes = tail.evict()
      this.#tailBytes -= bytes
      unhelpful = bytes === 0 ? unhelpful + 1 : 0
      this.#tails.delete(tail)
      if (tail.count > 0) this.#tails.add(tail)
    }
  }

  /** Resolves when `bytes` may be loaded. Pair with {@link release}. */
  reserve(bytes: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#reservedBytes += bytes
      return undefined
    }
    return new Promise((resolve) => this.#waiting.push({ bytes, resolve }))
  }

  release(bytes: number): void {
    this.#reservedBytes -= bytes
    while (this.#waiting.length > 0 && this.#fits(this.#waiting[0]!.bytes)) {
      const next = this.#waiting.shift()!
      this.#reservedBytes += next.bytes
      next.resolve()
    }
  }

  /** What was reserved turned out to take more, or less. */
  adjustReserved(bytes: number): void {
    this.#reservedBytes += bytes
  }

  addWindow(window: LoadedWindow): void {
    this.#windows.push(window)
    this.#windowBytes += window.bytes
    let gone = 0
    while (this.#windowBytes > this.#windowBytesMax + this.#reservedBytes && gone < this.#windows.length - 1) {
      this.#windowBytes -= this.#windows[gone++]!.bytes
    }
    if (gone > 0) this.#windows.splice(0, gone)
    this.evict()
  }

  findWindow(owner: object, index: LogIndex): LoadedWindow | undefined {
    for (let i = this.#windows.length - 1; i >= 0; i--) {
      const window = this.#windows[i]!
      if (window.owner === owner && window.from <= index && index < window.from + window.entries.length) return window
    }
    return undefined
  }

  /** Drops the owner's windows: their entries are no longer what the log says. */
  dropWindows(owner: object): void {
    if (this.#windows.length === 0) return
    this.#windows = this.#windows.filter((window) => {
      if (window.owner === owner) this.#windowBytes -= window.bytes
      return window.owner !== owner
    })
  }

  #fits(bytes: number): boolean {
    return this.#reservedBytes === 0 || this.#reservedBytes + bytes <= this.#windowBytesMax
  }
}

function bytesOf(entries: readonly Entry[], start: number): number {
  let bytes = 0
  for (let i = start; i < entries.length; i++) bytes += entries[i]!.bytes.length + ENTRY_OVERHEAD_BYTES
  return bytes
}
