import type { Version } from '@cordillera/base'
import type { DatabaseStore, PagePlan, StoredEntry } from './database-store.js'
import { above, isEmptySpan, type KeySpan } from './key-span.js'

/**
 * Reads a span at one snapshot, page by page, in either order.
 *
 * Pages grow: who wants one entry pays for few, who wants all of them reads few pages. While a page is used up the next
 * one is being read, one ahead at most.
 */
export interface PageReaderOptions {
  readonly store: Pick<DatabaseStore, 'scan'>
  readonly span: KeySpan
  readonly reverse: boolean
  readonly values: boolean
  /** Entries that are wanted in all; may be infinite. */
  readonly limit: number
  /** Of the snapshot, which stays open. */
  readonly version: () => Promise<Version>
}

const FIRST_PAGE_ENTRIES = 16
const PAGE_GROWTH = 8
const PAGE_ENTRIES_MAX = 1024
const PAGE_BYTES_MAX = 1 << 20

const NOTHING: readonly StoredEntry[] = []

export class PageReader {
  readonly #options: PageReaderOptions
  /** What is not yet read. */
  #rest: KeySpan
  #pageEntries = FIRST_PAGE_ENTRIES
  /** Entries asked for since the last seek. */
  #asked = 0
  #ahead: Promise<readonly StoredEntry[]> | undefined
  #reading: Promise<unknown> | undefined
  /** Counts the seeks: a page that was asked for before one is of no use. */
  #era = 0

  constructor(options: PageReaderOptions) {
    this.#options = options
    this.#rest = options.span
  }

  /** The next entries in order, none at the end. `wanted` is what the caller can use now, and bounds nothing. */
  async next(wanted: number): Promise<readonly StoredEntry[]> {
    const ahead = this.#ahead
    this.#ahead = undefined
    const page = await (ahead ?? this.#read(wanted))
    if (page.length > 0 && this.#pageEntries > FIRST_PAGE_ENTRIES * PAGE_GROWTH) this.#readAhead()
    return page
  }

  /** Goes on at `span`, a part of the whole, with `limit` entries at most. Nothing is being read. */
  seek(span: KeySpan): void {
    this.#rest = span
    this.#era++
    this.#ahead = undefined
    this.#pageEntries = FIRST_PAGE_ENTRIES
    this.#asked = 0
  }

  /** Resolves once nothing is being read any more. */
  async close(): Promise<void> {
    this.#rest = NO_SPAN
    this.#ahead = undefined
    await this.#reading
  }

  #readAhead(): void {
    this.#ahead = this.#read(1)
  }

  #read(wanted: number): Promise<readonly StoredEntry[]> {
    const page = this.#readPage(wanted)
    // Failures are heard of by whoever asks for the page; nobody may.
    this.#reading = page.catch(() => {})
    return page
  }

  async #readPage(wanted: number): Promise<readonly StoredEntry[]> {
    if (isEmptySpan(this.#rest)) return NOTHING
    const era = this.#era
    const { store, reverse, values, version } = this.#options
    const limit = Math.min(this.#options.limit - this.#asked, Math.max(wanted, this.#pageEntries))
    if (limit <= 0) return NOTHING
    const at = await version()
    const plan: PagePlan = { ...this.#rest, reverse, values, limit, bytesMax: PAGE_BYTES_MAX, at }
    const { entries, more } = await store.scan(plan)
    if (era !== this.#era) return NOTHING
    this.#pageEntries = Math.min(this.#pageEntries * PAGE_GROWTH, PAGE_ENTRIES_MAX)
    this.#asked += entries.length
    this.#rest = more ? this.#behind(entries[entries.length - 1]!) : NO_SPAN
    return entries
  }

  #behind({ key }: StoredEntry): KeySpan {
    const { start, end } = this.#rest
    return this.#options.reverse ? { start, end: key } : { start: above(key), end }
  }
}

const NO_SPAN: KeySpan = { start: '', end: '' }
