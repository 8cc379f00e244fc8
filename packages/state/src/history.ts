import { Buffer } from 'node:buffer'
import { asBuffer, CordilleraError, type Key, type Version } from '@cordillera/base'
import { decodeStoredValue, STORED_VALUE_HEADER_BYTES, type VersionedValue, writeStoredValue } from '@cordillera/ranges'
import { HISTORY, historyKey, historyKeyAt, historySpan, keyOfHistory } from './engine-keys.js'
import type { EngineBatch, EngineIterator, EngineSnapshot } from './state-engine.js'

/**
 * Versions that are not a key's newest any more, while a snapshot may see them: one record each, under the key and the
 * inverted version, `7 bytes supersededAt, stored value`. A record is seen by the snapshots from its version up to, and
 * without, `supersededAt`: so a deletion needs no record, and one look finds the version that a snapshot sees.
 *
 * A record is made when a flush writes a newer version that is above the safe point, and collected once the safe point
 * has reached `supersededAt`.
 */
const SUPERSEDED_BYTES = 7

export interface HistoryRecord extends VersionedValue {
  readonly key: Key
  /** The version, of a value or a deletion, that took its place. */
  readonly supersededAt: Version
}

export function putHistory(batch: EngineBatch, { key, version, value, supersededAt }: HistoryRecord): void {
  const bytes = Buffer.allocUnsafe(SUPERSEDED_BYTES + STORED_VALUE_HEADER_BYTES + value.length)
  bytes.writeUIntLE(supersededAt % 2 ** 32, 0, 4)
  bytes.writeUIntLE(Math.floor(supersededAt / 2 ** 32), 4, 3)
  writeStoredValue(bytes.subarray(SUPERSEDED_BYTES), version, value)
  batch.put(historyKey(key, version), bytes)
}

/** Throws `CORRUPT`. */
export function decodeHistory(engineKey: Key, bytes: Uint8Array): HistoryRecord {
  if (bytes.length < SUPERSEDED_BYTES) {
    throw new CordilleraError('CORRUPT', { detail: 'malformed record of an older version: it is cut off' })
  }
  const { version, value } = decodeStoredValue(asBuffer(bytes).subarray(SUPERSEDED_BYTES))
  return { key: keyOfHistory(engineKey), version, value, supersededAt: supersededAt(bytes) }
}

/** Whether a snapshot at `at` sees the record. */
export function isSeenAt(record: HistoryRecord, at: Version): boolean {
  return record.version <= at && at < record.supersededAt
}

/** What {@link decodeHistory} makes of the record where a snapshot at `at` sees it. Most of them are not, and cost little. */
export function decodeHistoryAt(engineKey: Key, bytes: Uint8Array, at: Version): HistoryRecord | undefined {
  if (bytes.length >= SUPERSEDED_BYTES && supersededAt(bytes) <= at) return undefined
  const record = decodeHistory(engineKey, bytes)
  return isSeenAt(record, at) ? record : undefined
}

/** The record of the key that a snapshot at `at` sees. */
export async function findHistory(
  snapshot: EngineSnapshot,
  key: Key,
  at: Version,
): Promise<VersionedValue | undefined> {
  const { end } = historySpan({ start: key, end: `${key}\x00` })
  const iterator = snapshot.iterate({ start: historyKeyAt(key, at), end, reverse: false })
  try {
    const [first] = await iterator.next(1)
    const record = first === undefined ? undefined : decodeHistory(...first)
    return record !== undefined && isSeenAt(record, at) ? record : undefined
  } finally {
    await iterator.close()
  }
}

/** Records that one pass of collection looks at, and at once. */
const PASS_RECORDS_MAX = 20_000
const CHUNK_RECORDS = 500

/**
 * Collects history in passes over the whole column, a bounded part of it with every flush.
 */
export class HistoryCollector {
  #from: Key = HISTORY.start
  /** Whether this round over the column has met a record that stays. */
  #hasKept = false

  /** Records were put: a round that has begun may have passed their places already. */
  onPut(): void {
    if (this.#from !== HISTORY.start) this.#hasKept = true
  }

  /**
   * Puts deletions of records that no snapshot at or above the safe point sees into the batch. `nothing-left`: a whole
   * round over the column has met none that stays.
   */
  async collect(
    snapshot: EngineSnapshot,
    batch: EngineBatch,
    safePoint: Version,
  ): Promise<'to-be-continued' | 'some-left' | 'nothing-left'> {
    const iterator = snapshot.iterate({ ...HISTORY, start: this.#from, reverse: false })
    try {
      for (let seen = 0; seen < PASS_RECORDS_MAX; ) {
        const chunk = await iterator.next(CHUNK_RECORDS)
        if (chunk.length === 0) return this.#onRoundEnd()
        seen += chunk.length
        for (const [key, bytes] of chunk) {
          if (supersededAt(bytes) <= safePoint) batch.delete(key)
          else this.#hasKept = true
        }
        this.#from = `${chunk[chunk.length - 1]![0]}\x00`
      }
      return 'to-be-continued'
    } finally {
      await iterator.close()
    }
  }

  #onRoundEnd(): 'some-left' | 'nothing-left' {
    const end = this.#hasKept ? 'some-left' : 'nothing-left'
    this.#from = HISTORY.start
    this.#hasKept = false
    return end
  }
}

/** Whether the engine holds any history. */
export async function hasHistory(snapshot: EngineSnapshot): Promise<boolean> {
  const iterator: EngineIterator = snapshot.iterate({ ...HISTORY, reverse: false })
  try {
    return (await iterator.next(1)).length > 0
  } finally {
    await iterator.close()
  }
}

function supersededAt(bytes: Uint8Array): Version {
  const buffer = asBuffer(bytes)
  return buffer.readUIntLE(4, 3) * 2 ** 32 + buffer.readUInt32LE(0)
}
