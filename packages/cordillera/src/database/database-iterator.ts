import type { Version } from '@cordillera/base'
import { AbstractIterator, type AbstractLevel } from 'abstract-level'
import type { DatabaseStore, StoredEntry } from './database-store.js'
import { boundOf, type Format, type Formatted, formatKey, formatValue } from './formats.js'
import { above, type KeySpan } from './key-span.js'
import { AbortError } from './level-error.js'
import { PageReader } from './page-reader.js'

/** What `abstract-level` hands over, with its options normalized. */
export interface IteratorOptions {
  readonly reverse: boolean
  /** -1: none. */
  readonly limit: number
  readonly keys: boolean
  readonly values: boolean
  readonly keyEncoding: Format
  readonly valueEncoding: Format
  readonly signal?: AbortSignal | null
}

export interface IteratorParts {
  readonly store: Pick<DatabaseStore, 'scan'>
  /** The keyspace's; not a part of the keys that are returned. */
  readonly prefix: string
  readonly span: KeySpan
  readonly snapshot: IteratorSnapshot
}

/** Where an iterator reads: its own snapshot, which it closes, or somebody's. */
export interface IteratorSnapshot {
  version(): Promise<Version>
  close(): Promise<void>
}

type Entry = [Formatted | undefined, Formatted | undefined]
type Database = AbstractLevel<Formatted, unknown, unknown>

/**
 * Entries of a range, in order, as a snapshot sees them that was begun when the iterator was made.
 *
 * Entries wait in pages as the engine has them, and take their formats as they are handed out. An `AbortSignal` ends a read
 * that waits for a page; the page is dropped when it comes.
 */
export class DatabaseIterator extends AbstractIterator<Database, unknown, unknown> {
  readonly #parts: IteratorParts
  readonly #options: IteratorOptions
  readonly #reader: PageReader
  #page: readonly StoredEntry[] = []
  #position = 0
  #signal: AbortSignal | undefined
  #abort: ((error: AbortError) => void) | undefined
  readonly #onAbort = (): void => this.#abort?.(new AbortError())

  constructor(db: Database, options: IteratorOptions, parts: IteratorParts) {
    super(db, options as ConstructorParameters<typeof AbstractIterator<Database, unknown, unknown>>[1])
    this.#parts = parts
    this.#options = options
    const { store, span, snapshot } = parts
    const { reverse, values } = options
    const version = (): Promise<Version> => snapshot.version()
    this.#reader = new PageReader({ store, span, reverse, values, limit: this.limit, version })
    this.#signal = options.signal ?? undefined
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** No promise for what is there already. */
  _next(): Entry | Promise<Entry | undefined> {
    const entry = this.#page[this.#position]
    if (entry === undefined) return this.#nextOfPage()
    this.#position++
    return this.#format(entry)
  }

  async _nextv(size: number): Promise<Entry[]> {
    const items: Entry[] = []
    while (items.length < size) {
      if (this.#position === this.#page.length && !(await this.#turn(size - items.length))) break
      const end = Math.min(this.#page.length, this.#position + size - items.length)
      while (this.#position < end) items.push(this.#format(this.#page[this.#position++]!))
    }
    return items
  }

  _seek(target: Formatted): void {
    const { prefix, span } = this.#parts
    const key = boundOf(prefix, target)
    this.#page = []
    this.#position = 0
    if (key < span.start || key >= span.end) this.#reader.seek({ start: span.end, end: span.end })
    else if (this.#options.reverse) this.#reader.seek({ start: span.start, end: above(key) })
    else this.#reader.seek({ start: key, end: span.end })
  }

  async _close(): Promise<void> {
    this.#page = []
    this.#position = 0
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#signal = undefined
    await this.#reader.close()
    await this.#parts.snapshot.close()
  }

  async #nextOfPage(): Promise<Entry | undefined> {
    if (!(await this.#turn(1))) return undefined
    return this.#format(this.#page[this.#position++]!)
  }

  /** Goes on to the next page; false at the end. */
  async #turn(wanted: number): Promise<boolean> {
    const page = this.#reader.next(wanted)
    this.#page = await (this.#signal === undefined ? page : this.#untilAborted(page))
    this.#position = 0
    return this.#page.length > 0
  }

  #untilAborted<Result>(result: Promise<Result>): Promise<Result> {
    const aborted = new Promise<never>((_, reject) => {
      this.#abort = reject
    })
    return Promise.race([result, aborted]).finally(() => {
      this.#abort = undefined
    })
  }

  #format({ key, value }: StoredEntry): Entry {
    const { keys, values, keyEncoding, valueEncoding } = this.#options
    return [
      keys ? formatKey(key, this.#parts.prefix.length, keyEncoding) : undefined,
      values ? formatValue(value, valueEncoding) : undefined,
    ]
  }
}
