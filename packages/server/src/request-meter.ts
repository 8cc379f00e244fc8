/**
 * Counts requests and their durations by method and status class, without a label or an allocation per request:
 * plain array cells that `/metrics` reads. (prom-client's own observe builds and hashes label objects each time.)
 */
export const METHODS = ['GET', 'HEAD', 'PUT', 'DELETE', 'other'] as const
export const STATUS_CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const

/** Upper bounds in seconds, ascending; one more bucket holds what is slower. */
export const DURATION_BUCKETS_SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5] as const

const BUCKETS = DURATION_BUCKETS_SECONDS.length + 1

export interface MethodDurations {
  readonly method: (typeof METHODS)[number]
  /** Requests per bucket, not cumulative; the last one is above every bound. */
  readonly buckets: readonly number[]
  readonly count: number
  readonly sumSeconds: number
}

export class RequestMeter {
  readonly #counts = new Float64Array(METHODS.length * STATUS_CLASSES.length)
  readonly #buckets = new Float64Array(METHODS.length * BUCKETS)
  readonly #sums = new Float64Array(METHODS.length)

  record(method: string | undefined, status: number, durationMs: number): void {
    const row = methodRow(method)
    const statusClass = Math.min(Math.max(Math.floor(status / 100), 1), STATUS_CLASSES.length) - 1
    this.#counts[row * STATUS_CLASSES.length + statusClass]! += 1
    const seconds = durationMs / 1000
    let bucket = 0
    while (bucket < BUCKETS - 1 && seconds > DURATION_BUCKETS_SECONDS[bucket]!) bucket++
    this.#buckets[row * BUCKETS + bucket]! += 1
    this.#sums[row]! += seconds
  }

  /** Cells that are not zero. */
  *counts(): Iterable<{ method: string; status: string; count: number }> {
    for (const [row, method] of METHODS.entries()) {
      for (const [column, status] of STATUS_CLASSES.entries()) {
        const count = this.#counts[row * STATUS_CLASSES.length + column]!
        if (count > 0) yield { method, status, count }
      }
    }
  }

  *durations(): Iterable<MethodDurations> {
    for (const [row, method] of METHODS.entries()) {
      const buckets = [...this.#buckets.subarray(row * BUCKETS, (row + 1) * BUCKETS)]
      const count = buckets.reduce((sum, n) => sum + n, 0)
      if (count > 0) yield { method, buckets, count, sumSeconds: this.#sums[row]! }
    }
  }
}

function methodRow(method: string | undefined): number {
  switch (method) {
    case 'GET':
      return 0
    case 'HEAD':
      return 1
    case 'PUT':
      return 2
    case 'DELETE':
      return 3
    default:
      return 4
  }
}
