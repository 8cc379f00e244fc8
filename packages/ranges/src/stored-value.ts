import { Buffer } from 'node:buffer'
import { asBuffer, CordilleraError, type Version } from '@cordillera/base'

/**
 * A value as it lies in the state database: one byte of format (1), seven of version (little-endian, at most 53 bits,
 * never 0), then the value, which may be empty. The format byte leaves room for other kinds of records under a key.
 */
export const STORED_VALUE_HEADER_BYTES = 8

const FORMAT = 1
const HIGH_MAX = 0x1fffff

export interface VersionedValue {
  readonly version: Version
  readonly value: Uint8Array
}

/** A buffer of its own, which the caller owns. */
export function encodeStoredValue(version: Version, value: Uint8Array): Uint8Array {
  const target = Buffer.allocUnsafe(STORED_VALUE_HEADER_BYTES + value.length)
  writeStoredValue(target, version, value)
  return target
}

/** Writes to the beginning of `target`, which has the room; returns the number of bytes written. */
export function writeStoredValue(target: Buffer, version: Version, value: Uint8Array): number {
  const high = Math.floor(version / 0x1_0000_0000)
  target[0] = FORMAT
  target.writeUInt32LE(version >>> 0, 1)
  target[5] = high
  target[6] = high >>> 8
  target[7] = high >>> 16
  target.set(value, STORED_VALUE_HEADER_BYTES)
  return STORED_VALUE_HEADER_BYTES + value.length
}

/** The value is a view of `bytes`. Throws `CORRUPT`. */
export function decodeStoredValue(bytes: Uint8Array): VersionedValue {
  const buffer = asBuffer(bytes)
  if (buffer.length < STORED_VALUE_HEADER_BYTES) throw malformed('a header that is cut off')
  if (buffer[0] !== FORMAT) throw malformed('an unknown format')
  const high = buffer[5]! | (buffer[6]! << 8) | (buffer[7]! << 16)
  if (high > HIGH_MAX) throw malformed('a version of more than 53 bits')
  const version = high * 0x1_0000_0000 + buffer.readUInt32LE(1)
  if (version === 0) throw malformed('version 0')
  return { version, value: buffer.subarray(STORED_VALUE_HEADER_BYTES) }
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed stored value: ${what}` })
}
