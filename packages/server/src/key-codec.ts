import { Buffer, isUtf8 } from 'node:buffer'
import { CordilleraError, type Key, keyToText } from '@cordillera/base'
import { KEY_BYTES_MAX } from '@cordillera/ranges'

/**
 * Keys and values as they appear in URLs and JSON, to and from bytes.
 *
 * A key is percent-decoded exactly once and never normalized: `a/../b`, `//` and `%2F` are what they say. As text it
 * must be valid UTF-8; `hex` and `base64url` give any bytes. What is not exactly one spelling of some bytes is refused
 * with BAD_ENCODING. Request targets arrive with one char a byte, so an unescaped byte above 0x7f stands for itself.
 */
export type Encoding = 'text' | 'hex' | 'base64url'

/** A user's key from the raw text of a path. Throws KEY_EMPTY, KEY_TOO_LARGE or BAD_ENCODING. */
export function decodeKeyPath(raw: string, encoding: Encoding): Key {
  const key = decodeKey(decodePercent(raw), encoding)
  if (key.length === 0) throw new CordilleraError('KEY_EMPTY', { detail: 'a key has at least one byte' })
  return key
}

/** A key, or a bound of a span, from a parameter. It may be empty. Throws KEY_TOO_LARGE or BAD_ENCODING. */
export function decodeKey(text: Key, encoding: Encoding, bytesMax = KEY_BYTES_MAX): Key {
  const key = decodeBytes(text, encoding)
  if (key.length > bytesMax) {
    throw new CordilleraError('KEY_TOO_LARGE', {
      detail: `a key has at most ${bytesMax} bytes, not ${key.length}`,
    })
  }
  return key
}

/** `%XX` becomes a byte, everything else stays. Throws BAD_ENCODING. */
export function decodePercent(raw: string): Key {
  let percent = raw.indexOf('%')
  if (percent < 0) return raw
  let decoded = ''
  let from = 0
  do {
    const high = hexDigit(raw.charCodeAt(percent + 1))
    const low = hexDigit(raw.charCodeAt(percent + 2))
    if (high < 0 || low < 0) {
      throw new CordilleraError('BAD_ENCODING', { detail: 'a % is followed by two hex digits; a percent sign is %25' })
    }
    decoded += raw.slice(from, percent) + String.fromCharCode(high * 16 + low)
    from = percent + 3
    percent = raw.indexOf('%', from)
  } while (percent >= 0)
  return decoded + raw.slice(from)
}

/** One entry's key and value in JSON. `encoding` says that this entry alone is spelled differently from the rest. */
export interface EncodedEntry {
  key: string
  value?: string
  encoding?: 'base64url'
}

/** `value` undefined: only the key is wanted. */
export function encodeEntry(key: Key, value: Uint8Array | undefined, encoding: Encoding): EncodedEntry {
  if (encoding === 'text') {
    const text = keyToText(key)
    if (text !== undefined && (value === undefined || isUtf8(value))) {
      return value === undefined ? { key: text } : { key: text, value: bufferOf(value).toString('utf8') }
    }
    return { ...encodeEntry(key, value, 'base64url'), encoding: 'base64url' }
  }
  const encoded = Buffer.from(key, 'latin1').toString(encoding)
  return value === undefined ? { key: encoded } : { key: encoded, value: bufferOf(value).toString(encoding) }
}

function decodeBytes(text: Key, encoding: Encoding): Key {
  switch (encoding) {
    case 'text':
      if (!isAscii(text) && !isUtf8(Buffer.from(text, 'latin1'))) {
        throw new CordilleraError('BAD_ENCODING', {
          detail: 'the key is not UTF-8; give bytes with encoding=base64url',
        })
      }
      return text
    case 'hex':
      if (text.length % 2 !== 0 || !HEX.test(text)) {
        throw new CordilleraError('BAD_ENCODING', { detail: 'hex is an even number of the digits 0-9 and a-f' })
      }
      return Buffer.from(text, 'hex').toString('latin1')
    case 'base64url': {
      const digits = text.length % 4 === 0 ? text.replace(/={1,2}$/, '') : text
      const bytes = Buffer.from(digits, 'base64url')
      if (!BASE64URL.test(digits) || bytes.toString('base64url') !== digits) {
        throw new CordilleraError('BAD_ENCODING', { detail: 'base64url is A-Z a-z 0-9 - _ (RFC 4648, section 5)' })
      }
      return bytes.toString('latin1')
    }
  }
}

const HEX = /^[0-9a-fA-F]*$/
const BASE64URL = /^[A-Za-z0-9_-]*$/

/** -1 for anything else, also for the NaN behind the end of a text. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = code | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
