import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { CordilleraError, type Key } from '@cordillera/base'

/**
 * The header `Idempotency-Key`: which operation a write is, and what it asks for, in 32 bytes.
 *
 * An operation is known by its idempotency key within one key of the store; another key of the store makes it another
 * operation. All 32 bytes depend on the request alone, so that a retry may go to any node. They are what 128 bits of
 * SHA-256 leave: no two requests of honest clients share them.
 */
const HALF_BYTES = 16
const IDEMPOTENCY_KEY_CHARS_MAX = 255

/**
 * The idempotency key that a field's value gives: visible ASCII characters, or the same as a structured field's string
 * (RFC 8941, 3.3.3), which the IETF's draft of the header asks for. `abc` and `"abc"` are the same key.
 */
export function parseIdempotencyKey(field: string): string {
  const key = field.startsWith('"') ? tryUnquote(field) : field
  if (key !== undefined && key.length <= IDEMPOTENCY_KEY_CHARS_MAX && VISIBLE.test(key)) return key
  throw new CordilleraError('BAD_REQUEST', {
    detail: `Idempotency-Key is 1 to ${IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters, also in double quotes`,
  })
}

/** What makes two requests with one idempotency key the same request. */
export interface FingerprintedRequest {
  readonly method: string
  /** In one spelling, without zero characters. */
  readonly condition: string
  readonly body: Uint8Array
}

/** 16 bytes of the operation's id, then 16 of the request's fingerprint. `key` carries its keyspace's prefix. */
export function idempotencyOf(key: Key, idempotencyKey: string, request: FingerprintedRequest): Uint8Array {
  // Only the key of the store may hold a zero: the last one is the separator.
  const id = createHash('sha256').update(`${key}\x00${idempotencyKey}`, 'latin1').digest()
  const fingerprint = createHash('sha256')
    .update(`${request.method}\x00${request.condition}\x00`, 'latin1')
    .update(request.body)
    .digest()
  return Buffer.concat([id.subarray(0, HALF_BYTES), fingerprint.subarray(0, HALF_BYTES)])
}

/** The content of a quoted string; undefined unless the whole text is one, and nothing else. */
function tryUnquote(text: string): string | undefined {
  const content = /^"((?:[^"\\]|\\["\\])*)"$/.exec(text)?.[1]
  return content?.replace(/\\(["\\])/g, '$1')
}

const VISIBLE = /^[\x21-\x7e]+$/
