import type { CordilleraError, Key, NodeId, Version } from '@cordillera/base'
import type { Mutation, Span, WriteGuard } from '@cordillera/ranges'
import type { ClusterInfo, NodeInfo, RangeInfo } from './admin-schemas.js'
import type { NODE_COMMANDS, OperatorInfo, RangeExplanation, RangeHashes } from './operator-schemas.js'
import type { ClusterSettings } from './settings-schema.js'

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
  /** What is in the way of new clients here, for a person; undefined: nothing is. */
  whyUnready(): string | undefined
  readonly placement: ServedPlacement
}

/** Operators, settings, and what was decided about ranges, wherever that is known. */
export interface ServedPlacement {
  /**
   * Starts an operator, or returns the running one that already does the same; one that is `done` when there was nothing
   * to do. Once it resolves, the operator is durable and goes on without its client. Rejects with NOT_FOUND (range, node),
   * BAD_REQUEST, CONFLICT (it cannot be done as things are, or a split's key is a boundary already) and UNAVAILABLE, and
   * then nothing was begun; with OUTCOME_UNKNOWN when nobody can tell.
   */
  startOperator(request: OperatorRequest): Promise<OperatorInfo>
  /** Running and recent ones, newest first. */
  operators(): Promise<readonly OperatorInfo[]>
  /**
   * Resolves when the operator has ended, however that is, or with its present state after `timeoutMs`; 0 answers at once.
   * Rejects with NOT_FOUND.
   */
  awaitOperator(operatorId: number, timeoutMs: number): Promise<OperatorInfo>
  /** Asks for its end; what cannot be undone any more is finished. Rejects with NOT_FOUND, and CONFLICT when it has ended. */
  cancelOperator(operatorId: number): Promise<OperatorInfo>
  /** What was decided about a range, and why. Rejects with NOT_FOUND. */
  explain(rangeId: number): Promise<RangeExplanation>
  settings(): Promise<ClusterSettings>
  /**
   * Merges, atomically, and resolves to what holds then. Each setting is within the bounds of `ClusterSettingsSchema`;
   * rejects with BAD_REQUEST for settings that do not go together.
   */
  setSettings(patch: Partial<ClusterSettings>): Promise<ClusterSettings>
  /** All ranges, or one; each with the hashes of its replicas at one index of its log. Rejects with NOT_FOUND. */
  hashes(rangeId: number | undefined): Promise<readonly RangeHashes[]>
  /**
   * Goes on without the majority that was lost. Unless `acceptDataLoss` is true it changes nothing and rejects with
   * BAD_REQUEST, whose message says to a person what may be lost. Rejects with NOT_FOUND, and with CONFLICT when the range
   * has its majority.
   */
  recoverRange(rangeId: number, acceptDataLoss: boolean): Promise<OperatorInfo>
}

/** What an operator is to do. Ids are positive; whether there is such a range or node is for the node to say. */
export type OperatorRequest =
  /** `key` is whole, with its keyspace's prefix; without it, the node chooses one. `version`: only while the range's epoch has this one. */
  | { readonly kind: 'split'; readonly rangeId: number; readonly key?: Key; readonly version?: number }
  /** With the right neighbour. */
  | { readonly kind: 'merge'; readonly rangeId: number; readonly version?: number }
  | { readonly kind: 'transfer-leader'; readonly rangeId: number; readonly nodeId: number }
  /** At least one of both, and not the same node. */
  | { readonly kind: 'change-replicas'; readonly rangeId: number; readonly add?: number; readonly remove?: number }
  | { readonly kind: NodeCommand; readonly nodeId: number }

export type NodeCommand = (typeof NODE_COMMANDS)[number]

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
  readonly transactions: ServedTransactions
  /** The same span behind each prefix, merged in the order of what stands behind them. Otherwise as {@link scan}. */
  scanMerged(request: MergedScanPage, deadlineMs: number): Promise<ScannedPage>
}

export interface ServedTransactions {
  /**
   * All of the mutations, which have distinct keys or of which the last of a key counts, or none; resolves to the version of all.
   * Rejects as `put` fails, and with BATCH_TOO_LARGE.
   */
  write(mutations: readonly Mutation[], deadlineMs: number, idempotency?: Uint8Array): Promise<Version>
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

export interface MergedScanPage extends ScanPage {
  /** Of one length, and different. `start` and `end` are what stands behind them; an end of null is all of a prefix. */
  readonly prefixes: readonly Key[]
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
  /** Ranges that hold a part of it. */
  readonly span?: Span
}
