import type { Key } from '@cordillera/base'

/**
 * Distinct keys in byte order, for a writer that adds many and a reader that asks seldom.
 *
 * Adding is a push. Asking sorts what was added since and merges it with earlier runs of similar size, so that every
 * key takes part in a logarithmic number of merges and there are never more than a logarithmic number of runs.
 */
export class SortedRuns {
  #added: Key[] = []
  /** Longest first; each more than twice as long as the next. */
  readonly #runs: (readonly Key[])[] = []

  /** `key` must not have been added before. */
  add(key: Key): void {
    this.#added.push(key)
  }

  /** Every key in exactly one of the ascending runs. Valid until the next call; the runs themselves never change. */
  settled(): readonly (readonly Key[])[] {
    if (this.#added.length > 0) {
      let run: readonly Key[] = this.#added.sort()
      this.#added = []
      while (this.#runs.length > 0 && this.#runs[this.#runs.length - 1]!.length <= 2 * run.length) {
        run = merge(this.#runs.pop()!, run)
      }
      this.#runs.push(run)
    }
    return this.#runs
  }
}

/** The position of the first key that is not below `key`. */
export function lowerBound(run: readonly Key[], key: Key): number {
  let low = 0
  let high = run.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (run[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}

function merge(a: readonly Key[], b: readonly Key[]): Key[] {
  const merged = new Array<Key>(a.length + b.length)
  let i = 0
  let j = 0
  for (let at = 0; at < merged.length; at++) {
    merged[at] = j >= b.length || (i < a.length && a[i]! < b[j]!) ? a[i++]! : b[j++]!
  }
  return merged
}
