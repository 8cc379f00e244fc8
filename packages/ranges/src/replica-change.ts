import { ByteReader, ByteWriter, CordilleraError, type NodeId, type ReplicaId } from '@cordillera/base'

/**
 * What one entry does to the replicas of a range, and its byte layout: `u8 format=1, varint count, count × (u8 kind,
 * varint replicaId, varint nodeId)`. All changes of an entry happen at once.
 */
export interface ReplicaChange {
  readonly kind: 'add-learner' | 'promote' | 'remove'
  readonly replicaId: ReplicaId
  /** Where it is, or will be. */
  readonly nodeId: NodeId
}

const FORMAT = 1
const KINDS: readonly ReplicaChange['kind'][] = ['add-learner', 'promote', 'remove']
const CHANGE_BYTES_MIN = 3

/** The payload of an entry, behind `headerBytes` of room; the caller owns it. */
export function encodeReplicaChanges(changes: readonly ReplicaChange[], headerBytes: number): Uint8Array {
  const writer = new ByteWriter(headerBytes + 32).raw(new Uint8Array(headerBytes))
  writer.u8(FORMAT).varint(changes.length)
  for (const { kind, replicaId, nodeId } of changes) writer.u8(KINDS.indexOf(kind)).varint(replicaId).varint(nodeId)
  return writer.take()
}

/** Throws `CORRUPT`. */
export function decodeReplicaChanges(bytes: Uint8Array): ReplicaChange[] {
  const reader = new ByteReader(bytes)
  if (reader.u8() !== FORMAT) throw malformed('an unknown format')
  const count = reader.varint()
  if (count * CHANGE_BYTES_MIN > reader.remaining) throw malformed('more changes than bytes')
  const changes: ReplicaChange[] = []
  for (let i = 0; i < count; i++) {
    const kind = KINDS[reader.u8()]
    const replicaId = reader.varint()
    const nodeId = reader.varint()
    if (kind === undefined || replicaId === 0 || nodeId === 0) throw malformed('an unknown kind, or an id of 0')
    changes.push({ kind, replicaId, nodeId })
  }
  reader.end()
  return changes
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed replica change: ${what}` })
}
