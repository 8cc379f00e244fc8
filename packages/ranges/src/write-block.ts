import { Buffer } from 'node:buffer'
import {
  ByteReader,
  ByteWriter,
  CordilleraError,
  type Incarnation,
  type Key,
  type NodeId,
  type Version,
} from '@cordillera/base'
import { PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.js'

/**
 * Commands and their byte layout. A *write block* is what one gateway had for one range in one turn:
 *
 * - header: `varint epochVersion, varint count, varint nodeId, varint incarnation, varint lowestOutstanding, varint
 *   firstSequence`,
 * - `count` commands: `u8 kind | guards, varint step, key, [varint ifVersion], [32 bytes idempotency], [bytes value]`.
 *
 * `step` is the distance of a command's sequence to the one before (the first: to `firstSequence`), zigzag. An entry's
 * payload is `varint timestamp, varint ageMs`, then blocks, each preceded by its length as a u32.
 *
 * A replica proposes nothing that {@link checkWriteBlock} refuses: what is malformed in the log stops every store that
 * applies it.
 */
export type Command =
  | {
      readonly kind: 'put'
      readonly sequence: number
      readonly key: Key
      readonly value: Uint8Array
      readonly guard?: WriteGuard
    }
  | { readonly kind: 'delete'; readonly sequence: number; readonly key: Key; readonly guard?: WriteGuard }

/** What must hold, at apply, for a command to write. All of it. */
export interface WriteGuard {
  /** The key's newest version is this; 0: there is none. */
  readonly ifVersion?: Version
  /** There is one. */
  readonly ifPresent?: true
  /** The operation's id, 16 bytes, then the fingerprint of its request, 16 bytes: see `OperationMemory`. */
  readonly idempotency?: Uint8Array
}

/**
 * Who numbers operations: one start of one node. With `nodeId` 0 there is no session: nothing of the operations is
 * remembered, and sending them twice is doing them twice.
 */
export interface Session {
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
}

export const NO_SESSION: Session = { nodeId: 0, incarnation: 0 }

export interface WriteBlockHeader {
  readonly epochVersion: number
  readonly count: number
  readonly session: Session
  /** Every operation of the session below it was answered: nobody will ask for it again. */
  readonly lowestOutstanding: number
}

export interface WriteBlock extends WriteBlockHeader {
  /** In order. Values, and ids, are views of the block. */
  readonly commands: readonly Command[]
}

/** What every command of an entry has in common. */
export interface EntryStamp {
  /** The version of the entry's first command; command i, over all blocks, has `timestamp + i`. */
  readonly timestamp: Version
  /** The range's age by its leaders' clocks, in ms. */
  readonly ageMs: number
}

export const IDEMPOTENCY_BYTES = 32
export const PUT = 1
export const DELETE = 2
export const KIND_MASK = 0b11
export const IF_VERSION = 4
export const IF_PRESENT = 8
export const IDEMPOTENT = 16
const FLAGS = KIND_MASK | IF_VERSION | IF_PRESENT | IDEMPOTENT
const BLOCK_LENGTH_BYTES = 4
const COMMAND_BYTES_MIN = 3

/** Collects the commands of one block. Copies keys and values at once. Used again after {@link take}. */
export class WriteBlockBuilder {
  #epochVersion: number
  readonly #session: Session
  readonly #commands: ByteWriter
  #count = 0
  #firstSequence = 0
  #lastSequence = 0

  constructor(epochVersion: number, session: Session = NO_SESSION, capacityBytes = 512) {
    this.#epochVersion = epochVersion
    this.#session = session
    this.#commands = new ByteWriter(capacityBytes)
  }

  put(sequence: number, key: Key, value: Uint8Array, guard?: WriteGuard): this {
    this.#begin(PUT, sequence, key, guard)
    this.#commands.bytes(value)
    return this
  }

  delete(sequence: number, key: Key, guard?: WriteGuard): this {
    this.#begin(DELETE, sequence, key, guard)
    return this
  }

  get count(): number {
    return this.#count
  }

  /** The length of the commands: {@link take} adds a header of a few bytes. */
  get byteLength(): number {
    return this.#commands.length
  }

  /** The block, in memory that the caller owns. The builder is empty again, for `epochVersion` if given. */
  take(lowestOutstanding = this.#firstSequence, epochVersion = this.#epochVersion): Uint8Array {
    const { nodeId, incarnation } = this.#session
    const header = [this.#epochVersion, this.#count, nodeId, incarnation, lowestOutstanding, this.#firstSequence]
    let length = this.#commands.length
    for (const field of header) length += varintBytes(field)
    const block = Buffer.allocUnsafe(length)
    let at = 0
    for (const field of header) at = writeVarint(block, at, field)
    block.set(this.#commands.view(), at)
    this.#commands.clear()
    this.#count = 0
    this.#firstSequence = 0
    this.#lastSequence = 0
    this.#epochVersion = epochVersion
    return block
  }

  #begin(kind: number, sequence: number, key: Key, guard: WriteGuard | undefined): void {
    if (this.#count++ === 0) {
      this.#firstSequence = sequence
      this.#lastSequence = sequence
    }
    const step = sequence - this.#lastSequence
    this.#lastSequence = sequence
    const zigzag = step >= 0 ? step * 2 : -step * 2 - 1
    if (guard === undefined) {
      this.#commands.u8(kind).varint(zigzag).key(key)
      return
    }
    const { ifVersion, ifPresent, idempotency } = guard
    const flags =
      (ifVersion === undefined ? 0 : IF_VERSION) | (ifPresent ? IF_PRESENT : 0) | (idempotency ? IDEMPOTENT : 0)
    this.#commands
      .u8(kind | flags)
      .varint(zigzag)
      .key(key)
    if (ifVersion !== undefined) this.#commands.varint(ifVersion)
    if (idempotency !== undefined) this.#commands.raw(idempotency)
  }
}

/** The header alone; the commands are not looked at. Throws `CORRUPT`. */
export function decodeWriteBlockHeader(block: Uint8Array): WriteBlockHeader {
  return readWriteBlockHeader(new ByteReader(block))
}

/** Everything. Throws `CORRUPT` unless `block` is exactly one well-formed block. */
export function decodeWriteBlock(block: Uint8Array): WriteBlock {
  const reader = new ByteReader(block)
  const { firstSequence, ...header } = readWriteBlockHeader(reader)
  const commands: Command[] = []
  let sequence = firstSequence
  for (let i = 0; i < header.count; i++) {
    const flags = readFlags(reader)
    sequence = readSequence(reader, sequence)
    const key = reader.key(PREFIXED_KEY_BYTES_MAX)
    const guard = readGuard(reader, flags)
    const guarded = guard === undefined ? {} : { guard }
    if ((flags & KIND_MASK) === DELETE) commands.push({ kind: 'delete', sequence, key, ...guarded })
    else commands.push({ kind: 'put', sequence, key, value: reader.bytes(VALUE_BYTES_MAX), ...guarded })
  }
  reader.end()
  return { ...header, commands }
}

/** Throws `CORRUPT` unless `block` is exactly one well-formed block. Reads all of it and keeps nothing. */
export function checkWriteBlock(block: Uint8Array): WriteBlockHeader {
  const reader = new ByteReader(block)
  const header = readWriteBlockHeader(reader)
  let sequence = header.firstSequence
  for (let i = 0; i < header.count; i++) {
    const flags = readFlags(reader)
    sequence = readSequence(reader, sequence)
    reader.skipBytes(PREFIXED_KEY_BYTES_MAX)
    if ((flags & IF_VERSION) !== 0) reader.varint()
    if ((flags & IDEMPOTENT) !== 0) reader.skip(IDEMPOTENCY_BYTES)
    if ((flags & KIND_MASK) === PUT) reader.skipBytes(VALUE_BYTES_MAX)
  }
  reader.end()
  return header
}

/** The key of the command at this place of a well-formed block that has it; what is before is passed over. */
export function keyOfCommand(block: Uint8Array, at: number): Key {
  const reader = new ByteReader(block)
  readWriteBlockHeader(reader)
  for (let i = 0; ; i++) {
    const flags = readFlags(reader)
    reader.varint()
    if (i === at) return reader.key(PREFIXED_KEY_BYTES_MAX)
    reader.skipBytes(PREFIXED_KEY_BYTES_MAX)
    if ((flags & IF_VERSION) !== 0) reader.varint()
    if ((flags & IDEMPOTENT) !== 0) reader.skip(IDEMPOTENCY_BYTES)
    if ((flags & KIND_MASK) === PUT) reader.skipBytes(VALUE_BYTES_MAX)
  }
}

/** Whether the block has a command that writes a value, rather than removing one. Throws `CORRUPT`. */
export function holdsPut(block: Uint8Array): boolean {
  const reader = new ByteReader(block)
  const { count } = readWriteBlockHeader(reader)
  for (let i = 0; i < count; i++) {
    const flags = readFlags(reader)
    if ((flags & KIND_MASK) === PUT) return true
    reader.varint()
    reader.skipBytes(PREFIXED_KEY_BYTES_MAX)
    if ((flags & IF_VERSION) !== 0) reader.varint()
    if ((flags & IDEMPOTENT) !== 0) reader.skip(IDEMPOTENCY_BYTES)
  }
  return false
}

export function readWriteBlockHeader(reader: ByteReader): WriteBlockHeader & { readonly firstSequence: number } {
  const epochVersion = reader.varint()
  const count = reader.varint()
  const session = { nodeId: reader.varint(), incarnation: reader.varint() }
  const lowestOutstanding = reader.varint()
  const firstSequence = reader.varint()
  if (count * COMMAND_BYTES_MIN > reader.remaining) throw malformed('more commands than bytes')
  return { epochVersion, count, session, lowestOutstanding, firstSequence }
}

/** The first byte of a command: its kind and which guards follow. */
export function readFlags(reader: ByteReader): number {
  const flags = reader.u8()
  const kind = flags & KIND_MASK
  if ((kind !== PUT && kind !== DELETE) || (flags & ~FLAGS) !== 0) throw malformed(`command ${flags} is unknown`)
  return flags
}

export function readSequence(reader: ByteReader, before: number): number {
  const zigzag = reader.varint()
  const sequence = before + (zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2)
  if (sequence < 0 || sequence > Number.MAX_SAFE_INTEGER) throw malformed('a sequence that is none')
  return sequence
}

export function readGuard(reader: ByteReader, flags: number): WriteGuard | undefined {
  if ((flags & ~KIND_MASK) === 0) return undefined
  const guard: { ifVersion?: Version; ifPresent?: true; idempotency?: Uint8Array } = {}
  if ((flags & IF_VERSION) !== 0) guard.ifVersion = reader.varint()
  if ((flags & IF_PRESENT) !== 0) guard.ifPresent = true
  if ((flags & IDEMPOTENT) !== 0) guard.idempotency = reader.raw(IDEMPOTENCY_BYTES)
  return guard
}

/**
 * The bytes of an entry: `headerBytes` of room (not written), the stamp, then the blocks, each preceded by its length.
 * One copy of each block, into memory of its own that the caller owns.
 */
export function joinBlocks(headerBytes: number, stamp: EntryStamp, blocks: readonly Uint8Array[]): Uint8Array {
  let length = headerBytes + varintBytes(stamp.timestamp) + varintBytes(stamp.ageMs)
  for (const block of blocks) length += BLOCK_LENGTH_BYTES + block.length
  const entry = Buffer.allocUnsafeSlow(length)
  entry.fill(0, 0, headerBytes)
  let at = writeVarint(entry, writeVarint(entry, headerBytes, stamp.timestamp), stamp.ageMs)
  for (const block of blocks) {
    entry.writeUInt32LE(block.length, at)
    entry.set(block, at + BLOCK_LENGTH_BYTES)
    at += BLOCK_LENGTH_BYTES + block.length
  }
  return entry
}

/** Throws `CORRUPT`. */
export function readStamp(reader: ByteReader): EntryStamp {
  const timestamp = reader.varint()
  if (timestamp === 0) throw malformed('an entry without a timestamp')
  return { timestamp, ageMs: reader.varint() }
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed write block: ${what}` })
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
