import type { Random, RangeId } from '@cordillera/base'
import type { LoadSplit } from '@cordillera/placement'
import type { Replica, Replicas } from '@cordillera/replicas'
import { LoadSampler } from './load-sampler.js'

/**
 * Requests a second, for every range led here and for the node: differences of counters over the last sampling
 * interval, smoothed (half a new sample, half the old figure). Costs nothing on the path of a request, but where a range is led
 * here that is more than half as busy as one that is to be split for its load: some of its requests are sampled.
 */
export interface Load {
  readonly readsPerSec: number
  readonly writesPerSec: number
}

const MINUTES = 6
const NO_LOAD: Load = { readsPerSec: 0, writesPerSec: 0 }

interface Sampling {
  /** The epoch's: what was sampled before a split or a merge counts no more. */
  readonly version: number
  readonly sampler: LoadSampler
}

export class LoadMeter {
  readonly #random: Random
  readonly #samplings = new WeakMap<Replica, Sampling>()
  /** A range with more requests a second is to be split for it; 0: none is. */
  splitLoadPerSec = 0
  readonly #byRange = new Map<RangeId, { reads: number; writes: number; load: Load; readonly maxima: number[] }>()
  #seconds = 0
  #total: Load = NO_LOAD

  constructor(random: Random) {
    this.#random = random
  }

  get total(): Load {
    return this.#total
  }

  of(rangeId: RangeId): Load {
    return this.#byRange.get(rangeId)?.load ?? NO_LOAD
  }

  /** The most requests a second of about the last {@link MINUTES} minutes. */
  maxOf(rangeId: RangeId): number {
    return Math.max(0, ...(this.#byRange.get(rangeId)?.maxima ?? []))
  }

  /** Where the load of a range that is led here could be cut, as far as its samples say. */
  splitOf(replica: Replica): LoadSplit | undefined {
    const { descriptor } = replica
    const sampling = this.#samplings.get(replica)
    return sampling?.version === descriptor.epoch.version ? sampling.sampler.verdict(descriptor) : undefined
  }

  /** Takes a sample `seconds` after the previous one. */
  sample(replicas: Replicas, seconds: number): void {
    const minute = Math.floor(this.#seconds / 60)
    this.#seconds += seconds
    const isNewMinute = Math.floor(this.#seconds / 60) !== minute
    let reads = 0
    let writes = 0
    for (const replica of replicas.replicas()) {
      const { counts, descriptor } = replica
      const before = this.#byRange.get(descriptor.rangeId)
      if (before === undefined) {
        const fresh = { reads: counts.reads, writes: counts.writes, load: NO_LOAD, maxima: [0] }
        this.#byRange.set(descriptor.rangeId, fresh)
        continue // Nothing is known of its load yet.
      }
      const { maxima } = before
      if (isNewMinute && maxima.push(0) > MINUTES) maxima.shift()
      if (before.load !== NO_LOAD || before.reads !== counts.reads || before.writes !== counts.writes) {
        before.load = {
          readsPerSec: smooth(before.load.readsPerSec, (counts.reads - before.reads) / seconds),
          writesPerSec: smooth(before.load.writesPerSec, (counts.writes - before.writes) / seconds),
        }
        if (before.load.readsPerSec + before.load.writesPerSec === 0) before.load = NO_LOAD
        before.reads = counts.reads
        before.writes = counts.writes
      }
      const all = before.load.readsPerSec + before.load.writesPerSec
      if (all > maxima[maxima.length - 1]!) maxima[maxima.length - 1] = all
      this.#decideSampling(replica, all)
      reads += before.load.readsPerSec
      writes += before.load.writesPerSec
    }
    this.#total = { readsPerSec: reads, writesPerSec: writes }
  }

  #decideSampling(replica: Replica, loadPerSec: number): void {
    const { version } = replica.descriptor.epoch
    const { splitLoadPerSec } = this
    // Well below what calls for a split, so that its samples are there by then.
    if (splitLoadPerSec === 0 || !replica.isUsable || loadPerSec <= splitLoadPerSec / 2) {
      if (replica.sampler === undefined) return
      replica.sampler = undefined
      this.#samplings.delete(replica)
      return
    }
    let sampling = this.#samplings.get(replica)
    if (sampling?.version !== version) {
      sampling = { version, sampler: new LoadSampler(this.#random) }
      this.#samplings.set(replica, sampling)
      replica.sampler = sampling.sampler
    }
    sampling.sampler.loadPerSec = loadPerSec
  }
}

function smooth(before: number, now: number): number {
  const mixed = (before + now) / 2
  return mixed < 0.05 ? 0 : mixed
}
