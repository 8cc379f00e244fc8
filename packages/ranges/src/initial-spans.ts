import { assert } from '@cordillera/base'
import type { Span } from './descriptor.js'
import { DEFAULT_KEYSPACE, keyspacePrefix, SYSTEM_SPAN } from './keyspace.js'

/** Bounds what a founder writes and every node must hold. */
export const INITIAL_RANGES_MAX = 65_536

/** Where a boundary cannot be exact, its error is below this part of a range. */
const PRECISION = 4096

/**
 * The spans of a new cluster's ranges, in order, without the system range: together everything from `\x01` on.
 *
 * The inner boundaries divide the default keyspace evenly over keys that begin with hex digits: 16 spans are cut at
 * `1`, `2`, … `f`. All boundaries have the same number of digits, as few as make the division exact, or else enough
 * that no range is off by more than 1/4096 of its size.
 */
export function initialSpans(count: number): Span[] {
  assert(Number.isInteger(count) && count >= 1 && count <= INITIAL_RANGES_MAX, 'the number of initial ranges is valid')
  let digits = 1
  while (16 ** digits % count !== 0 && 16 ** digits < count * PRECISION) digits++
  const cells = 16 ** digits
  const prefix = keyspacePrefix(DEFAULT_KEYSPACE)
  const spans: Span[] = []
  let start: string = SYSTEM_SPAN.end
  for (let i = 1; i < count; i++) {
    const end =
      prefix +
      Math.floor((i * cells) / count)
        .toString(16)
        .padStart(digits, '0')
    spans.push({ start, end })
    start = end
  }
  spans.push({ start, end: null })
  return spans
}
