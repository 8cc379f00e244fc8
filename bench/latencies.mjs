/**
 * Counts durations in steps of 10 µs up to 10 s (autocannon's own histogram is in whole milliseconds). What is slower
 * counts as 10 s.
 */
const STEPS_PER_MS = 100
const STEPS = 10_000 * STEPS_PER_MS

export class Latencies {
  #counts = new Uint32Array(STEPS + 1)
  #total = 0

  record(ms) {
    this.#counts[Math.min(STEPS, Math.floor(ms * STEPS_PER_MS))]++
    this.#total++
  }

  get count() {
    return this.#total
  }

  /** In milliseconds: at least `percent` of the durations were not longer. 0 without any. */
  percentile(percent) {
    const rank = Math.ceil((percent / 100) * this.#total)
    let seen = 0
    for (let step = 0; step <= STEPS; step++) {
      seen += this.#counts[step]
      if (seen >= rank && rank > 0) return (step + 1) / STEPS_PER_MS
    }
    return 0
  }
}
