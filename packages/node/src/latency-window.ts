/** The newest durations, for percentiles of "now": a ring of a fixed size, sorted only when asked. */
export class LatencyWindow {
  readonly #ring: Float64Array
  #count = 0

  constructor(size = 512) {
    this.#ring = new Float64Array(size)
  }

  add(durationMs: number): void {
    this.#ring[this.#count++ % this.#ring.length] = durationMs
  }

  /** The value below which `fraction` of the durations in the window lie; 0 without any. */
  percentile(fraction: number): number {
    const filled = Math.min(this.#count, this.#ring.length)
    if (filled === 0) return 0
    const sorted = this.#ring.slice(0, filled).sort()
    return sorted[Math.min(filled - 1, Math.floor(fraction * filled))]!
  }
}
