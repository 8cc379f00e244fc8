import { Buffer } from 'node:buffer'
import { ByteReader, ByteWriter, CordilleraError, type Key, type Version } from '@cordillera/base'
import { PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.js'
import {
  decodeTransactionStep,
  encodeTransactionStep,
  TRANSACTION_BODY_BYTES_MAX,
  type TransactionStep,
} from './transaction-command.js'
import {
  DELETE,
  GUARDS,
  KIND_MASK,
  NO_SESSION,
  PUT,
  readGuardFields,
  type Session,
  skipGuardFields,
  type WriteGuard,
  writeGuardFields,
} from './write-guard.js'

/**
 * Commands and their byte layout. A *write block* is what one gateway had for one range in one turn:
 *
 * - header: `varint epochVersion, varint count, varint nodeId, varint incarnation, varint lowestOutstanding, varint
 *   firstSequence`,
 * - `count` commands: `u8 kind | guards, varint step, key, [varint ifVersion], [varint notAfter], [32 bytes idempotency],
 *   [bytes value]`; a part of a transaction has its body in the place of a value.
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
  /** `key` is the first one of a group, the locked one, or the transaction's home. */
  | {
      readonly kind: 'transaction'
      readonly sequence: number
      readonly key: Key
      readonly step: TransactionStep
      readonly guard?: WriteGuard
    }

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

/** The kind of a command that is a part of a transaction; its body says which. */
export const TRANSACTION = 3
const FLAGS = KIND_MASK | GUARDS
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

  transact(sequence: number, key: Key, step: TransactionStep, guard?: WriteGuard): this {
    this.#begin(TRANSACTION, sequence, key, guard)
    this.#commands.bytes(encodeTransactionStep(step))
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
    if (guard === undefined) this.#commands.u8(kind).varint(zigzag).key(key)
    else writeGuardFields(this.#commands, kind, guard, () => this.#commands.varint(zigzag).key(key))
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
    const guard = readGuardFields(reader, flags)
    const guarded = guard === undefined ? {} : { guard }
    const kind = flags & KIND_MASK
    if (kind === DELETE) commands.push({ kind: 'delete', sequence, key, ...guarded })
    else if (kind === TRANSACTION)
      commands.push({ kind: 'transaction', sequence, key, step: readStep(reader), ...guarded })
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
    skipGuardFields(reader, flags)
    if ((flags & KIND_MASK) === PUT) reader.skipBytes(VALUE_BYTES_MAX)
    else if ((flags & KIND_MASK) === TRANSACTION) readStep(reader)
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
    skipGuardFields(reader, flags)
    if ((flags & KIND_MASK) !== DELETE) reader.skipBytes(TRANSACTION_BODY_BYTES_MAX)
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
    skipGuardFields(reader, flags)
    if ((flags & KIND_MASK) === TRANSACTION && bringsValue(readStep(reader))) return true
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
  if ((flags & KIND_MASK) === 0 || (flags & ~FLAGS) !== 0) throw malformed(`command ${flags} is unknown`)
  return flags
}

export function readSequence(reader: ByteReader, before: number): number {
  const zigzag = reader.varint()
  const sequence = before + (zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2)
  if (sequence < 0 || sequence > Number.MAX_SAFE_INTEGER) throw malformed('a sequence that is none')
  return sequence
}

export function readStep(reader: ByteReader): TransactionStep {
  return decodeTransactionStep(new ByteReader(reader.bytes(TRANSACTION_BODY_BYTES_MAX)))
}

/** Whether it takes room that was not taken before: what it decides on was counted when it was locked. */
export function bringsValue(step: TransactionStep): boolean {
  return (step.step === 'group' || step.step === 'lock') && step.mutations.some(({ kind }) => kind === 'put')
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
