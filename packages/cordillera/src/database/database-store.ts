import type { CordilleraError, Key, Version } from '@cordillera/base'

/**
 * What a database stands on: the one key space, wherever it is kept. A node in this process implements it.
 *
 * Keys are whole, with their keyspace's prefix, and within the engine's limits; the database checks them first. Failures
 * are `CordilleraError`s. Point operations answer by callback, once, and on a later turn unless they are refused: a
 * promise fewer for each of them. What they are given they
 * have copied, or are done with, before they return.
 */
export interface DatabaseStore {
  /**
   * The newest value, linearizable (`at` 0), or the one that a snapshot which is open sees. Undefined: there is none. The
   * value may be shared with others: whoever hands it on copies it.
   */
  get(key: Key, at: Version, done: ReadDone): void
  /** Durable when it is done without an error. */
  put(key: Key, value: Uint8Array, done: WriteDone): void
  /** The key may be absent. Durable when it is done without an error. */
  delete(key: Key, done: WriteDone): void
  /**
   * Everything or nothing, over any number of ranges, at one version; durable when it resolves. Of operations on one key
   * the last one counts. At least one operation, whose values do not change until then. Rejects with BATCH_TOO_LARGE above
   * 4 MiB of keys and values.
   */
  write(operations: readonly WriteOperation[]): Promise<Version>
  /** A page of a span as an open snapshot sees it. */
  scan(plan: PagePlan): Promise<StoredPage>
  /**
   * Opens a snapshot. Its version is above that of every write that was acknowledged, by anybody, before the call, and below
   * that of every write begun after it has resolved.
   */
  openSnapshot(): Promise<OpenSnapshot>
  /** Gives the store back. Nothing is called on it any more, and nothing is under way. */
  close(): Promise<void>
}

export type ReadDone = (error: CordilleraError | undefined, found: StoredValue | undefined) => void
export type WriteDone = (error: CordilleraError | undefined) => void

export interface StoredValue {
  readonly version: Version
  readonly value: Uint8Array
}

export interface StoredEntry extends StoredValue {
  readonly key: Key
}

export interface WriteOperation {
  readonly key: Key
  /** Undefined: the key is deleted. */
  readonly value: Uint8Array | undefined
}

export interface PagePlan {
  /** Inclusive. */
  readonly start: Key
  /** Exclusive. */
  readonly end: Key
  /** From the end to the start. */
  readonly reverse: boolean
  /** Entries, at least 1. */
  readonly limit: number
  /** Keys and values together; one entry is returned all the same. */
  readonly bytesMax: number
  /** False: values come back empty. */
  readonly values: boolean
  /** The version of a snapshot that is open. */
  readonly at: Version
}

export interface StoredPage {
  readonly entries: readonly StoredEntry[]
  /** Whether the span holds entries beyond the last one. */
  readonly more: boolean
}

export interface OpenSnapshot {
  readonly version: Version
  /** What it sees may be collected from now on. */
  close(): void
}
