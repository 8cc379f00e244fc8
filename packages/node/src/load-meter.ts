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
/** A range's steady load is about the mean of so many seconds, or of all since it is led here. */
const STEADY_SECONDS = 15
const NO_LOAD: Load = { readsPerSec: 0, writesPerSec: 0 }

interface Measured {
  reads: number
  writes: number
  load: Load
  steady: Load
  /** It is led here for so long. */
  ledSeconds: number
  readonly maxima: number[]
}

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
  readonly #byRange = new Map<RangeId, Measured>()
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

  /** As {@link of}, without what comes and goes from one second to the next: what is balanced by it stays where it is. */
  steadyOf(rangeId: RangeId): Load {
    return this.#byRange.get(rangeId)?.steady ?? NO_LOAD
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
    let count = 0
    for (const replica of replicas.replicas()) {
      const { counts, descriptor } = replica
      count++
      const before = this.#byRange.get(descriptor.rangeId)
      if (before === undefined) {
        const { reads: readsBefore, writes: writesBefore } = counts
        const fresh = { reads: readsBefore, writes: writesBefore, load: NO_LOAD, steady: NO_LOAD, ledSeconds: 0 }
        this.#byRange.set(descriptor.rangeId, { ...fresh, maxima: [0] })
        continue // Nothing is known of its load yet.
      }
      const { maxima } = before
      this.#sampleSteady(before, replica, seconds)
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
    if (this.#byRange.size > count) this.#forgetGone(replicas)
  }

  /** Whoever begins to lead a range knows its load after a second, and knows it better with each. */
  #sampleSteady(before: Measured, { counts, isUsable }: Replica, seconds: number): void {
    before.ledSeconds = isUsable ? before.ledSeconds + seconds : 0
    const isAtRest = before.steady === NO_LOAD && before.reads === counts.reads && before.writes === counts.writes
    if (isAtRest) return
    const weight = isUsable ? Math.max(seconds / before.ledSeconds, seconds / STEADY_SECONDS) : 1
    const mix = (was: number, now: number): number => zeroed(was + (now - was) * weight)
    const { readsPerSec, writesPerSec } = before.steady
    const steady = {
      readsPerSec: mix(readsPerSec, (counts.reads - before.reads) / seconds),
      writesPerSec: mix(writesPerSec, (counts.writes - before.writes) / seconds),
    }
    before.steady = steady.readsPerSec + steady.writesPerSec === 0 ? NO_LOAD : steady
  }

  #forgetGone(replicas: Replicas): void {
    for (const rangeId of this.#byRange.keys())
      if (replicas.replica(rangeId) === undefined) this.#byRange.delete(rangeId)
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
  return zeroed((before + now) / 2)
}

function zeroed(perSec: number): number {
  return perSec < 0.05 ? 0 : perSec
}
