import type { RangeId } from '@cordillera/base'
import type { Replicas } from '@cordillera/replicas'

/**
 * Requests a second, for every range led here and for the node: differences of counters over the last sampling
 * interval, smoothed (half a new sample, half the old figure). Costs nothing on the path of a request.
 */
export interface Load {
  readonly readsPerSec: number
  readonly writesPerSec: number
}

const MINUTES = 6
const NO_LOAD: Load = { readsPerSec: 0, writesPerSec: 0 }

export class LoadMeter {
  readonly #byRange = new Map<RangeId, { reads: number; writes: number; load: Load; readonly maxima: number[] }>()
  #seconds = 0
  #total: Load = NO_LOAD

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
        continue
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
      reads += before.load.readsPerSec
      writes += before.load.writesPerSec
    }
    this.#total = { readsPerSec: reads, writesPerSec: writes }
  }
}

function smooth(before: number, now: number): number {
  const mixed = (before + now) / 2
  return mixed < 0.05 ? 0 : mixed
}
