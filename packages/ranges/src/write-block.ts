import { Buffer } from 'node:buffer'
import { ByteReader, ByteWriter, CordilleraError, type Key } from '@cordillera/base'
import { PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.js'

/**
 * Commands and their byte layout. A *write block* is what one gateway had for one range in one turn:
 * `varint epochVersion, varint count, count × command`, a command being `u8 1, key, bytes value` (put) or `u8 2, key`
 * (delete). An entry's payload is one or more blocks, each preceded by its length as a u32.
 *
 * A replica proposes nothing that {@link checkWriteBlock} refuses: what is malformed in the log stops every store that
 * applies it.
 */
export type Command =
  | { readonly kind: 'put'; readonly key: Key; readonly value: Uint8Array }
  | { readonly kind: 'delete'; readonly key: Key }

export interface WriteBlockHeader {
  readonly epochVersion: number
  readonly count: number
}

export interface WriteBlock extends WriteBlockHeader {
  /** In order. Values are views of the block. */
  readonly commands: readonly Command[]
}

export const PUT = 1
export const DELETE = 2
export const BLOCK_LENGTH_BYTES = 4
const COMMAND_BYTES_MIN = 2

/** Collects the commands of one block. Copies keys and values at once. Used again after {@link take}. */
export class WriteBlockBuilder {
  #epochVersion: number
  readonly #commands: ByteWriter
  #count = 0

  constructor(epochVersion: number, capacityBytes = 512) {
    this.#epochVersion = epochVersion
    this.#commands = new ByteWriter(capacityBytes)
  }

  put(key: Key, value: Uint8Array): this {
    this.#commands.u8(PUT).key(key).bytes(value)
    this.#count++
    return this
  }

  delete(key: Key): this {
    this.#commands.u8(DELETE).key(key)
    this.#count++
    return this
  }

  get count(): number {
    return this.#count
  }

  /** The length that {@link take} would return. */
  get byteLength(): number {
    return varintBytes(this.#epochVersion) + varintBytes(this.#count) + this.#commands.length
  }

  /** The block, in memory that the caller owns. The builder is empty again, for `epochVersion` if given. */
  take(epochVersion = this.#epochVersion): Uint8Array {
    const block = Buffer.allocUnsafe(this.byteLength)
    const at = writeVarint(block, writeVarint(block, 0, this.#epochVersion), this.#count)
    block.set(this.#commands.view(), at)
    this.#commands.clear()
    this.#count = 0
    this.#epochVersion = epochVersion
    return block
  }
}

/** The header alone; the commands are not looked at. Throws `CORRUPT`. */
export function decodeWriteBlockHeader(block: Uint8Array): WriteBlockHeader {
  return readWriteBlockHeader(new ByteReader(block))
}

/** Everything. Throws `CORRUPT` unless `block` is exactly one well-formed block. */
export function decodeWriteBlock(block: Uint8Array): WriteBlock {
  const reader = new ByteReader(block)
  const { epochVersion, count } = readWriteBlockHeader(reader)
  const commands: Command[] = []
  for (let i = 0; i < count; i++) {
    const kind = reader.u8()
    const key = reader.key(PREFIXED_KEY_BYTES_MAX)
    if (kind === PUT) commands.push({ kind: 'put', key, value: reader.bytes(VALUE_BYTES_MAX) })
    else if (kind === DELETE) commands.push({ kind: 'delete', key })
    else throw unknownCommand(kind)
  }
  reader.end()
  return { epochVersion, count, commands }
}

/** Throws `CORRUPT` unless `block` is exactly one well-formed block. Reads all of it and keeps nothing. */
export function checkWriteBlock(block: Uint8Array): WriteBlockHeader {
  const reader = new ByteReader(block)
  const header = readWriteBlockHeader(reader)
  for (let i = 0; i < header.count; i++) {
    const kind = reader.u8()
    if (kind !== PUT && kind !== DELETE) throw unknownCommand(kind)
    reader.bytes(PREFIXED_KEY_BYTES_MAX)
    if (kind === PUT) reader.bytes(VALUE_BYTES_MAX)
  }
  reader.end()
  return header
}

export function readWriteBlockHeader(reader: ByteReader): WriteBlockHeader {
  const epochVersion = reader.varint()
  const count = reader.varint()
  if (count * COMMAND_BYTES_MIN > reader.remaining) {
    throw new CordilleraError('CORRUPT', { detail: 'malformed write block: more commands than bytes' })
  }
  return { epochVersion, count }
}

export function unknownCommand(kind: number): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed write block: command ${kind} is unknown` })
}

/**
 * The bytes of an entry: `headerBytes` of room (not written), then the blocks, each preceded by its length. One copy
 * of each block, into memory of its own that the caller owns.
 */
export function joinBlocks(headerBytes: number, blocks: readonly Uint8Array[]): Uint8Array {
  let length = headerBytes
  for (const block of blocks) length += BLOCK_LENGTH_BYTES + block.length
  const entry = Buffer.allocUnsafeSlow(length)
  entry.fill(0, 0, headerBytes)
  let at = headerBytes
  for (const block of blocks) {
    entry.writeUInt32LE(block.length, at)
    entry.set(block, at + BLOCK_LENGTH_BYTES)
    at += BLOCK_LENGTH_BYTES + block.length
  }
  return entry
}

function varintBytes(value: number): number {
  let count = 1
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) count++
  return count
}

function writeVarint(target: Buffer, offset: number, value: number): number {
  let at = offset
  let rest = value
  while (rest > 0x7f) {
    target[at++] = (rest % 128) | 0x80
    rest = Math.floor(rest / 128)
  }
  target[at++] = rest
  return at
}
