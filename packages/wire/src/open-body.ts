import { asBuffer, CordilleraError } from '@cordillera/base'
import { type Options, Packr, Unpackr } from 'msgpackr'
import { malformed } from './raft-codec.js'

/**
 * Bodies whose shape is open, as MessagePack: null, booleans, numbers, strings, bytes, arrays and maps with scalar keys
 * (which come back as plain objects), nested at most {@link BODY_DEPTH_MAX} deep. `undefined` properties are left out.
 *
 * Received bytes are walked before they are decoded: every length is checked against what is there, extension types are
 * refused, so that decoding cannot allocate more than in proportion to the input, nor build anything but plain data.
 */
export const BODY_BYTES_MAX = 8 * 1024 * 1024
export const BODY_DEPTH_MAX = 32

/** `skipValues` is not in the type declarations of msgpackr 2. */
const packing: Options & { readonly skipValues: readonly unknown[] } = {
  useRecords: false,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  skipValues: [undefined],
}
const packr = new Packr(packing)
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/** Throws `BAD_REQUEST` for what does not fit the bounds or is no plain data. The result is the caller's. */
export function encodeBody(body: unknown): Uint8Array {
  try {
    const bytes = packr.pack(body)
    checkBody(bytes)
    return bytes
  } catch (cause) {
    throw new CordilleraError('BAD_REQUEST', { detail: 'the body is not plain data within the limits', cause })
  }
}

/** Throws `CORRUPT`. Byte strings are copies. */
export function decodeBody(bytes: Uint8Array): unknown {
  checkBody(bytes)
  try {
    return unpackr.unpack(bytes)
  } catch (cause) {
    throw new CordilleraError('CORRUPT', { detail: 'malformed body', cause })
  }
}

/** Throws `CORRUPT` unless `bytes` are exactly one value within the bounds. Allocates nothing. */
export function checkBody(bytes: Uint8Array): void {
  if (bytes.length > BODY_BYTES_MAX) throw malformed('a body above the limit')
  const end = skipValue(asBuffer(bytes), 0, 0)
  if (end !== bytes.length) throw malformed('bytes behind a body')
}

/** Returns where the value at `at` ends. */
function skipValue(bytes: Buffer, at: number, depth: number): number {
  if (at >= bytes.length) throw malformed('a body that is cut off')
  const token = bytes[at]!
  if (token <= 0x7f || token >= 0xe0) return at + 1
  if (token <= 0x8f) return skipItems(bytes, at + 1, (token & 0x0f) * 2, depth, true)
  if (token <= 0x9f) return skipItems(bytes, at + 1, token & 0x0f, depth, false)
  if (token <= 0xbf) return skipBytes(bytes, at + 1, token & 0x1f)
  switch (token) {
    case 0xc0: // nil, false, true
    case 0xc2:
    case 0xc3:
      return at + 1
    case 0xc4: // bytes, strings
    case 0xd9:
      return skipBytes(bytes, at + 2, lengthAt(bytes, at + 1, 1))
    case 0xc5:
    case 0xda:
      return skipBytes(bytes, at + 3, lengthAt(bytes, at + 1, 2))
    case 0xc6:
    case 0xdb:
      return skipBytes(bytes, at + 5, lengthAt(bytes, at + 1, 4))
    case 0xca: // floats and integers
    case 0xce:
    case 0xd2:
      return skipBytes(bytes, at + 1, 4)
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return skipBytes(bytes, at + 1, 8)
    case 0xcc:
    case 0xd0:
      return skipBytes(bytes, at + 1, 1)
    case 0xcd:
    case 0xd1:
      return skipBytes(bytes, at + 1, 2)
    case 0xdc: // arrays
      return skipItems(bytes, at + 3, lengthAt(bytes, at + 1, 2), depth, false)
    case 0xdd:
      return skipItems(bytes, at + 5, lengthAt(bytes, at + 1, 4), depth, false)
    case 0xde: // maps
      return skipItems(bytes, at + 3, lengthAt(bytes, at + 1, 2) * 2, depth, true)
    case 0xdf:
      return skipItems(bytes, at + 5, lengthAt(bytes, at + 1, 4) * 2, depth, true)
    default:
      throw malformed('a body with a type that is not plain data')
  }
}

function skipItems(bytes: Buffer, start: number, count: number, depth: number, isMap: boolean): number {
  if (depth >= BODY_DEPTH_MAX) throw malformed('a body that is nested too deeply')
  if (count > bytes.length - start) throw malformed('a body with more items than bytes')
  let at = start
  for (let i = 0; i < count; i++) {
    if (isMap && i % 2 === 0 && !isScalar(bytes[at])) throw malformed('a body with a key that is no scalar')
    at = skipValue(bytes, at, depth + 1)
  }
  return at
}

/** Strings and integers. */
function isScalar(token: number | undefined): boolean {
  if (token === undefined) return false
  const isString = (token >= 0xa0 && token <= 0xbf) || (token >= 0xd9 && token <= 0xdb)
  return isString || token <= 0x7f || token >= 0xe0 || (token >= 0xcc && token <= 0xd3)
}

function skipBytes(bytes: Buffer, at: number, length: number): number {
  if (length > bytes.length - at) throw malformed('a body that is cut off')
  return at + length
}

function lengthAt(bytes: Buffer, at: number, width: 1 | 2 | 4): number {
  if (at + width > bytes.length) throw malformed('a body that is cut off')
  return bytes.readUIntBE(at, width)
}
