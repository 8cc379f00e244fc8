import { assert, type Key, type Version } from '@cordillera/base'
import { type Descriptor, type Span, spansOverlap, type Write } from '@cordillera/ranges'
import { SortedRuns } from './sorted-runs.js'

/** The newest version at or below `at`; undefined when all are above it. */
export function versionAt(newest: Write | undefined, at: Version): Write | undefined {
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
  readonly values = new Map<Key, Write>()
  /** Keys that have older versions here; a key may come twice. */
  #overwritten: Key[] = []
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

  /** Takes the writes over: their `older` is this generation's from now on. Versions of a key rise. */
  write(descriptor: Descriptor, writes: readonly Write[], safePoint: Version): void {
    const { values } = this
    const order = this.#order(descriptor)
    let bytes = 0
    for (const newest of writes) {
      const { key } = newest
      const older = values.get(key)
      if (older === undefined) order.add(key)
      else this.#overwrite(key, older, newest, safePoint)
      values.set(key, newest)
      bytes += ENTRY_OVERHEAD_BYTES + key.length + newest.valueLength
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
    this.#overwritten = []
  }

  /** Takes over the values of a later generation. Both must have forgotten their order. */
  absorb(later: Generation): void {
    for (const [key, value] of later.values) this.values.set(key, value)
    this.#bytes += later.bytes
  }

  /** Puts what `newest` supersedes behind it, if a snapshot may still see that. */
  #overwrite(key: Key, older: Write, newest: Write, safePoint: Version): void {
    assert(newest.version > older.version, 'the versions of a key rise')
    if (newest.version <= safePoint) return
    if (older.version <= safePoint) older.older = undefined
    if (older.older === undefined) this.#overwritten.push(key)
    newest.older = older
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
function cutChain(newest: Write, safePoint: Version): void {
  let at: Write | undefined = newest
  while (at !== undefined && at.version > safePoint) at = at.older
  if (at !== undefined) at.older = undefined
}
