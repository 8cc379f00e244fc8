import { ByteReader, ByteWriter, CordilleraError, type Key, type RangeId, type ReplicaId } from '@cordillera/base'
import type { Epoch } from './descriptor.js'
import { PREFIXED_KEY_BYTES_MAX } from './limits.js'

/**
 * What an entry of type `admin` does to the range itself, and its byte layout: `u8 format=1, u8 kind`, then for a split `varint
 * version, varint confVersion, key key, varint rangeId, varint count, count × varint replicaId`.
 *
 * Whether it takes effect is decided when it applies (see `splitDescriptor`), by every replica in the same way.
 */
export type AdminCommand = SplitCommand

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

const FORMAT = 1
const SPLIT = 1

/** The payload of an entry, behind `headerBytes` of room; the caller owns it. */
export function encodeAdminCommand(command: AdminCommand, headerBytes: number): Uint8Array {
  const { epoch, key, rangeId, replicaIds } = command
  const writer = new ByteWriter(headerBytes + 64).raw(new Uint8Array(headerBytes))
  writer.u8(FORMAT).u8(SPLIT).varint(epoch.version).varint(epoch.confVersion).key(key)
  writer.varint(rangeId).varint(replicaIds.length)
  for (const replicaId of replicaIds) writer.varint(replicaId)
  return writer.take()
}

/** Throws `CORRUPT`. */
export function decodeAdminCommand(bytes: Uint8Array): AdminCommand {
  const reader = new ByteReader(bytes)
  if (reader.u8() !== FORMAT || reader.u8() !== SPLIT) throw malformed('an unknown format or kind')
  const epoch = { version: reader.varint(), confVersion: reader.varint() }
  const key = reader.key(PREFIXED_KEY_BYTES_MAX)
  const rangeId = reader.varint()
  const count = reader.varint()
  if (count > reader.remaining) throw malformed('more replicas than bytes')
  const replicaIds: ReplicaId[] = []
  for (let i = 0; i < count; i++) replicaIds.push(reader.varint())
  reader.end()
  if (rangeId === 0 || replicaIds.includes(0)) throw malformed('an id of 0')
  return { kind: 'split', epoch, key, rangeId, replicaIds }
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed command to a range: ${what}` })
}
