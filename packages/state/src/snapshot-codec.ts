import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import {
  ByteReader,
  ByteWriter,
  CordilleraError,
  type Key,
  type LogIndex,
  type Term,
  type Version,
} from '@cordillera/base'
import {
  type Descriptor,
  decodeStoredValue,
  OperationMemory,
  readDescriptor,
  type Span,
  spanContains,
  writeDescriptor,
} from '@cordillera/ranges'
import { dataKey, historyEngineKey, isHistory, keyOfHistory } from './engine-keys.js'
import { decodeHistory } from './history.js'

/**
 * A snapshot of a range as a row of chunks: a head, rows and pieces of the memory, an end. Every chunk is `u8 kind`, then
 *
 * | kind | |
 * | --- | --- |
 * | 1 head | `u8 format=1, descriptor, varint index, varint term, varint safePoint` |
 * | 2 rows | until its end: `u8 column, key, bytes value`; column 0: a key and its stored value, 1: a record of the history |
 * | 3 end | `varint chunks, u32 checksum`: a CRC-32 over all chunks before it, one behind the other |
 * | 4 memory | a piece of what the range remembers of operations, encoded; nothing at all when it remembers nothing |
 *
 * Rows are what the engine holds, byte for byte, in its order. A chunk is about {@link CHUNK_BYTES} long, and longer only by a
 * single row.
 */
export interface SnapshotHead {
  readonly descriptor: Descriptor
  /** The last entry that it holds the effects of. */
  readonly index: LogIndex
  readonly term: Term
  /** The sender may have collected what only readers below it would see. */
  readonly safePoint: Version
}

export const CHUNK_BYTES = 256 << 10

const HEAD = 1
const ROWS = 2
const END = 3
const MEMORY = 4
const FORMAT = 1
const DATA = 0
const HISTORY = 1

export type SnapshotColumn = typeof DATA | typeof HISTORY
export const SnapshotColumn = { data: DATA, history: HISTORY } as const

/** A row by the key under which the engine has it. */
export type EngineRow = readonly [engineKey: Key, value: Uint8Array]

/** Makes the chunks, in order; counts and sums them up for the end. */
export class SnapshotEncoder {
  readonly #out = new ByteWriter(4096)
  #chunks = 0
  #checksum = 0

  head({ descriptor, index, term, safePoint }: SnapshotHead): Uint8Array {
    writeDescriptor(this.#out.u8(HEAD).u8(FORMAT), descriptor)
    this.#out.varint(index).varint(term).varint(safePoint)
    return this.#take()
  }

  memory(piece: Uint8Array): Uint8Array {
    this.#out.u8(MEMORY).raw(piece)
    return this.#take()
  }

  /** `rows` of one column; their engine keys lose their tag. */
  rows(column: SnapshotColumn, rows: readonly EngineRow[]): Uint8Array {
    this.#out.u8(ROWS)
    for (const [engineKey, value] of rows) this.#out.u8(column).key(engineKey.slice(1)).bytes(value)
    return this.#take()
  }

  end(): Uint8Array {
    return this.#out.u8(END).varint(this.#chunks).u32(this.#checksum).take()
  }

  #take(): Uint8Array {
    const chunk = this.#out.take()
    this.#chunks++
    this.#checksum = crc32(chunk, this.#checksum)
    return chunk
  }
}

/** Checks chunks as they come in; each as a whole and in its place. Throws `CORRUPT` at the first that is not right. */
export class SnapshotDecoder {
  #head: SnapshotHead | undefined
  readonly #memory: Uint8Array[] = []
  #chunks = 0
  #checksum = 0
  #isComplete = false

  /** Known from the first chunk on. */
  get head(): SnapshotHead | undefined {
    return this.#head
  }

  /** What the range remembers of operations, encoded, as far as it has come; empty: nothing. */
  get memory(): Uint8Array {
    return Buffer.concat(this.#memory)
  }

  /** The end has come, and fits what came before it. */
  get isComplete(): boolean {
    return this.#isComplete
  }

  add(chunk: Uint8Array): void {
    if (this.#isComplete) throw malformed('a chunk behind the end')
    const reader = new ByteReader(chunk)
    const kind = reader.u8()
    if ((kind === HEAD) !== (this.#head === undefined)) throw malformed('a head that is not the first chunk')
    if (kind === HEAD) this.#head = readHead(reader)
    else if (kind === ROWS) checkRows(chunk, this.#head!.descriptor)
    else if (kind === MEMORY) this.#memory.push(Buffer.from(chunk.subarray(1)))
    else if (kind !== END || reader.varint() !== this.#chunks || reader.u32() !== this.#checksum) {
      throw malformed('an end that does not fit what came before it')
    } else {
      reader.end()
      if (this.#memory.length > 0) OperationMemory.decode(this.memory)
      this.#isComplete = true
    }
    this.#chunks++
    this.#checksum = crc32(chunk, this.#checksum)
  }
}

/** The rows of a chunk, by their engine keys; none of one that has no rows. Throws `CORRUPT`, also for keys outside of the span. */
export function* readRows(chunk: Uint8Array, span: Span): Generator<EngineRow> {
  const reader = new ByteReader(chunk)
  if (reader.u8() !== ROWS) return
  while (reader.remaining > 0) {
    const column = reader.u8()
    const key = reader.key(ENGINE_KEY_BYTES_MAX)
    const value = reader.bytes()
    if (column !== DATA && column !== HISTORY) throw malformed('a row of an unknown column')
    const engineKey = column === DATA ? dataKey(key) : historyEngineKey(key)
    if (!spanContains(span, column === DATA ? key : keyOfHistory(engineKey))) throw malformed('a row of another range')
    yield [engineKey, value]
  }
}

/** What is installed must be readable later. */
function checkRows(chunk: Uint8Array, span: Span): void {
  for (const [engineKey, value] of readRows(chunk, span)) {
    if (isHistory(engineKey)) decodeHistory(engineKey, value)
    else decodeStoredValue(value)
  }
}

function readHead(reader: ByteReader): SnapshotHead {
  if (reader.u8() !== FORMAT) throw malformed('an unknown format')
  const head = {
    descriptor: readDescriptor(reader),
    index: reader.varint(),
    term: reader.varint(),
    safePoint: reader.varint(),
  }
  reader.end()
  return head
}

/** Escaping may double a key of 4 KiB and its keyspace. */
const ENGINE_KEY_BYTES_MAX = 0x4000

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed snapshot: ${what}` })
}
