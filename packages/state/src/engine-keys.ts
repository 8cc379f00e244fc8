import type { Key, ReplicaId, Version } from '@cordillera/base'
import type { Span } from '@cordillera/ranges'

/**
 * How one engine's key space is shared out: a tag of one char in front of everything.
 *
 * | key | value |
 * | --- | --- |
 * | `d` + key | a stored value of `ranges`: the newest of each key of all replicas, in the global order of keys |
 * | `h` + escaped key + inverted version, 14 hex digits | an older version: see `history.ts` |
 * | `m` + replica id, 14 hex digits | what the replica's range remembers of operations |
 * | `p` + replica id, 14 hex digits + number, 14 hex digits | a chunk of a snapshot that has arrived and is not installed |
 * | `r` + replica id, 14 hex digits | the replica's record: applied index and term, descriptor; or its tombstone |
 * | `s` | the store's record: how many replica records there are, a digest of them, the safe point |
 *
 * Data of a range is one contiguous span whatever replica it belongs to, so that a split moves nothing. So is history:
 * escaping (`\x00` as `\x00\xff`, and `\x00\x01` behind the key) keeps the order, and no escaped key begins another. Newer
 * versions of a key come first.
 */
const DATA_TAG = 'd'
const HISTORY_TAG = 'h'
const MEMORY_TAG = 'm'
const STAGED_TAG = 'p'
const REPLICA_TAG = 'r'
const ID_DIGITS = 14

export const STORE_RECORD_KEY: Key = 's'

/** Every replica's record. */
export const REPLICA_RECORDS: Span = { start: REPLICA_TAG, end: 's' }
/** All older versions. */
export const HISTORY = { start: HISTORY_TAG, end: 'i' }

export function dataKey(key: Key): Key {
  return DATA_TAG + key
}

/** The key that {@link dataKey} was given. */
export function keyOfData(engineKey: Key): Key {
  return engineKey.slice(1)
}

export function dataSpan(span: Span): Span {
  return { start: DATA_TAG + span.start, end: span.end === null ? 'e' : DATA_TAG + span.end }
}

export function historyKey(key: Key, version: Version): Key {
  return `${HISTORY_TAG}${escapeKey(key)}${hex(Number.MAX_SAFE_INTEGER - version)}`
}

/** Where the versions of the key begin that are not above `at`. */
export function historyKeyAt(key: Key, at: Version): Key {
  return historyKey(key, at)
}

/** The key that {@link historyKey} was given. */
export function keyOfHistory(engineKey: Key): Key {
  return engineKey.slice(1, -ID_DIGITS - 2).replaceAll('\x00\xff', '\x00')
}

export function historySpan({ start, end }: Span): { start: Key; end: Key } {
  return { start: HISTORY_TAG + escapeBound(start), end: end === null ? HISTORY.end : HISTORY_TAG + escapeBound(end) }
}

/** The engine key of a record of the history without its tag. */
export function historyEngineKey(untagged: Key): Key {
  return HISTORY_TAG + untagged
}

export function isHistory(engineKey: Key): boolean {
  return engineKey.startsWith(HISTORY_TAG)
}

/** All chunks of snapshots that are not installed. */
export const STAGED: Span = { start: STAGED_TAG, end: 'q' }

export function stagedKey(replicaId: ReplicaId, chunk: number): Key {
  return STAGED_TAG + hex(replicaId) + hex(chunk)
}

export function stagedSpan(replicaId: ReplicaId): Span {
  return { start: STAGED_TAG + hex(replicaId), end: STAGED_TAG + hex(replicaId + 1) }
}

export function memoryKey(replicaId: ReplicaId): Key {
  return MEMORY_TAG + hex(replicaId)
}

export function replicaRecordKey(replicaId: ReplicaId): Key {
  return REPLICA_TAG + hex(replicaId)
}

/** The escaped keys from a bound on are those of the keys from it on: the end mark sorts below every continuation. */
function escapeBound(bound: Key): Key {
  return bound.replaceAll('\x00', '\x00\xff')
}

function escapeKey(key: Key): Key {
  return `${escapeBound(key)}\x00\x01`
}

function hex(id: number): string {
  return id.toString(16).padStart(ID_DIGITS, '0')
}
