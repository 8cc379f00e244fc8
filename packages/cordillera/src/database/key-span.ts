import type { Key } from '@cordillera/base'
import { boundOf, type Formatted } from './formats.js'

/** What of a range `abstract-level` hands over, its bounds encoded. The narrower of two lower bounds is `gte`, if given. */
export interface RangeBounds {
  readonly gt?: Formatted
  readonly gte?: Formatted
  readonly lt?: Formatted
  readonly lte?: Formatted
}

/** `[start, end)`; empty when the start is not below the end. */
export interface KeySpan {
  readonly start: Key
  readonly end: Key
}

/** The part of the keyspace `within` that lies in the range. */
export function spanOf(within: KeySpan, bounds: RangeBounds): KeySpan {
  const prefix = within.start
  let { start, end } = within
  if (bounds.gte !== undefined) start = boundOf(prefix, bounds.gte)
  else if (bounds.gt !== undefined) start = above(boundOf(prefix, bounds.gt))
  if (bounds.lte !== undefined) end = above(boundOf(prefix, bounds.lte))
  else if (bounds.lt !== undefined) end = boundOf(prefix, bounds.lt)
  return { start, end }
}

export function isEmptySpan({ start, end }: KeySpan): boolean {
  return start >= end
}

/** The smallest key above this one. */
export function above(key: Key): Key {
  return `${key}\x00`
}
