/**
 * The limits that every layer agrees on, in bytes, counted decoded (after percent-decoding, base64url and so on).
 *
 * The gateway refuses what is above them with a code; decoders treat it as corrupt.
 */

/** A user's key, without its keyspace's prefix and its bucket. */
export const KEY_BYTES_MAX = 4096
/** A keyspace's name. */
export const KEYSPACE_NAME_BYTES_MAX = 64
/** A key inside the engine: a keyspace's name, the separator, in a spread keyspace the bucket, a user's key. */
export const PREFIXED_KEY_BYTES_MAX = KEYSPACE_NAME_BYTES_MAX + 2 + KEY_BYTES_MAX
export const VALUE_BYTES_MAX = 1 << 20
/** Keys and values of an atomic batch together. */
export const BATCH_BYTES_MAX = 4 << 20
