import { type Key, keyToBytes } from '@cordillera/base'
import murmurhash from 'murmurhash'
import { keyspacePrefix } from './keyspace.js'

/**
 * Spread keyspaces: a user's key is stored behind its bucket, so that keys which only ever grow are written to all
 * buckets in turn and not always to the last range.
 *
 * The bucket is one hex digit: the 32-bit MurmurHash3 (x86, seed 0) of the key's bytes, modulo 16. It depends on the key
 * alone. Neither hash nor count may ever change under the separator that says "spread": keys would be lost from view.
 * Within a bucket the order of users' keys is kept; over all buckets a scan merges them.
 */
export const SPREAD_BUCKETS = 16

/** A bucket is so many bytes of a stored key. */
export const BUCKET_BYTES = 1

/** The bucket of a user's key: `0` to `9` or `a` to `f`. */
export function bucketOf(key: Key): Key {
  return (murmurhash.v3(keyToBytes(key), 0) % SPREAD_BUCKETS).toString(SPREAD_BUCKETS)
}

/** A user's key as it is stored behind `prefix`, which is a spread keyspace's. */
export function spreadKey(prefix: Key, key: Key): Key {
  return prefix + bucketOf(key) + key
}

/** Whether something may stand behind a spread keyspace's prefix as a bound: nothing, or a bucket and any bytes. */
export function isSpreadBound(bound: Key): boolean {
  return bound === '' || /^[0-9a-f]/.test(bound)
}

/** What the keys of each bucket begin with, in their order. */
export function bucketPrefixes(name: string): Key[] {
  const prefix = keyspacePrefix(name, true)
  return Array.from({ length: SPREAD_BUCKETS }, (_, bucket) => prefix + bucket.toString(SPREAD_BUCKETS))
}
