/** What a sync of the log tells; a part of the log's own sample. */
export interface LogSync {
  readonly durationMs: number
  readonly entries: number
  readonly bytes: number
}

/** Upper bounds in seconds, ascending; one more bucket holds what is slower. */
export const LOG_SYNC_BUCKETS_SECONDS = [
  0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5,
] as const

/** Counts syncs of the Raft log and their durations, without an allocation a sync. Cumulative. */
export class LogSyncMeter {
  readonly #buckets = new Float64Array(LOG_SYNC_BUCKETS_SECONDS.length + 1)
  count = 0
  entries = 0
  bytes = 0
  sumSeconds = 0

  record({ durationMs, entries, bytes }: LogSync): void {
    const seconds = durationMs / 1000
    let bucket = 0
    while (bucket < LOG_SYNC_BUCKETS_SECONDS.length && seconds > LOG_SYNC_BUCKETS_SECONDS[bucket]!) bucket++
    this.#buckets[bucket]! += 1
    this.count++
    this.entries += entries
    this.bytes += bytes
    this.sumSeconds += seconds
  }

  /** Syncs that took no longer than the bound at `bucket`. */
  countUpTo(bucket: number): number {
    let count = 0
    for (let i = 0; i <= bucket; i++) count += this.#buckets[i]!
    return count
  }
}
