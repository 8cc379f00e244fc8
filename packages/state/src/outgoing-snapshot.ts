import { CordilleraError } from '@cordillera/base'
import type { Span } from '@cordillera/ranges'
import { dataSpan, historySpan } from './engine-keys.js'
import { CHUNK_BYTES, type EngineRow, SnapshotColumn, SnapshotEncoder, type SnapshotHead } from './snapshot-codec.js'
import type { EngineIterator, EngineSnapshot } from './state-engine.js'

/** Rows that are read at once. */
const ROWS_MAX = 512

/** A snapshot that is being read, one chunk at a time. */
export class OutgoingSnapshot {
  readonly head: SnapshotHead
  readonly #encoder = new SnapshotEncoder()
  readonly #snapshot: EngineSnapshot
  readonly #onClosed: () => void
  readonly #columns: Column[]
  /** What is left of the memory. */
  #memory: Uint8Array
  #isBegun = false
  #isEnded = false
  #busy: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | undefined

  constructor(snapshot: EngineSnapshot, head: SnapshotHead, memory: Uint8Array, onClosed: () => void) {
    this.head = head
    this.#snapshot = snapshot
    this.#memory = memory
    this.#onClosed = onClosed
    const iterate = (span: Span): EngineIterator => snapshot.iterate({ ...span, reverse: false })
    this.#columns = [
      { column: SnapshotColumn.data, iterator: iterate(dataSpan(head.descriptor)), rows: [] },
      { column: SnapshotColumn.history, iterator: iterate(historySpan(head.descriptor)), rows: [] },
    ]
  }

  /**
   * The next chunk, which the caller owns; undefined behind the last. One call at a time. Rejects with `CLOSED` once closed.
   */
  next(): Promise<Uint8Array | undefined> {
    if (this.#closing !== undefined) return Promise.reject(new CordilleraError('CLOSED'))
    const chunk = this.#next()
    this.#busy = chunk.catch(() => undefined)
    return chunk
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #next(): Promise<Uint8Array | undefined> {
    if (!this.#isBegun) {
      this.#isBegun = true
      return this.#encoder.head(this.head)
    }
    if (this.#memory.length > 0) {
      const piece = this.#memory.subarray(0, CHUNK_BYTES)
      this.#memory = this.#memory.subarray(CHUNK_BYTES)
      return this.#encoder.memory(piece)
    }
    for (;;) {
      const [first] = this.#columns
      if (first === undefined) break
      const rows = await takeRows(first)
      if (rows.length > 0) return this.#encoder.rows(first.column, rows)
      this.#columns.shift()
      await first.iterator.close()
    }
    if (this.#isEnded) return undefined
    this.#isEnded = true
    return this.#encoder.end()
  }

  async #close(): Promise<void> {
    await this.#busy
    for (const { iterator } of this.#columns.splice(0)) await iterator.close()
    await this.#snapshot.close()
    this.#onClosed()
  }
}

interface Column {
  readonly column: SnapshotColumn
  readonly iterator: EngineIterator
  /** Read, and not in a chunk yet. */
  rows: readonly EngineRow[]
}

/** As many rows as a chunk takes, at least one; none at the end. */
async function takeRows(source: Column): Promise<readonly EngineRow[]> {
  const taken: EngineRow[] = []
  for (let bytes = 0; bytes < CHUNK_BYTES; ) {
    if (source.rows.length === 0) source.rows = await source.iterator.next(ROWS_MAX)
    if (source.rows.length === 0) break
    let count = 0
    while (count < source.rows.length && bytes < CHUNK_BYTES) {
      const [key, value] = source.rows[count++]!
      bytes += key.length + value.length
    }
    taken.push(...source.rows.slice(0, count))
    source.rows = source.rows.slice(count)
  }
  return taken
}
