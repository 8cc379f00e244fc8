import { crc32 } from 'node:zlib'
import {
  asBuffer,
  ByteReader,
  ByteWriter,
  CordilleraError,
  type LogIndex,
  type ReplicaId,
  type Term,
  type Version,
} from '@cordillera/base'
import { type Descriptor, PREFIXED_KEY_BYTES_MAX, readDescriptor, type Span, writeDescriptor } from '@cordillera/ranges'

/**
 * The byte layouts of what the store must be able to trust, each ended by a CRC-32 of its own, because the engine can
 * lose and alter data silently.
 *
 * A replica's record: `u8 format=3, u8 kind, varint replicaId`, then for the kinds 1 (live) and 3 (installing) `varint
 * appliedIndex, varint appliedTerm, u32 memoryChecksum, descriptor`, for kind 3 `key start, u8 bounded, [key end]` of what it
 * clears, for kind 2 (removed) nothing. The store's record: `u8 format=3, varint
 * count, u32 digest, varint safePoint`: the number of replica records and the sum of their checksums, by which a missing
 * or outdated one is noticed.
 * Decoders throw `CORRUPT` for everything else.
 */
const FORMAT = 3
const LIVE = 1
const REMOVED = 2
const INSTALLING = 3
const KINDS = { live: LIVE, removed: REMOVED, installing: INSTALLING } as const
const CHECKSUM_BYTES = 4

export type ReplicaRecord = LiveRecord | InstallingRecord | RemovedRecord

export interface LiveRecord {
  readonly kind: 'live'
  readonly replicaId: ReplicaId
  readonly appliedIndex: LogIndex
  readonly appliedTerm: Term
  readonly descriptor: Descriptor
  /** Of the memory of operations, which lies under a key of its own; 0: there is none yet. */
  readonly memoryChecksum: number
}

/** A snapshot that is all there is taking the place of what is there, and these are its indexes. */
export interface InstallingRecord extends Omit<LiveRecord, 'kind'> {
  readonly kind: 'installing'
  /** Its own span, and what the replica had before: nobody else's. */
  readonly clears: Span
}

/** A tombstone: the id is never used again. */
export interface RemovedRecord {
  readonly kind: 'removed'
  readonly replicaId: ReplicaId
}

export interface StoreRecord {
  /** Replica records, tombstones among them. */
  readonly count: number
  /** Sum of their checksums, modulo 2^32. */
  readonly digest: number
  readonly safePoint: Version
}

export function encodeReplicaRecord(record: ReplicaRecord): Uint8Array {
  const writer = new ByteWriter(128)
  writer.u8(FORMAT).u8(KINDS[record.kind]).varint(record.replicaId)
  if (record.kind !== 'removed') {
    writer.varint(record.appliedIndex).varint(record.appliedTerm).u32(record.memoryChecksum)
    writeDescriptor(writer, record.descriptor)
  }
  if (record.kind === 'installing') writeSpan(writer, record.clears)
  return seal(writer)
}

export function decodeReplicaRecord(bytes: Uint8Array): ReplicaRecord {
  const reader = unseal(bytes, 'replica record')
  const kind = reader.u8()
  const replicaId = reader.varint()
  if (kind === REMOVED) {
    reader.end()
    return { kind: 'removed', replicaId }
  }
  if (kind !== LIVE && kind !== INSTALLING) throw malformed('replica record', `kind ${kind} is unknown`)
  const appliedIndex = reader.varint()
  const appliedTerm = reader.varint()
  const memoryChecksum = reader.u32()
  const indexes = { replicaId, appliedIndex, appliedTerm, descriptor: readDescriptor(reader), memoryChecksum }
  const record: ReplicaRecord =
    kind === LIVE ? { kind: 'live', ...indexes } : { kind: 'installing', ...indexes, clears: readSpan(reader) }
  reader.end()
  return record
}

function writeSpan(writer: ByteWriter, { start, end }: Span): void {
  writer.key(start)
  if (end === null) writer.u8(0)
  else writer.u8(1).key(end)
}

function readSpan(reader: ByteReader): Span {
  const start = reader.key(PREFIXED_KEY_BYTES_MAX)
  const bounded = reader.u8()
  if (bounded > 1) throw malformed('replica record', 'a bound is neither there nor absent')
  return { start, end: bounded === 0 ? null : reader.key(PREFIXED_KEY_BYTES_MAX) }
}

export function encodeStoreRecord({ count, digest, safePoint }: StoreRecord): Uint8Array {
  return seal(new ByteWriter(32).u8(FORMAT).varint(count).u32(digest).varint(safePoint))
}

export function decodeStoreRecord(bytes: Uint8Array): StoreRecord {
  const reader = unseal(bytes, 'store record')
  const record = { count: reader.varint(), digest: reader.u32(), safePoint: reader.varint() }
  reader.end()
  return record
}

/** The checksum at the end of an encoded record. */
export function recordChecksum(bytes: Uint8Array): number {
  return asBuffer(bytes).readUInt32LE(bytes.length - CHECKSUM_BYTES)
}

/** Of an encoded memory; never 0, which is "none". */
export function memoryChecksum(bytes: Uint8Array): number {
  return crc32(bytes) || 1
}

function seal(writer: ByteWriter): Uint8Array {
  return writer.u32(crc32(writer.view())).take()
}

/** Checks checksum and format; the reader is behind the format. */
function unseal(bytes: Uint8Array, what: string): ByteReader {
  const end = bytes.length - CHECKSUM_BYTES
  if (end < 1) throw malformed(what, 'it is cut off')
  if (crc32(bytes.subarray(0, end)) !== recordChecksum(bytes)) throw malformed(what, 'its checksum does not match')
  const reader = new ByteReader(bytes, 0, end)
  if (reader.u8() !== FORMAT) throw malformed(what, 'its format is unknown')
  return reader
}

function malformed(what: string, why: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `the state database holds a ${what} that cannot be trusted: ${why}` })
}
