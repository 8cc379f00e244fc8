import {
  assertNever,
  ByteReader,
  ByteWriter,
  CordilleraError,
  type Key,
  type RangeId,
  type ReplicaId,
} from '@cordillera/base'
import type { Descriptor, Epoch } from './descriptor.js'
import { readDescriptor, writeDescriptor } from './descriptor-codec.js'
import { PREFIXED_KEY_BYTES_MAX } from './limits.js'

/**
 * What an entry of type `admin` does to the range itself, and its byte layout: `u8 format=1, u8 kind`, then
 *
 * - split: `varint version, varint confVersion, key key, varint rangeId, varint count, count × varint replicaId`,
 * - begin: `varint version, varint rightId, varint attempt`; abort, end: `varint attempt`; refuse: `varint rightId, varint attempt`,
 * - freeze, thaw: `varint version, varint leftId, varint attempt`,
 * - merge: `varint version, varint confVersion, varint attempt, descriptor` of the right,
 * - recover: `varint version`.
 *
 * Whether it takes effect is decided when it applies (see `splitDescriptor`, `merge.ts` and `recovery.ts`), by every replica in the same way.
 */
export type AdminCommand =
  | SplitCommand
  | BeginMergeCommand
  | FreezeCommand
  | MergeCommand
  | EndMergeCommand
  | RefuseMergeCommand
  | RecoverCommand

/** Cuts the range in two: the left half keeps its id and its replicas, the right half is a new range, with new replicas. */
export interface SplitCommand {
  readonly kind: 'split'
  /** What the range must be, to the replica: the new replicas belong to those of this epoch. */
  readonly epoch: Epoch
  /** The first key of the right half; inside of the span, and not its start. */
  readonly key: Key
  /** The right half's. Never used before, as its replicas' ids. */
  readonly rangeId: RangeId
  /** One for each replica of the range, in the order of the descriptor, on the same nodes. */
  readonly replicaIds: readonly ReplicaId[]
}

export interface BeginMergeCommand {
  readonly kind: 'begin'
  readonly version: number
  readonly rightId: RangeId
  readonly attempt: number
}

export interface FreezeCommand {
  readonly kind: 'freeze' | 'thaw'
  readonly version: number
  readonly leftId: RangeId
  readonly attempt: number
}

export interface MergeCommand {
  readonly kind: 'merge'
  /** The left's. */
  readonly epoch: Epoch
  readonly attempt: number
  readonly right: Descriptor
}

export interface EndMergeCommand {
  readonly kind: 'abort' | 'end'
  readonly attempt: number
}

/** Of an attempt that has frozen the right and that the left has never heard of, see `refuseMerge`. */
export interface RefuseMergeCommand {
  readonly kind: 'refuse'
  readonly rightId: RangeId
  readonly attempt: number
}

/** The first entry of a range that goes on without its majority: what its version is from here on. */
export interface RecoverCommand {
  readonly kind: 'recover'
  readonly version: number
}

const FORMAT = 1
const KINDS: readonly AdminCommand['kind'][] = [
  ...(['split', 'begin', 'freeze', 'merge', 'abort', 'thaw', 'end', 'recover', 'refuse'] as const),
]

/** The payload of an entry, behind `headerBytes` of room; the caller owns it. */
export function encodeAdminCommand(command: AdminCommand, headerBytes: number): Uint8Array {
  const writer = new ByteWriter(headerBytes + 64).raw(new Uint8Array(headerBytes))
  writer.u8(FORMAT).u8(1 + KINDS.indexOf(command.kind))
  switch (command.kind) {
    case 'split':
      writeEpoch(writer, command.epoch)
      writer.key(command.key).varint(command.rangeId).varint(command.replicaIds.length)
      for (const replicaId of command.replicaIds) writer.varint(replicaId)
      break
    case 'begin':
      writer.varint(command.version).varint(command.rightId).varint(command.attempt)
      break
    case 'freeze':
    case 'thaw':
      writer.varint(command.version).varint(command.leftId).varint(command.attempt)
      break
    case 'merge':
      writeEpoch(writer, command.epoch)
      writeDescriptor(writer.varint(command.attempt), command.right)
      break
    case 'abort':
    case 'end':
      writer.varint(command.attempt)
      break
    case 'recover':
      writer.varint(command.version)
      break
    case 'refuse':
      writer.varint(command.rightId).varint(command.attempt)
      break
    default:
      assertNever(command)
  }
  return writer.take()
}

/** Throws `CORRUPT`. */
export function decodeAdminCommand(bytes: Uint8Array): AdminCommand {
  const reader = new ByteReader(bytes)
  if (reader.u8() !== FORMAT) throw malformed('an unknown format')
  const command = readCommand(reader, KINDS[reader.u8() - 1])
  reader.end()
  return command
}

function readCommand(reader: ByteReader, kind: AdminCommand['kind'] | undefined): AdminCommand {
  switch (kind) {
    case 'split':
      return readSplit(reader)
    case 'begin':
      return { kind, version: reader.varint(), rightId: readId(reader), attempt: readId(reader) }
    case 'freeze':
    case 'thaw':
      return { kind, version: reader.varint(), leftId: readId(reader), attempt: readId(reader) }
    case 'merge':
      return { kind, epoch: readEpoch(reader), attempt: readId(reader), right: readDescriptor(reader) }
    case 'abort':
    case 'end':
      return { kind, attempt: readId(reader) }
    case 'recover':
      return { kind, version: readId(reader) }
    case 'refuse':
      return { kind, rightId: readId(reader), attempt: readId(reader) }
    default:
      throw malformed('an unknown kind')
  }
}

function readSplit(reader: ByteReader): SplitCommand {
  const epoch = readEpoch(reader)
  const key = reader.key(PREFIXED_KEY_BYTES_MAX)
  const rangeId = readId(reader)
  const count = reader.varint()
  if (count > reader.remaining) throw malformed('more replicas than bytes')
  const replicaIds: ReplicaId[] = []
  for (let i = 0; i < count; i++) replicaIds.push(readId(reader))
  return { kind: 'split', epoch, key, rangeId, replicaIds }
}

function writeEpoch(writer: ByteWriter, { version, confVersion }: Epoch): void {
  writer.varint(version).varint(confVersion)
}

function readEpoch(reader: ByteReader): Epoch {
  return { version: reader.varint(), confVersion: reader.varint() }
}

function readId(reader: ByteReader): number {
  const id = reader.varint()
  if (id === 0) throw malformed('an id of 0')
  return id
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed command to a range: ${what}` })
}
