import type { Key, Version } from '@cordillera/base'
import { decodeStoredValue, type Span, type VersionedValue } from '@cordillera/ranges'
import { dataSpan, historySpan, keyOfData } from './engine-keys.js'
import { decodeHistory, isSeenAt } from './history.js'
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
  const newest = new DecodedRows(snapshot.iterate({ ...dataSpan(request), reverse }), (key, bytes) => {
    const { version, value } = decodeStoredValue(bytes)
    return at > 0 && version > at ? undefined : { key: keyOfData(key), version, value }
  })
  if (at === 0 || !hasHistory) return newest
  const older = new DecodedRows(snapshot.iterate({ ...historySpan(request), reverse }), (key, bytes) => {
    const record = decodeHistory(key, bytes)
    return isSeenAt(record, at) ? record : undefined
  })
  return new MergedRows(newest, older, reverse)
}

/** An iterator's entries, decoded, without those that are not seen. */
class DecodedRows implements RowSource {
  readonly #iterator: EngineIterator
  readonly #decode: (key: Key, bytes: Uint8Array) => Row | undefined

  constructor(iterator: EngineIterator, decode: (key: Key, bytes: Uint8Array) => Row | undefined) {
    this.#iterator = iterator
    this.#decode = decode
  }

  async next(count: number): Promise<readonly Row[]> {
    for (;;) {
      const chunk = await this.#iterator.next(count)
      if (chunk.length === 0) return []
      const rows: Row[] = []
      for (const [key, bytes] of chunk) {
        const row = this.#decode(key, bytes)
        if (row !== undefined) rows.push(row)
      }
      if (rows.length > 0) return rows
    }
  }

  close(): Promise<void> {
    return this.#iterator.close()
  }
}

/** Two sources that have no key in common: a snapshot sees one version of it. */
class MergedRows implements RowSource {
  readonly #sources: readonly [Buffered, Buffered]
  readonly #reverse: boolean

  constructor(a: RowSource, b: RowSource, reverse: boolean) {
    this.#sources = [new Buffered(a), new Buffered(b)]
    this.#reverse = reverse
  }

  async next(count: number): Promise<readonly Row[]> {
    const [a, b] = this.#sources
    const rows: Row[] = []
    while (rows.length < count) {
      if (a.peek === undefined) await a.fill(count)
      if (b.peek === undefined) await b.fill(count)
      const [first, second] = [a.peek, b.peek]
      if (first === undefined && second === undefined) break
      const isFirst = second === undefined || (first !== undefined && first.key < second.key !== this.#reverse)
      rows.push((isFirst ? a : b).take())
    }
    return rows
  }

  async close(): Promise<void> {
    for (const source of this.#sources) await source.close()
  }
}

class Buffered {
  readonly #source: RowSource
  #rows: readonly Row[] = []
  #at = 0
  #isAtEnd = false

  constructor(source: RowSource) {
    this.#source = source
  }

  get peek(): Row | undefined {
    return this.#rows[this.#at]
  }

  take(): Row {
    return this.#rows[this.#at++]!
  }

  async fill(count: number): Promise<void> {
    if (this.#isAtEnd) return
    this.#rows = await this.#source.next(count)
    this.#at = 0
    this.#isAtEnd = this.#rows.length === 0
  }

  close(): Promise<void> {
    return this.#source.close()
  }
}
