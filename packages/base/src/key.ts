import { Buffer } from 'node:buffer'
import type { Flavored } from './ids.js'

/**
 * Keys inside the engine: byte strings held as JavaScript strings with one char (0–255) a byte ("latin1").
 *
 * Such strings compare and sort as their bytes do, are hashed and compared natively by `Map`, `===` and `<`, and are
 * written into frames with one native call. Printable ASCII is the same text inside and outside.
 */
export type Key = Flavored<string, 'Key'>

/** From bytes; copies. */
export function keyFromBytes(bytes: Uint8Array): Key {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

/** The bytes of a key, in a new buffer that the caller owns. */
export function keyToBytes(key: Key): Uint8Array {
  return Buffer.from(key, 'latin1')
}

/** The UTF-8 encoding of a text, as a key. Lone surrogates become U+FFFD, as in every encoder of the platform. */
export function keyFromText(text: string): Key {
  return isAscii(text) ? text : Buffer.from(text, 'utf8').toString('latin1')
}

/** The text whose UTF-8 encoding this key is, or undefined when its bytes are not valid UTF-8. */
export function keyToText(key: Key): string | undefined {
  if (isAscii(key)) return key
  try {
    return strictUtf8.decode(Buffer.from(key, 'latin1'))
  } catch {
    return undefined
  }
}

/** The smallest key above this one. */
export function keyAfter(key: Key): Key {
  return `${key}\x00`
}

/** The smallest key above every key with this prefix; undefined when there is none (all bytes 0xff, or empty). */
export function prefixEnd(prefix: Key): Key | undefined {
  let last = prefix.length - 1
  while (last >= 0 && prefix.charCodeAt(last) === 0xff) last--
  if (last < 0) return undefined
  return prefix.slice(0, last) + String.fromCharCode(prefix.charCodeAt(last) + 1)
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}
