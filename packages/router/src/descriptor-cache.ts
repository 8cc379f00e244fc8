import type { Key, RangeId } from '@cordillera/base'
import { type Descriptor, spansOverlap } from '@cordillera/ranges'

/**
 * What this gateway believes about which range holds which keys: descriptors sorted by start key, found by binary
 * search.
 *
 * No two of them overlap and no range is in it twice. A descriptor replaces everything older that it overlaps or whose
 * range id it has, and is ignored whole when any of that is newer: epochs never go back here. Age is compared by
 * `epoch.version`, which split and merge raise above that of every range they touch, and for one range by `confVersion`
 * next. A key may be in no descriptor (before the first is learned, or when only one half of a split is known yet): the
 * cache says so and never guesses.
 */
export class DescriptorCache {
  readonly #sorted: Descriptor[] = []
  readonly #byRange = new Map<RangeId, Descriptor>()

  get size(): number {
    return this.#sorted.length
  }

  /** The range that holds `key`. */
  find(key: Key): Descriptor | undefined {
    const found = this.#sorted[this.#startingAbove(key) - 1]
    return found === undefined || (found.end !== null && key >= found.end) ? undefined : found
  }

  /** The range that holds the keys just below `end` (null: the greatest keys there are). */
  findBelow(end: Key | null): Descriptor | undefined {
    const at = end === null ? this.#sorted.length : this.#startingAtOrAbove(end)
    const found = this.#sorted[at - 1]
    if (found === undefined || found.end === null) return found
    return end === null || found.end < end ? undefined : found
  }

  get(rangeId: RangeId): Descriptor | undefined {
    return this.#byRange.get(rangeId)
  }

  /** In order of keys. */
  all(): Iterable<Descriptor> {
    return this.#sorted
  }

  /** Takes in a descriptor. Returns what it replaced (often nothing), or undefined when it was old news. */
  tryLearn(descriptor: Descriptor): readonly Descriptor[] | undefined {
    const { start, end, rangeId } = descriptor
    if (end !== null && start >= end) return undefined
    let from = this.#startingAbove(start)
    if (from > 0 && spansOverlap(this.#sorted[from - 1]!, descriptor)) from--
    let to = from
    while (to < this.#sorted.length && spansOverlap(this.#sorted[to]!, descriptor)) to++
    const replaced = this.#sorted.slice(from, to)
    const former = this.#byRange.get(rangeId)
    const elsewhere = former !== undefined && !replaced.includes(former)
    if (elsewhere) replaced.push(former)
    for (const known of replaced) if (!isNewer(descriptor, known)) return undefined

    this.#sorted.splice(from, to - from, descriptor)
    if (elsewhere) this.#sorted.splice(this.#sorted.indexOf(former), 1)
    for (const known of replaced) this.#byRange.delete(known.rangeId)
    this.#byRange.set(rangeId, descriptor)
    return replaced
  }

  /** The place of the first descriptor whose start is above `key`. */
  #startingAbove(key: Key): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sorted[middle]!.start > key) high = middle
      else low = middle + 1
    }
    return low
  }

  #startingAtOrAbove(key: Key): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sorted[middle]!.start >= key) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** Whether `news` supersedes `known`, which it overlaps or whose range it describes. */
export function isNewer(news: Descriptor, known: Descriptor): boolean {
  if (news.epoch.version !== known.epoch.version) return news.epoch.version > known.epoch.version
  return news.rangeId === known.rangeId && news.epoch.confVersion > known.epoch.confVersion
}
