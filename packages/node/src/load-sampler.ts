import type { Key, Random } from '@cordillera/base'
import type { LoadSplit } from '@cordillera/placement'
import { keyOfCommand, type Span, spanContains } from '@cordillera/ranges'
import type { RequestSampler } from '@cordillera/replicas'
import type { RangeRequest } from '@cordillera/wire'

/**
 * Where the load of one range could be cut, from a sample of its requests: the last {@link SAMPLES}, drawn evenly, at about
 * {@link SAMPLES_PER_SEC} whatever the load.
 *
 * A key divides the load when each side of it has at least {@link SIDE_MIN} of the requests, in the older half of the samples and
 * in the newer one: what was a good key a few seconds ago and is none any more is not given, so that a load that moves on, as
 * ascending keys do, is not cut behind its back. A scan counts once, on the side that it lies on; one that crosses a key would go
 * to both sides, and speaks against it.
 *
 * What is not sampled costs a subtraction; what is, the key of a command. Between verdicts nothing is sorted.
 */
const SAMPLES = 256
const HALF = SAMPLES / 2
export const SAMPLES_PER_SEC = 40
/** Of the requests: the busier side keeps at most the rest. */
const SIDE_MIN = 0.35
/** Of the requests: a key with more is the hot one. */
const HOT_MIN = 0.5

export class LoadSampler implements RequestSampler {
  readonly #random: Random
  /** Rings: what sample i asks for is from `starts[i]` to before `ends[i]`; null is infinity. */
  readonly #starts: Key[] = []
  readonly #ends: (Key | null)[] = []
  #oldest = 0
  /** Mean distance of samples, in requests. */
  #stride = 1
  /** Requests until the next sample. */
  #skip = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** The load at present: how much of it is sampled follows from it. */
  set loadPerSec(loadPerSec: number) {
    this.#stride = Math.max(1, Math.round(loadPerSec / SAMPLES_PER_SEC))
  }

  onRequest(request: RangeRequest): void {
    switch (request.kind) {
      case 'write':
        for (; this.#skip < request.count; this.#skip += this.#gap()) {
          this.#addKey(keyOfCommand(request.block, this.#skip))
        }
        this.#skip -= request.count
        return
      case 'read':
        for (; this.#skip < request.keys.length; this.#skip += this.#gap()) this.#addKey(request.keys[this.#skip]!)
        this.#skip -= request.keys.length
        return
      case 'scan':
        for (; this.#skip < 1; this.#skip += this.#gap()) this.#add(request.start, request.end)
        this.#skip--
        return
      default: // Of no key.
    }
  }

  /** Undefined while there are too few samples, and when neither holds. A key lies strictly inside of the span. */
  verdict(span: Span): LoadSplit | undefined {
    if (this.#starts.length < SAMPLES) return undefined
    const oldest = this.#oldest
    const starts = inOrder(this.#starts, oldest)
    const ends = inOrder(this.#ends, oldest)
    const older = new Sides(starts.slice(0, HALF), ends.slice(0, HALF))
    const newer = new Sides(starts.slice(HALF), ends.slice(HALF))
    let best = { key: '', least: SIDE_MIN * HALF }
    // Nearer to an end there is too little on that side.
    const middle = [...starts].sort().slice(SIDE_MIN * SAMPLES, SAMPLES - SIDE_MIN * SAMPLES + 1)
    for (const key of new Set(middle)) {
      if (key === span.start || !spanContains(span, key)) continue
      const least = Math.min(older.lesser(key), newer.lesser(key))
      if (least > best.least) best = { key, least }
    }
    if (best.key !== '') return { kind: 'key', key: best.key }
    const hot = hotKey(starts, ends)
    return hot === undefined ? undefined : { kind: 'one-hot-key', key: hot }
  }

  #gap(): number {
    return 1 + this.#random.below(2 * this.#stride - 1)
  }

  #addKey(key: Key): void {
    this.#add(key, successor(key))
  }

  #add(start: Key, end: Key | null): void {
    this.#starts[this.#oldest] = start
    this.#ends[this.#oldest] = end
    this.#oldest = (this.#oldest + 1) % SAMPLES
  }
}

/** Counts what lies on either side of a key. */
class Sides {
  readonly #starts: readonly Key[]
  /** Without those at infinity: they are on no left side. */
  readonly #ends: readonly Key[]

  constructor(starts: Key[], ends: readonly (Key | null)[]) {
    this.#starts = starts.sort()
    this.#ends = ends.filter((end) => end !== null).sort()
  }

  /** The requests on the side that has fewer, without those on both. */
  lesser(key: Key): number {
    const right = this.#starts.length - countWhile(this.#starts, (start) => start < key)
    return Math.min(
      countWhile(this.#ends, (end) => end <= key),
      right,
    )
  }
}

function hotKey(starts: readonly Key[], ends: readonly (Key | null)[]): Key | undefined {
  const counts = new Map<Key, number>()
  for (const [i, key] of starts.entries()) {
    if (ends[i] !== successor(key)) continue
    const count = (counts.get(key) ?? 0) + 1
    if (count > HOT_MIN * SAMPLES) return key
    counts.set(key, count)
  }
  return undefined
}

function inOrder<T>(ring: readonly T[], oldest: number): T[] {
  return ring.slice(oldest).concat(ring.slice(0, oldest))
}

/** The first key behind it. */
function successor(key: Key): Key {
  return `${key}\x00`
}

/** How many of the keys, from the first, are so; none is behind one that is not. */
function countWhile(sorted: readonly Key[], isSo: (key: Key) => boolean): number {
  let [from, to] = [0, sorted.length]
  while (from < to) {
    const middle = (from + to) >> 1
    if (isSo(sorted[middle]!)) from = middle + 1
    else to = middle
  }
  return from
}
