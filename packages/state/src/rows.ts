import type { Key, Version } from '@cordillera/base'
import { decodeStoredValue, type Span, type VersionedValue } from '@cordillera/ranges'
import { dataSpan, historySpan, keyOfData, keyOfHistory } from './engine-keys.js'
import { decodeHistoryAt } from './history.js'
import type { EngineIterator, EngineSnapshot } from './state-engine.js'

/** A key and the version of it that a reader sees. */
export interface Row extends VersionedValue {
  readonly key: Key
}

/** Rows in the order of a scan. */
export interface RowSource {
  /** At least one, and about `count`; none at the end. One call at a time. */
  next(count: number): Promise<readonly Row[]>
  close(): Promise<void>
}

export interface RowsRequest extends Span {
  readonly reverse: boolean
  /** 0: the newest versions. */
  readonly at: Version
  /** False: there is none, and it is not looked for. */
  readonly hasHistory: boolean
}

/** What an engine's snapshot holds of a span: every key's newest version, or those seen at a timestamp. */
export function openRows(snapshot: EngineSnapshot, request: RowsRequest): RowSource {
  const { reverse, at, hasHistory } = request
  const newest = new DecodedRows(snapshot.iterate({ ...dataSpan(request), reverse }), keyOfData, (key, bytes) => {
    const { version, value } = decodeStoredValue(bytes)
    return at > 0 && version > at ? undefined : { key: keyOfData(key), version, value }
  })
  if (at === 0 || !hasHistory) return newest
  const older = new DecodedRows(snapshot.iterate({ ...historySpan(request), reverse }), keyOfHistory, (key, bytes) =>
    decodeHistoryAt(key, bytes, at),
  )
  return new MergedRows(newest, older, reverse)
}

/** Rows up to a place in the scan's order, without those that are not seen: there may be none. */
interface Chunk {
  readonly rows: readonly Row[]
  /** The last key that was looked at; undefined at the end. */
  readonly reached: Key | undefined
}

/** An iterator's entries, decoded, without those that are not seen. */
class DecodedRows implements RowSource {
  readonly #iterator: EngineIterator
  readonly #keyOf: (engineKey: Key) => Key
  readonly #decode: (engineKey: Key, bytes: Uint8Array) => Row | undefined

  constructor(
    iterator: EngineIterator,
    keyOf: (engineKey: Key) => Key,
    decode: (engineKey: Key, bytes: Uint8Array) => Row | undefined,
  ) {
    this.#iterator = iterator
    this.#keyOf = keyOf
    this.#decode = decode
  }

  async next(count: number): Promise<readonly Row[]> {
    for (;;) {
      const { rows, reached } = await this.nextChunk(count)
      if (rows.length > 0 || reached === undefined) return rows
    }
  }

  async nextChunk(count: number): Promise<Chunk> {
    const chunk = await this.#iterator.next(count)
    const rows: Row[] = []
    for (const [key, bytes] of chunk) {
      const row = this.#decode(key, bytes)
      if (row !== undefined) rows.push(row)
    }
    const last = chunk[chunk.length - 1]
    return { rows, reached: last && this.#keyOf(last[0]) }
  }

  close(): Promise<void> {
    return this.#iterator.close()
  }
}

/**
 * Two sources that have no key in common: a snapshot sees one version of it.
 *
 * Neither is read further than the other's rows need: what a snapshot does not see may be much more than what it does, and a
 * page that looked for the next row of a source would read the rest of the span.
 */
class MergedRows implements RowSource {
  readonly #sources: readonly [Buffered, Buffered]
  readonly #reverse: boolean

  constructor(a: DecodedRows, b: DecodedRows, reverse: boolean) {
    this.#sources = [new Buffered(a, reverse), new Buffered(b, reverse)]
    this.#reverse = reverse
  }

  async next(count: number): Promise<readonly Row[]> {
    const rows: Row[] = []
    while (rows.length < count) {
      const row = this.#tryTake()
      if (row !== undefined) rows.push(row)
      else if (!(await this.#fill(count))) break
    }
    return rows
  }

  /** The next row, where it is known to be that. */
  #tryTake(): Row | undefined {
    const [a, b] = this.#sources
    const [first, second] = [a.peek, b.peek]
    if (first !== undefined && second !== undefined) {
      return (first.key < second.key !== this.#reverse ? a : b).take()
    }
    if (first !== undefined) return b.isPast(first.key) ? a.take() : undefined
    return second !== undefined && a.isPast(second.key) ? b.take() : undefined
  }

  /** Reads on in the source that lags; false when both are at their ends. */
  async #fill(count: number): Promise<boolean> {
    const [a, b] = this.#sources
    const lagging = [a, b].filter((source) => source.peek === undefined && !source.isAtEnd)
    const [one, other] = lagging
    if (one === undefined) return false
    await (other === undefined || !one.isAheadOf(other) ? one : other).fill(count)
    return true
  }

  async close(): Promise<void> {
    for (const source of this.#sources) await source.close()
  }
}

class Buffered {
  readonly #source: DecodedRows
  readonly #reverse: boolean
  #rows: readonly Row[] = []
  #at = 0
  #reached: Key | undefined
  isAtEnd = false

  constructor(source: DecodedRows, reverse: boolean) {
    this.#source = source
    this.#reverse = reverse
  }

  get peek(): Row | undefined {
    return this.#rows[this.#at]
  }

  take(): Row {
    return this.#rows[this.#at++]!
  }

  /** Without a row at hand: whether everything still to come is behind this key. More of the last key looked at may come. */
  isPast(key: Key): boolean {
    if (this.isAtEnd) return true
    return this.#reached !== undefined && (this.#reverse ? this.#reached < key : this.#reached > key)
  }

  isAheadOf(other: Buffered): boolean {
    if (this.#reached === undefined) return false
    return other.#reached === undefined || this.isPast(other.#reached)
  }

  async fill(count: number): Promise<void> {
    const { rows, reached } = await this.#source.nextChunk(count)
    this.#rows = rows
    this.#at = 0
    this.#reached = reached
    this.isAtEnd = reached === undefined
  }

  close(): Promise<void> {
    return this.#source.close()
  }
}
