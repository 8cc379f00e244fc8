import { Buffer } from 'node:buffer'
import type { CordilleraError, Key, Version } from '@cordillera/base'
import { keyspaceSpan } from '@cordillera/ranges'
import { type AbstractDatabaseOptions, AbstractLevel, type AbstractOpenOptions } from 'abstract-level'
import { CallOrder } from './call-order.js'
import { DatabaseIterator, type IteratorOptions, type IteratorSnapshot } from './database-iterator.js'
import { DatabaseSnapshot } from './database-snapshot.js'
import type { DatabaseStore, OpenSnapshot, StoredValue, WriteOperation } from './database-store.js'
import { bytesOf, type Format, type Formatted, formatValue, keyOf } from './formats.js'
import { above, isEmptySpan, type KeySpan, type RangeBounds, spanOf } from './key-span.js'
import { LevelError } from './level-error.js'
import { PageReader } from './page-reader.js'

/** Gives the database what it stands on when it opens; rejects with what the opening is to fail with. */
export type OpenStore = (options: StoreOptions) => Promise<DatabaseStore>

export interface StoreOptions {
  readonly keyspace: string
  readonly createIfMissing: boolean
  readonly errorIfExists: boolean
}

export interface DatabaseParts {
  readonly keyspace: string
  readonly openStore: OpenStore
}

export interface DatabaseOptions<K, V> extends AbstractDatabaseOptions<K, V> {}

/** `classic-level`'s, except `getSync`. */
const MANIFEST = {
  encodings: { buffer: true, utf8: true, view: true },
  has: true,
  createIfMissing: true,
  errorIfExists: true,
  explicitSnapshots: true,
  signals: { iterators: true },
} as const

/**
 * A keyspace as an `AbstractLevel`: sorted bytes, with the encodings, sublevels, hooks and events of that.
 *
 * - A write that has resolved is durable. A batch takes effect whole or not at all.
 * - Reads see everything that was acknowledged, to anybody, before they were called. What a read sees is fixed at its call:
 *   a `get` reads one value, linearizably; `getMany`, `hasMany`, iterators and `snapshot()` read at one snapshot. No later
 *   write of this database can be seen by them; writes of others that come at the same time can. Writes that were called
 *   earlier and are not acknowledged may be seen or not.
 * - `clear` is not atomic: it deletes in batches what is there when it is called, or in its snapshot.
 * - Keys have at most 4 KiB, empty ones among them, values 1 MiB, batches 4 MiB: KEY_TOO_LARGE, VALUE_TOO_LARGE and
 *   BATCH_TOO_LARGE. Beside these, operations fail with the codes of the engine (`UNAVAILABLE`: surely nothing was written,
 *   `OUTCOME_UNKNOWN`, `DISK_FULL`, `SNAPSHOT_EXPIRED`, …) and those of `abstract-level`.
 * - Memory that is handed in may be used again once the call has returned; what is handed out is the caller's.
 */
export class Cordillera<KDefault = string, VDefault = string> extends AbstractLevel<Formatted, KDefault, VDefault> {
  readonly #parts: DatabaseParts
  readonly #within: KeySpan
  readonly #order = new CallOrder()
  #store: DatabaseStore | undefined

  /** Use `open()`. */
  constructor(parts: DatabaseParts, options?: DatabaseOptions<KDefault, VDefault>) {
    super(MANIFEST, options)
    this.#parts = parts
    this.#within = keyspaceSpan(parts.keyspace)
  }

  /** The name of the keyspace. */
  get keyspace(): string {
    return this.#parts.keyspace
  }

  async _open(options: AbstractOpenOptions): Promise<void> {
    const { keyspace, openStore } = this.#parts
    const { createIfMissing = true, errorIfExists = false } = options
    this.#store = await openStore({ keyspace, createIfMissing, errorIfExists })
  }

  async _close(): Promise<void> {
    const store = this.#store
    this.#store = undefined
    await store?.close()
  }

  _put(key: Formatted, value: Formatted): Promise<void> {
    const bytes = bytesOf(value)
    return this.#write(this.#keyOf(key), bytes, bytes !== value)
  }

  _del(key: Formatted): Promise<void> {
    return this.#write(this.#keyOf(key), undefined, true)
  }

  async _batch(operations: readonly BatchOperation[]): Promise<void> {
    if (operations.length === 0) return
    const writes = operations.map((operation): WriteOperation => {
      const key = this.#keyOf(operation.key)
      return { key, value: operation.type === 'put' ? ownBytesOf(operation.value) : undefined }
    })
    await this.#writeAll(writes)
  }

  _get(key: Formatted, options: ReadOptions): Promise<Formatted | undefined> {
    return this.#read(this.#keyOf(key), options, valueIn(options.valueEncoding))
  }

  _has(key: Formatted, options: ReadOptions): Promise<boolean> {
    return this.#read(this.#keyOf(key), options, isFound)
  }

  _getMany(keys: readonly Formatted[], options: ReadOptions): Promise<(Formatted | undefined)[]> {
    return this.#readMany(keys, options, valueIn(options.valueEncoding))
  }

  _hasMany(keys: readonly Formatted[], options: ReadOptions): Promise<boolean[]> {
    return this.#readMany(keys, options, isFound)
  }

  _iterator(options: RangeBounds & IteratorOptions & SnapshotOption): DatabaseIterator {
    const store = this.#opened()
    const span = spanOf(this.#within, options)
    const isEmpty = isEmptySpan(span) || options.limit === 0
    const snapshot = borrow(options) ?? (isEmpty ? NO_SNAPSHOT : ownSnapshot(this.#openSnapshot(span)))
    const parts = { store, prefix: this.#within.start, span, snapshot }
    return new DatabaseIterator(this as unknown as AbstractLevel<Formatted, unknown, unknown>, options, parts)
  }

  _snapshot(options: object): DatabaseSnapshot {
    return new DatabaseSnapshot(options, this.#openSnapshot(this.#within))
  }

  /** Page by page, a batch for each. Later writes wait until all is deleted: what they write is none of it. */
  async _clear(options: RangeBounds & SnapshotOption & ClearOptions): Promise<void> {
    const store = this.#opened()
    const span = spanOf(this.#within, options)
    if (isEmptySpan(span)) return
    const free = new Promise<void>((resolve) => this.#order.whenSpanFree(span.start, span.end, resolve))
    const hold = this.#order.beginSpan(span.start, span.end)
    const snapshot = borrow(options) ?? ownSnapshot(store.openSnapshot())
    try {
      const { reverse, limit } = options
      const entries = limit < 0 ? Number.POSITIVE_INFINITY : limit
      const version = (): Promise<Version> => snapshot.version()
      const reader = new PageReader({ store, span, reverse, values: false, limit: entries, version })
      await free
      for (;;) {
        const page = await reader.next(CLEARED_ENTRIES)
        if (page.length === 0) break
        await store.write(page.map(({ key }) => ({ key, value: undefined })))
      }
      await reader.close()
    } finally {
      this.#order.endSpan(hold)
      await snapshot.close()
    }
  }

  #opened(): DatabaseStore {
    if (this.#store !== undefined) return this.#store
    throw new LevelError('LEVEL_DATABASE_NOT_OPEN', 'Database is not open')
  }

  #keyOf(key: Formatted): Key {
    return keyOf(this.#within.start, key)
  }

  /** `isOwn`: nobody else changes the value. */
  #write(key: Key, value: Uint8Array | undefined, isOwn: boolean): Promise<void> {
    const store = this.#opened()
    return new Promise((resolve, reject) => {
      const done = (error: CordilleraError | undefined): void => {
        if (error === undefined) resolve()
        else reject(error)
      }
      if (this.#order.isFree(key)) {
        send(store, key, value, done)
      } else {
        const kept = isOwn || value === undefined ? value : Buffer.from(value)
        this.#order.whenFree([key], () => send(store, key, kept, done))
      }
    })
  }

  #writeAll(writes: readonly WriteOperation[]): Promise<Version> {
    const store = this.#opened()
    if (writes.every(({ key }) => this.#order.isFree(key))) return store.write(writes)
    const keys = writes.map(({ key }) => key)
    return new Promise((resolve, reject) => {
      this.#order.whenFree(keys, () => store.write(writes).then(resolve, reject))
    })
  }

  #read<Result>(key: Key, options: SnapshotOption, resultOf: ResultOf<Result>): Promise<Result> {
    const store = this.#opened()
    const snapshot = borrow(options)
    if (snapshot !== undefined) return snapshot.version().then((at) => getAt(store, key, at, resultOf))
    return new Promise((resolve, reject) => {
      const hold = this.#order.beginRead(key)
      store.get(key, 0, (error, found) => {
        this.#order.endRead(hold)
        if (error === undefined) resolve(resultOf(found))
        else reject(error)
      })
    })
  }

  async #readMany<Result>(
    keys: readonly Formatted[],
    options: SnapshotOption,
    resultOf: ResultOf<Result>,
  ): Promise<Result[]> {
    const store = this.#opened()
    const wholes = keys.map((key) => this.#keyOf(key))
    if (wholes.length === 1) return [await this.#read(wholes[0]!, options, resultOf)]
    const snapshot = borrow(options) ?? ownSnapshot(this.#openSnapshot(coverOf(wholes)))
    try {
      const at = await snapshot.version()
      return await Promise.all(wholes.map((key) => getAt(store, key, at, resultOf)))
    } finally {
      await snapshot.close()
    }
  }

  /** A snapshot for reads of the span: writes to it that are called later wait until it has its version. */
  #openSnapshot({ start, end }: KeySpan): Promise<OpenSnapshot> {
    const store = this.#opened()
    const hold = this.#order.beginSpan(start, end)
    const release = (): void => this.#order.endSpan(hold)
    const opening = store.openSnapshot()
    opening.then(release, release)
    return opening
  }
}

/** Entries that a clear asks for at once. */
const CLEARED_ENTRIES = 512

interface SnapshotOption {
  readonly snapshot?: unknown
}

interface ReadOptions extends SnapshotOption {
  readonly valueEncoding: Format
}

interface ClearOptions {
  readonly reverse: boolean
  /** -1: none. */
  readonly limit: number
}

type BatchOperation =
  | { readonly type: 'put'; readonly key: Formatted; readonly value: Formatted }
  | { readonly type: 'del'; readonly key: Formatted }

type ResultOf<Result> = (found: StoredValue | undefined) => Result

const isFound = (found: StoredValue | undefined): boolean => found !== undefined

function valueIn(format: Format): ResultOf<Formatted | undefined> {
  return (found) => (found === undefined ? undefined : formatValue(found.value, format))
}

/** As `bytesOf`, in memory that nobody else changes. */
function ownBytesOf(value: Formatted): Uint8Array {
  const bytes = bytesOf(value)
  return bytes === value ? Buffer.from(bytes) : bytes
}

function send(
  store: DatabaseStore,
  key: Key,
  value: Uint8Array | undefined,
  done: (error: CordilleraError | undefined) => void,
): void {
  if (value === undefined) store.delete(key, done)
  else store.put(key, value, done)
}

function getAt<Result>(store: DatabaseStore, key: Key, at: Version, resultOf: ResultOf<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    store.get(key, at, (error, found) => {
      if (error === undefined) resolve(resultOf(found))
      else reject(error)
    })
  })
}

function ownSnapshot(opening: Promise<OpenSnapshot>): IteratorSnapshot {
  // Readers hear of a failure.
  opening.catch(() => {})
  return {
    version: async () => (await opening).version,
    close: async () => (await opening.catch(() => undefined))?.close(),
  }
}

/** The caller's snapshot, which stays open. */
function borrow({ snapshot }: SnapshotOption): IteratorSnapshot | undefined {
  if (snapshot === undefined || snapshot === null) return undefined
  if (snapshot instanceof DatabaseSnapshot) return { version: () => snapshot.version(), close: async () => {} }
  throw new TypeError('The snapshot must be one of this database')
}

/** Of a read that finds nothing whatever is stored. */
const NO_SNAPSHOT: IteratorSnapshot = {
  version: () => Promise.reject(new Error('nothing is read')),
  close: async () => {},
}

/** The smallest span that holds these keys, of which there is one at least. */
function coverOf(keys: readonly Key[]): KeySpan {
  let first = keys[0]!
  let last = first
  for (const key of keys) {
    if (key < first) first = key
    if (key > last) last = key
  }
  return { start: first, end: above(last) }
}
