import { assert, type Key, type Version } from '@cordillera/base'
import { type Descriptor, type Span, spansOverlap, type VersionedValue, type Write } from '@cordillera/ranges'
import { SortedRuns } from './sorted-runs.js'

/**
 * A version of a key, and the next older one of the same generation, as long as a snapshot may see it. `value` undefined:
 * the key was deleted by this version.
 */
export interface OverlaidValue {
  readonly version: Version
  readonly value: Uint8Array | undefined
  older: OverlaidValue | undefined
}

export function isPresent(overlaid: OverlaidValue): overlaid is OverlaidValue & VersionedValue {
  return overlaid.value !== undefined
}

/** The newest version at or below `at`; undefined when all are above it. */
export function versionAt(newest: OverlaidValue | undefined, at: Version): OverlaidValue | undefined {
  let found = newest
  while (found !== undefined && found.version > at) found = found.older
  return found
}

/** What an entry of a map and its objects cost beside key and value: an estimate. */
const ENTRY_OVERHEAD_BYTES = 96
/** A key that is overwritten all the time has its chain cut so often. */
const WRITES_BETWEEN_CUTS = 64

/**
 * The versions of every key written between two cuts, the newest first; of the others, those that a snapshot at or above
 * the safe point may still see, and possibly some more.
 *
 * Values are views of the entries they came in and are never changed. The order of keys is kept apart for every
 * descriptor under which they were written, so that a scan sorts the keys of the ranges that it looks at alone.
 */
export class Generation {
  readonly values = new Map<Key, OverlaidValue>()
  /** Keys that were overwritten within this generation. */
  readonly #overwritten = new Set<Key>()
  readonly #orders = new Map<Descriptor, SortedRuns>()
  #bytes = 0
  #overwrites = 0

  /**
   * Keys and values ever written to this generation, with overhead. What was overwritten still counts: it may share
   * its memory with something that was not, and the log that holds it waits for the flush all the same.
   */
  get bytes(): number {
    return this.#bytes
  }

  /** Versions of a key rise. */
  write(descriptor: Descriptor, writes: readonly Write[], safePoint: Version): void {
    const { values } = this
    const order = this.#order(descriptor)
    let bytes = 0
    for (const { key, value, version } of writes) {
      const newest: OverlaidValue = { version, value, older: undefined }
      const older = values.get(key)
      if (older === undefined) order.add(key)
      else this.#overwrite(key, older, newest, safePoint)
      values.set(key, newest)
      bytes += ENTRY_OVERHEAD_BYTES + key.length + (value === undefined ? 0 : value.length)
    }
    this.#bytes += bytes
  }

  /** Ascending runs that together hold every key of the span, and maybe keys outside. No key twice. */
  runsOver(span: Span): (readonly Key[])[] {
    const runs: (readonly Key[])[] = []
    for (const [descriptor, order] of this.#orders) {
      if (spansOverlap(descriptor, span)) runs.push(...order.settled())
    }
    return runs
  }

  /** Gives up the order, and all versions but the newest: only point reads of those from now on. */
  forgetOrder(): void {
    this.#orders.clear()
    for (const key of this.#overwritten) this.values.get(key)!.older = undefined
    this.#overwritten.clear()
  }

  /** Takes over the values of a later generation. Both must have forgotten their order. */
  absorb(later: Generation): void {
    for (const [key, value] of later.values) this.values.set(key, value)
    this.#bytes += later.bytes
  }

  /** Puts what `newest` supersedes behind it, if a snapshot may still see that. */
  #overwrite(key: Key, older: OverlaidValue, newest: OverlaidValue, safePoint: Version): void {
    assert(newest.version > older.version, 'the versions of a key rise')
    if (newest.version <= safePoint) return
    if (older.version <= safePoint) older.older = undefined
    newest.older = older
    this.#overwritten.add(key)
    if (++this.#overwrites % WRITES_BETWEEN_CUTS === 0) cutChain(newest, safePoint)
  }

  #order(descriptor: Descriptor): SortedRuns {
    let order = this.#orders.get(descriptor)
    if (order === undefined) {
      order = new SortedRuns()
      this.#orders.set(descriptor, order)
    }
    return order
  }
}

/** Forgets what no snapshot at or above the safe point can see: what is behind the first version at or below it. */
function cutChain(newest: OverlaidValue, safePoint: Version): void {
  let at: OverlaidValue | undefined = newest
  while (at !== undefined && at.version > safePoint) at = at.older
  if (at !== undefined) at.older = undefined
}
