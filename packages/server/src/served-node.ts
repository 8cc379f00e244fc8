import type { CordilleraError, Key, NodeId, Version } from '@cordillera/base'
import type { WriteGuard } from '@cordillera/ranges'
import type { ClusterInfo, NodeInfo, RangeInfo } from './admin-schemas.js'

/**
 * What the HTTP API needs of a node: the port that the server declares, and that `CordilleraNode` fits as it is.
 *
 * Callbacks and promises answer exactly once, at their deadline at the latest. Failures are `CordilleraError`s; any
 * other error is a defect, which clients see as INTERNAL without its particulars.
 */
export interface ServedNode {
  readonly router: ServedRouter
  cluster(): Promise<ClusterInfo>
  nodes(): Promise<readonly NodeInfo[]>
  /** Every range that fits the filter, in key order. */
  ranges(filter: ServedRangeFilter): Promise<{ readonly ranges: readonly RangeInfo[] }>
  /**
   * Flat numbers for `/metrics`, named in camel case; what ends in `Total` only ever grows. Nothing per range. Other
   * members are ignored.
   */
  metrics(): object
  /** Whether every range known here has a leader that this node can reach. */
  isReady(): boolean
}

/** Deadlines are times of the server's clock. Keys carry their keyspace's prefix. */
export interface ServedRouter {
  /**
   * The value is the router's own from now on. `done` without an error: durable on a quorum, with this version. A guard
   * that does not hold is VERSION_MISMATCH, its details `{version}`: the newest one, 0 when there is no such key.
   */
  put(key: Key, value: Uint8Array, deadlineMs: number, done: WriteDone, guard?: WriteGuard): void
  delete(key: Key, deadlineMs: number, done: WriteDone, guard?: WriteGuard): void
  get(key: Key, deadlineMs: number, done: ReadDone): void
  /** Rejects with SNAPSHOT_EXPIRED when versions that the snapshot needs may be gone. */
  scan(request: ScanPage, deadlineMs: number): Promise<ScannedPage>
}

export type WriteDone = (error: CordilleraError | undefined, version: Version) => void
export type ReadDone = (error: CordilleraError | undefined, value: ServedValue | undefined) => void

export interface ServedValue {
  readonly version: Version
  /** Never written again by its owner. */
  readonly value: Uint8Array
}

export interface ScanPage {
  readonly start: Key
  /** Exclusive; null is infinity. */
  readonly end: Key | null
  readonly reverse: boolean
  readonly limit: number
  /** False: values come back empty. */
  readonly values: boolean
  /** Keys and values of a page, except that there is always at least one entry. */
  readonly bytesMax: number
  /**
   * The snapshot: entries as they were at this timestamp; 0 lets the router choose one, now. It comes back from clients,
   * so it may be any version, also one that the oracle has not given out; the router refuses that one.
   */
  readonly at: Version
}

export interface ScannedPage {
  readonly entries: readonly ScannedEntry[]
  /** Whether the span goes on behind the last entry. */
  readonly more: boolean
  /** The snapshot that was read, never 0. */
  readonly at: Version
}

export interface ScannedEntry extends ServedValue {
  readonly key: Key
}

export interface ServedRangeFilter {
  /** A whole key, with its keyspace's prefix: the one range that holds it. */
  readonly key?: Key
  /** Ranges with a replica on this node. */
  readonly node?: NodeId
  readonly keyspace?: string
}
