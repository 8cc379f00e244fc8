import { Buffer } from 'node:buffer'
import type { Clock, Key } from '@cordillera/base'
import { type Span, STORED_VALUE_HEADER_BYTES, writeStoredValue } from '@cordillera/ranges'
import { dataKey } from './engine-keys.js'
import type { OverlaidValue } from './generation.js'
import type { EngineBatch, StateEngine } from './state-engine.js'

const SLICE_ENTRIES_MAX = 256
const SLICE_BYTES_MAX = 256 << 10

/**
 * Puts many entries into one batch without holding the event loop for longer than a slice of them takes: a few hundred
 * entries or a few hundred KiB, a turn in between. `values` must not change until it resolves.
 */
export async function feedBatch(
  batch: EngineBatch,
  values: ReadonlyMap<Key, OverlaidValue>,
  clock: Clock,
): Promise<void> {
  let scratch = Buffer.allocUnsafeSlow(4096)
  let entries = 0
  let bytes = 0
  for (const [key, { version, value }] of values) {
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
}

/** Puts a deletion of every key that the engine holds in a span (of engine keys) into the batch, in small pieces. */
export async function feedDeletes(batch: EngineBatch, engine: StateEngine, span: Span): Promise<void> {
  const snapshot = engine.snapshot()
  const iterator = snapshot.iterate({ ...span, reverse: false })
  try {
    for (;;) {
      const chunk = await iterator.next(SLICE_ENTRIES_MAX)
      if (chunk.length === 0) return
      for (const [key] of chunk) batch.delete(key)
    }
  } finally {
    await iterator.close()
    await snapshot.close()
  }
}

function nextTurn(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.defer(resolve))
}
