/**
 * How much room a store's disk has left, as three levels with a hysteresis:
 *
 * - `short`: less than the reserve. No values are taken any more; what deletes, and what keeps the store going, is.
 * - `out`: less than a quarter of it, or the log found no room for its next segment. Nothing of clients is written, and the
 *   state database is not flushed: what is left is for the log's own records and the system range.
 *
 * A level is left downwards at once, and upwards only with half as much again as what it was entered with, so that a
 * segment that is removed or preallocated moves nothing.
 */
export type SpaceLevel = 'ample' | 'short' | 'out'

/** Of the reserve. */
const OUT_SHARE = 0.25
const LEAVE_FACTOR = 1.5

export class StoreSpace {
  readonly #reserveBytes: number
  #level: SpaceLevel = 'ample'
  #freeBytes = Number.POSITIVE_INFINITY

  /** With a reserve of 0 only a disk without any room is short. */
  constructor(reserveBytes: number) {
    this.#reserveBytes = reserveBytes
  }

  get level(): SpaceLevel {
    return this.#level
  }

  /** As last measured; infinite before that. */
  get freeBytes(): number {
    return this.#freeBytes
  }

  /** A measurement; `isLogShort`: the log has no room for its next segment. */
  onMeasured(freeBytes: number, isLogShort: boolean): SpaceLevel {
    this.#freeBytes = freeBytes
    this.#level = this.#decide(freeBytes, isLogShort)
    return this.#level
  }

  #decide(freeBytes: number, isLogShort: boolean): SpaceLevel {
    const outBytes = this.#reserveBytes * OUT_SHARE * (this.#level === 'out' ? LEAVE_FACTOR : 1)
    const shortBytes = this.#reserveBytes * (this.#level === 'ample' ? 1 : LEAVE_FACTOR)
    if (isLogShort || freeBytes < outBytes) return 'out'
    return freeBytes < shortBytes ? 'short' : 'ample'
  }
}
