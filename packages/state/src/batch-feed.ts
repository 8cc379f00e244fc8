import { Buffer } from 'node:buffer'
import type { Clock, Key, Version } from '@cordillera/base'
import {
  type Span,
  STORED_VALUE_HEADER_BYTES,
  type VersionedValue,
  type Write,
  writeStoredValue,
} from '@cordillera/ranges'
import { dataKey } from './engine-keys.js'
import { type HistoryRecord, putHistory } from './history.js'
import type { EngineBatch, StateEngine } from './state-engine.js'

const SLICE_ENTRIES_MAX = 256
const SLICE_BYTES_MAX = 256 << 10

export interface Feed {
  readonly values: ReadonlyMap<Key, Write>
  readonly clock: Clock
  readonly safePoint: Version
  /** The newest version that the engine holds. */
  flushed(key: Key): VersionedValue | undefined
}

/**
 * Puts a generation into one batch without holding the event loop for longer than a slice of it takes: a few hundred
 * entries or a few hundred KiB, a turn in between. The newest version of each key replaces the engine's; what is
 * superseded above the safe point goes to the history, the engine's own version included, which is looked up for that.
 * Returns the number of history records. `values` must not change until it resolves.
 */
export async function feedBatch(batch: EngineBatch, { values, clock, safePoint, flushed }: Feed): Promise<number> {
  let scratch = Buffer.allocUnsafeSlow(4096)
  let entries = 0
  let bytes = 0
  let history = 0
  for (const [key, newest] of values) {
    const { version } = newest
    if (version > safePoint) {
      for (const record of supersededBy(key, newest, safePoint, flushed)) {
        putHistory(batch, record)
        bytes += STORED_VALUE_HEADER_BYTES + record.value.length
        history++
      }
    }
    const { value } = newest
    if (value === undefined) {
      batch.delete(dataKey(key))
    } else {
      const needed = STORED_VALUE_HEADER_BYTES + value.length
      if (needed > scratch.length) scratch = Buffer.allocUnsafeSlow(needed * 2)
      batch.put(dataKey(key), scratch.subarray(0, writeStoredValue(scratch, version, value)))
      bytes += needed
    }
    if (++entries < SLICE_ENTRIES_MAX && bytes < SLICE_BYTES_MAX) continue
    entries = 0
    bytes = 0
    await nextTurn(clock)
  }
  return history
}

/** What snapshots at or above the safe point may see of a key, apart from its newest version. */
function* supersededBy(
  key: Key,
  newest: Write,
  safePoint: Version,
  flushed: (key: Key) => VersionedValue | undefined,
): Generator<HistoryRecord> {
  let supersededAt = newest.version
  for (let { older } = newest; supersededAt > safePoint; { older } = older) {
    const { version, value } = older ?? flushed(key) ?? NONE
    if (value !== undefined) yield { key, version, value, supersededAt }
    if (older === undefined) return
    supersededAt = version
  }
}

const NONE = { version: 0, value: undefined }

/**
 * Puts a deletion of every key that the engine holds in a span (of engine keys), or of so many at most, into the batch, in
 * small pieces. Returns how many, and where the first key behind them may be.
 */
export async function feedDeletes(
  batch: EngineBatch,
  engine: StateEngine,
  span: Span,
  max = Number.POSITIVE_INFINITY,
): Promise<{ readonly count: number; readonly end: Key }> {
  const snapshot = engine.snapshot()
  const iterator = snapshot.iterate({ ...span, reverse: false })
  try {
    let end = span.start
    let count = 0
    while (count < max) {
      const chunk = await iterator.next(Math.min(SLICE_ENTRIES_MAX, max - count))
      if (chunk.length === 0) break
      for (const [key] of chunk) batch.delete(key)
      count += chunk.length
      end = `${chunk.at(-1)![0]}\x00`
    }
    return { count, end }
  } finally {
    await iterator.close()
    await snapshot.close()
  }
}

function nextTurn(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.defer(resolve))
}
