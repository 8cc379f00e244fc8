import { ByteReader, ByteWriter, CordilleraError } from '@cordillera/base'
import type { Descriptor, ReplicaPlace, ReplicaType } from './descriptor.js'
import { PREFIXED_KEY_BYTES_MAX } from './limits.js'
import type { MergeState } from './merge.js'

/**
 * The byte layout of a descriptor, in messages and in the state database:
 * `u8 format=2, varint rangeId, key start, u8 bounded, [key end], varint version, varint confVersion, varint count,
 * count × (varint replicaId, varint nodeId, u8 type), u8 merge, [varint other range, varint attempt], varint lastMerge, varint
 * lastMerged`;
 * merge is 0 for none, 1 absorbing, 2 aborted, 3 frozen.
 *
 * A decoded descriptor is well-formed: its span is not empty, ids are not 0, no replica appears twice.
 * Everything else is `CORRUPT`. Layers that know more (coverage, epochs) check more.
 */
const FORMAT = 2
const REPLICA_BYTES_MIN = 3
/** By the byte that stands for them. */
const MERGES: readonly MergeState['kind'][] = ['absorbing', 'aborted', 'frozen']
const TYPES: readonly ReplicaType[] = ['voter', 'learner', 'incoming', 'outgoing']

/** A buffer of its own, which the caller owns. */
export function encodeDescriptor(descriptor: Descriptor): Uint8Array {
  const writer = new ByteWriter(64)
  writeDescriptor(writer, descriptor)
  return writer.take()
}

/** Throws `CORRUPT` unless `bytes` are exactly one well-formed descriptor. Copies. */
export function decodeDescriptor(bytes: Uint8Array): Descriptor {
  const reader = new ByteReader(bytes)
  const descriptor = readDescriptor(reader)
  reader.end()
  return descriptor
}

/** Appends a descriptor to a message under construction; it delimits itself. */
export function writeDescriptor(writer: ByteWriter, descriptor: Descriptor): void {
  const { rangeId, start, end, epoch, replicas } = descriptor
  writer.u8(FORMAT).varint(rangeId).key(start)
  if (end === null) writer.u8(0)
  else writer.u8(1).key(end)
  writer.varint(epoch.version).varint(epoch.confVersion).varint(replicas.length)
  for (const { replicaId, nodeId, type } of replicas) {
    writer.varint(replicaId).varint(nodeId).u8(TYPES.indexOf(type))
  }
  const { merge } = descriptor
  writer.u8(merge === undefined ? 0 : 1 + MERGES.indexOf(merge.kind))
  if (merge !== undefined) writer.varint(merge.kind === 'frozen' ? merge.leftId : merge.rightId).varint(merge.attempt)
  writer.varint(descriptor.lastMerge ?? 0).varint(descriptor.lastMerged ?? 0)
}

/** Reads what {@link writeDescriptor} wrote and leaves the reader behind it. Throws `CORRUPT`. Copies. */
export function readDescriptor(reader: ByteReader): Descriptor {
  if (reader.u8() !== FORMAT) throw malformed('an unknown format')
  const rangeId = readId(reader)
  const start = reader.key(PREFIXED_KEY_BYTES_MAX)
  const bounded = reader.u8()
  if (bounded > 1) throw malformed('a bound that is neither there nor absent')
  const end = bounded === 0 ? null : reader.key(PREFIXED_KEY_BYTES_MAX)
  if (end !== null && end <= start) throw malformed('an empty span')
  const epoch = { version: reader.varint(), confVersion: reader.varint() }
  const replicas = readReplicas(reader)
  const merge = readMerge(reader)
  const lastMerge = reader.varint()
  const lastMerged = reader.varint()
  const last = { ...(lastMerge > 0 && { lastMerge }), ...(lastMerged > 0 && { lastMerged }) }
  return { rangeId, start, end, epoch, replicas, ...(merge && { merge }), ...last }
}

function readMerge(reader: ByteReader): MergeState | undefined {
  const kind = reader.u8()
  if (kind === 0) return undefined
  const known = MERGES[kind - 1]
  if (known === undefined) throw malformed('an unknown state of a merge')
  const other = readId(reader)
  const attempt = readId(reader)
  return known === 'frozen' ? { kind: known, leftId: other, attempt } : { kind: known, rightId: other, attempt }
}

function readReplicas(reader: ByteReader): ReplicaPlace[] {
  const count = reader.varint()
  if (count * REPLICA_BYTES_MIN > reader.remaining) throw malformed('more replicas than bytes')
  const replicas: ReplicaPlace[] = []
  const seen = new Set<number>()
  for (let i = 0; i < count; i++) {
    const replicaId = readId(reader)
    const nodeId = readId(reader)
    const type = TYPES[reader.u8()]
    if (type === undefined) throw malformed('an unknown replica type')
    if (seen.size === seen.add(replicaId).size) throw malformed('a replica twice')
    replicas.push({ replicaId, nodeId, type })
  }
  return replicas
}

function readId(reader: ByteReader): number {
  const id = reader.varint()
  if (id === 0) throw malformed('an id of 0')
  return id
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed descriptor: ${what}` })
}
