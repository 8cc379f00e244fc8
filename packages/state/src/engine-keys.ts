import type { Key, ReplicaId } from '@cordillera/base'
import type { Span } from '@cordillera/ranges'

/**
 * How one engine's key space is shared out: a tag of one char in front of everything.
 *
 * | key | value |
 * | --- | --- |
 * | `d` + key | a stored value of `ranges`: data of all replicas, in the global order of keys |
 * | `r` + replica id, 14 hex digits | the replica's record: applied index and term, descriptor; or its tombstone |
 * | `s` | the store's record: how many replica records there are, and a digest of them |
 *
 * Data of a range is one contiguous span whatever replica it belongs to, so that a split moves nothing.
 */
const DATA_TAG = 'd'
const REPLICA_TAG = 'r'

export const STORE_RECORD_KEY: Key = 's'

/** Every replica's record. */
export const REPLICA_RECORDS: Span = { start: REPLICA_TAG, end: 's' }

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

export function replicaRecordKey(replicaId: ReplicaId): Key {
  return REPLICA_TAG + replicaId.toString(16).padStart(14, '0')
}
