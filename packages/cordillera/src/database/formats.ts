import { Buffer } from 'node:buffer'
import { asBuffer, CordilleraError, type Key, keyFromBytes, keyFromText, keyToText } from '@cordillera/base'
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from '@cordillera/ranges'

/**
 * Between the formats in which `abstract-level` hands over keys and values, and the engine's.
 *
 * All three of `classic-level`'s are native. The engine's own are a string of bytes for keys, for which ASCII text is its own
 * encoding, and bytes for values.
 */
export type Format = 'utf8' | 'buffer' | 'view'

/** What a key or value is in one of the formats. */
export type Formatted = string | Buffer | Uint8Array

/** Behind a prefix; unchecked, as bounds of ranges and targets of seeks are. */
export function boundOf(prefix: Key, key: Formatted): Key {
  return prefix + (typeof key === 'string' ? keyFromText(key) : keyFromBytes(key))
}

/** As {@link boundOf}, of a key. Throws KEY_TOO_LARGE. */
export function keyOf(prefix: Key, key: Formatted): Key {
  const whole = boundOf(prefix, key)
  const bytes = whole.length - prefix.length
  if (bytes > KEY_BYTES_MAX) {
    const detail = `a key of ${bytes} bytes; at most ${KEY_BYTES_MAX} are taken`
    throw new CordilleraError('KEY_TOO_LARGE', { detail })
  }
  return whole
}

/** What stands behind the first `prefixLength` chars of a key, in a format, and in memory of its own. */
export function formatKey(key: Key, prefixLength: number, format: Format): Formatted {
  const own = key.slice(prefixLength)
  if (format !== 'utf8') return Buffer.from(own, 'latin1')
  // What is no text is shown as the platform shows it.
  return keyToText(own) ?? Buffer.from(own, 'latin1').toString('utf8')
}

/** May share the memory that was handed in. Throws VALUE_TOO_LARGE. */
export function bytesOf(value: Formatted): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value
  if (bytes.length > VALUE_BYTES_MAX) {
    const detail = `a value of ${bytes.length} bytes; at most ${VALUE_BYTES_MAX} are taken`
    throw new CordilleraError('VALUE_TOO_LARGE', { detail })
  }
  return bytes
}

/** In memory of its own: the engine's is shared with whatever else reads the value. */
export function formatValue(value: Uint8Array, format: Format): Formatted {
  return format === 'utf8' ? asBuffer(value).toString('utf8') : Buffer.from(value)
}
