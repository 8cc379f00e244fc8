import type { Key } from '@cordillera/base'

/**
 * The ordered key-value database under the state: `classic-level` on a real disk, a map in memory elsewhere.
 *
 * Keys are byte strings (see `Key`) in byte order. Point reads are synchronous (measured: 12 µs against 19–56 for an
 * asynchronous one). Any failure of the disk rejects or throws with the platform's error.
 */
export interface StateEngine {
  /** The newest value, or undefined. The caller owns the buffer. */
  get(key: Key): Uint8Array | undefined
  /** A consistent view as of this call; later writes do not show. Close its iterators, then it. */
  snapshot(): EngineSnapshot
  /** An empty batch. */
  batch(): EngineBatch
  /** What the span takes on disk, as an estimate: the newest writes may not show yet. */
  approximateBytes(span: { readonly start: Key; readonly end: Key }): Promise<number>
  /** Rejects nothing that was written; idempotent. */
  close(): Promise<void>
}

/** Collects writes in order; the last of a key wins. Nothing is visible before {@link write}. */
export interface EngineBatch {
  /** Copies key and value before it returns: the caller may use the buffer again. */
  put(key: Key, value: Uint8Array): void
  delete(key: Key): void
  /** Writes all or nothing, durable (`sync: true`) when it resolves. The batch is not used again. */
  write(): Promise<void>
}

export interface EngineSnapshot {
  /** Entries from `start` (inclusive) to `end` (exclusive, null for infinity), backwards from the end if `reverse`. */
  iterate(span: { readonly start: Key; readonly end: Key | null; readonly reverse: boolean }): EngineIterator
  close(): Promise<void>
}

export interface EngineIterator {
  /**
   * At least one and at most `count` further entries, in order; an empty array at the end. One call at a time. The
   * caller owns the buffers.
   */
  next(count: number): Promise<readonly (readonly [Key, Uint8Array])[]>
  close(): Promise<void>
}
