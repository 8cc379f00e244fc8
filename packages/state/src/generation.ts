import type { Key, Version } from '@cordillera/base'
import { type Descriptor, type Span, spansOverlap, type VersionedValue, type Write } from '@cordillera/ranges'
import { SortedRuns } from './sorted-runs.js'

/** `value` undefined: the key was deleted by this version. */
export interface OverlaidValue {
  readonly version: Version
  readonly value: Uint8Array | undefined
}

export function isPresent(overlaid: OverlaidValue): overlaid is VersionedValue {
  return overlaid.value !== undefined
}

/** What an entry of a map and its objects cost beside key and value: an estimate. */
const ENTRY_OVERHEAD_BYTES = 96

/**
 * The newest value of every key written between two cuts.
 *
 * Values are views of the entries they came in and are never changed. The order of keys is kept apart for every
 * descriptor under which they were written, so that a scan sorts the keys of the ranges that it looks at alone.
 */
export class Generation {
  readonly values = new Map<Key, OverlaidValue>()
  readonly #orders = new Map<Descriptor, SortedRuns>()
  #bytes = 0

  /**
   * Keys and values ever written to this generation, with overhead. What was overwritten still counts: it may share
   * its memory with something that was not, and the log that holds it waits for the flush all the same.
   */
  get bytes(): number {
    return this.#bytes
  }

  write(descriptor: Descriptor, writes: readonly Write[], version: Version): void {
    const { values } = this
    const order = this.#order(descriptor)
    let bytes = 0
    for (const { key, value } of writes) {
      const before = values.size
      values.set(key, { version, value })
      if (values.size !== before) order.add(key)
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

  /** Gives up the order: only point reads from now on. */
  forgetOrder(): void {
    this.#orders.clear()
  }

  /** Takes over the values of a later generation. Both must have forgotten their order. */
  absorb(later: Generation): void {
    for (const [key, value] of later.values) this.values.set(key, value)
    this.#bytes += later.bytes
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
