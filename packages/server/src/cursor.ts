import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { assert, ByteReader, ByteWriter, CordilleraError, type Key, type Version } from '@cordillera/base'
import { isKeyspaceName, KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX } from '@cordillera/ranges'
import type { Encoding } from './key-codec.js'

/**
 * Where a scan goes on: opaque to clients, base64url, complete in itself, so that any node can continue it.
 *
 * It holds the snapshot, the keyspace, the span that is left (within the keyspace, so that it cannot name anything
 * beyond), the direction and the flags of the first request. A checksum tells a damaged cursor from a real one; it is not
 * a secret, and all that a forged one can say beyond a plain request is another snapshot, which the router checks.
 */
export interface ScanState {
  readonly keyspace: string
  readonly spread: boolean
  /** The snapshot that every page sees; 0 before the first page, and never in a cursor. */
  readonly at: Version
  /** Inclusive; without the keyspace's prefix, and without a bucket. */
  readonly start: Key
  /** Exclusive; null is the end of the keyspace. */
  readonly end: Key | null
  readonly reverse: boolean
  readonly values: boolean
  readonly limit: number
  readonly encoding: Encoding
}

const FORMAT = 2
const ENCODINGS: readonly Encoding[] = ['text', 'hex', 'base64url']
const REVERSE = 1
const VALUES = 2
const BOUNDED = 4
const SPREAD = 8
/** A start is one byte longer than a key when it stands right behind one. */
const BOUND_BYTES_MAX = KEY_BYTES_MAX + 1
const LIMIT_MAX = 10_000

/** Of a scan that has read a page. */
export function encodeCursor(state: ScanState): string {
  assert(state.at > 0, 'a cursor continues a snapshot')
  const writer = new ByteWriter(64)
  writer.u8(FORMAT).u8(flagsOf(state)).u8(ENCODINGS.indexOf(state.encoding)).varint(state.limit).varint(state.at)
  writer.key(state.keyspace).key(state.start)
  if (state.end !== null) writer.key(state.end)
  writer.u32(checksum(writer.view()))
  return writer.view().toString('base64url')
}

/** Throws BAD_REQUEST for anything that {@link encodeCursor} did not write. */
export function decodeCursor(text: string): ScanState {
  const bytes = Buffer.from(text, 'base64url')
  if (bytes.length < 8 || bytes.toString('base64url') !== text) throw invalid()
  const body = bytes.subarray(0, -4)
  if (bytes.readUInt32LE(body.length) !== checksum(body)) throw invalid()
  try {
    return readState(new ByteReader(body))
  } catch (error) {
    if (error instanceof CordilleraError) throw invalid()
    throw error
  }
}

function readState(reader: ByteReader): ScanState {
  const format = reader.u8()
  const flags = reader.u8()
  const encoding = ENCODINGS[reader.u8()]
  const limit = reader.varint()
  const at = reader.varint()
  const keyspace = reader.key(KEYSPACE_NAME_BYTES_MAX)
  const start = reader.key(BOUND_BYTES_MAX)
  const end = (flags & BOUNDED) === 0 ? null : reader.key(BOUND_BYTES_MAX)
  reader.end()
  const known = format === FORMAT && flags <= (REVERSE | VALUES | BOUNDED | SPREAD) && encoding !== undefined
  if (!known || limit < 1 || limit > LIMIT_MAX || at === 0 || !isKeyspaceName(keyspace)) throw invalid()
  const reverse = (flags & REVERSE) !== 0
  const values = (flags & VALUES) !== 0
  const spread = (flags & SPREAD) !== 0
  return { keyspace, spread, at, start, end, reverse, values, limit, encoding }
}

function flagsOf({ reverse, values, end, spread }: ScanState): number {
  return (reverse ? REVERSE : 0) | (values ? VALUES : 0) | (end === null ? 0 : BOUNDED) | (spread ? SPREAD : 0)
}

function checksum(bytes: Uint8Array): number {
  return crc32(bytes)
}

function invalid(): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail: 'the cursor is not one that this API gave out' })
}
