import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import type { ReplicaId } from '@cordillera/base'
import { roundUpToSector, SECTOR_BYTES, tryReadU53, writeU53 } from './segment-format.js'

/**
 * The header of a batch: what one write and one fdatasync made durable.
 *
 * It is stored twice: in front of the batch, and again inside the header of the batch that follows. A batch is written
 * only after the one before it is durable, so whenever a bad batch is damage rather than a tear, a later batch exists,
 * and the copy lies in other sectors than the original, even for batches of one sector. Its checksum covers the
 * segment's sequence number and the batch's number; the body's checksum is seeded with both. Decoding never throws.
 *
 * | offset | size | field |
 * | --- | --- | --- |
 * | 0 | 4 | magic |
 * | 4 | 4 | length of the header |
 * | 8 | 4 | length of the batch, a multiple of the sector |
 * | 12 | 4 | checksum of the body (records and padding) |
 * | 16 | 8 | sequence number of the segment |
 * | 24 | 8 | number of the batch, one more than the one before it, across segments |
 * | 32 | 8 | sequence number of the oldest segment that recovery reads |
 * | 40 | 4 + 4 | kind, number of groups |
 * | 48 | 8 + 4·5 | the batch before: sequence, header length, length (0: there is none), checksum, kind, groups |
 * | 76 | 8 each | its groups, then those of the batch before |
 * | … | 4 | checksum of the header |
 */
export interface BatchHeader extends BatchSummary {
  readonly number: number
  readonly headSequence: number
  /** The copy of the header before this one; its number is one less. */
  readonly previous: BatchSummary | undefined
}

/** The part of a header that the next header repeats. */
export interface BatchSummary {
  readonly sequence: number
  readonly headerBytes: number
  readonly byteLength: number
  readonly bodyCrc: number
  readonly kind: BatchKind
  /** Every group that a record of the batch names, once. */
  readonly groups: readonly ReplicaId[]
}

/** `seal` and `end` are empty: the store went idle; the log goes on in the next segment, whose header is durable. */
export const BatchKind = { data: 0, seal: 1, end: 2 } as const
export type BatchKind = (typeof BatchKind)[keyof typeof BatchKind]

const BATCH_MAGIC = 0x54414243 // "CBAT"
const FIXED_BYTES = 76
const CRC_BYTES = 4

export function batchHeaderBytes(groupCount: number, previousGroupCount: number): number {
  return FIXED_BYTES + 8 * (groupCount + previousGroupCount) + CRC_BYTES
}

/** The length of an empty batch behind one that names `previousGroupCount` groups. */
export function emptyBatchBytes(previousGroupCount: number): number {
  return roundUpToSector(batchHeaderBytes(0, previousGroupCount))
}

const seedBytes = Buffer.alloc(16)

/** What the checksum of a body starts from: it holds for no other segment and no other batch. */
export function bodySeed(sequence: number, number: number): number {
  writeU53(seedBytes, 0, sequence)
  writeU53(seedBytes, 8, number)
  return crc32(seedBytes)
}

/** Writes `header.headerBytes` bytes at `at`. */
export function writeBatchHeader(buffer: Buffer, at: number, header: BatchHeader): void {
  const { previous } = header
  buffer.writeUInt32LE(BATCH_MAGIC, at)
  buffer.writeUInt32LE(header.headerBytes, at + 4)
  buffer.writeUInt32LE(header.byteLength, at + 8)
  buffer.writeUInt32LE(header.bodyCrc, at + 12)
  writeU53(buffer, at + 16, header.sequence)
  writeU53(buffer, at + 24, header.number)
  writeU53(buffer, at + 32, header.headSequence)
  buffer.writeUInt32LE(header.kind, at + 40)
  buffer.writeUInt32LE(header.groups.length, at + 44)
  writeU53(buffer, at + 48, previous?.sequence ?? 0)
  buffer.writeUInt32LE(previous?.headerBytes ?? 0, at + 56)
  buffer.writeUInt32LE(previous?.byteLength ?? 0, at + 60)
  buffer.writeUInt32LE(previous?.bodyCrc ?? 0, at + 64)
  buffer.writeUInt32LE(previous?.kind ?? 0, at + 68)
  buffer.writeUInt32LE(previous?.groups.length ?? 0, at + 72)
  let to = writeGroups(buffer, at + FIXED_BYTES, header.groups)
  if (previous) to = writeGroups(buffer, to, previous.groups)
  buffer.writeUInt32LE(crc32(buffer.subarray(at, to)), to)
}

/** The whole header at `at`, or undefined. Does not look at the body, which may reach past the input. */
export function tryReadBatchHeader(buffer: Buffer, at: number): BatchHeader | undefined {
  if (at + FIXED_BYTES + CRC_BYTES > buffer.length || buffer.readUInt32LE(at) !== BATCH_MAGIC) return undefined
  const headerBytes = buffer.readUInt32LE(at + 4)
  const groupCount = buffer.readUInt32LE(at + 44)
  const previousGroupCount = buffer.readUInt32LE(at + 72)
  if (headerBytes !== batchHeaderBytes(groupCount, previousGroupCount)) return undefined
  const end = at + headerBytes - CRC_BYTES
  if (end + CRC_BYTES > buffer.length || buffer.readUInt32LE(end) !== crc32(buffer.subarray(at, end))) return undefined
  const kind = buffer.readUInt32LE(at + 40)
  const byteLength = buffer.readUInt32LE(at + 8)
  const sequence = tryReadU53(buffer, at + 16)
  const number = tryReadU53(buffer, at + 24)
  const headSequence = tryReadU53(buffer, at + 32)
  const groups = tryReadGroups(buffer, at + FIXED_BYTES, groupCount)
  if (sequence === undefined || number === undefined || headSequence === undefined || groups === undefined)
    return undefined
  if (!isBatchKind(kind) || byteLength % SECTOR_BYTES !== 0 || byteLength < headerBytes) return undefined
  const bodyCrc = buffer.readUInt32LE(at + 12)
  const previous = tryReadPrevious(buffer, at, groupCount, previousGroupCount)
  return { sequence, headerBytes, byteLength, bodyCrc, kind, groups, number, headSequence, previous }
}

/** Whether the body behind the header at `at` is what was written with it. */
export function isBodyWhole(buffer: Buffer, at: number, summary: BatchSummary, number: number): boolean {
  const end = at + summary.byteLength
  if (at < 0 || end > buffer.length) return false
  const crc = crc32(buffer.subarray(at + summary.headerBytes, end), bodySeed(summary.sequence, number))
  return crc === summary.bodyCrc
}

function tryReadPrevious(
  buffer: Buffer,
  at: number,
  groupCount: number,
  previousGroupCount: number,
): BatchSummary | undefined {
  const headerBytes = buffer.readUInt32LE(at + 56)
  const byteLength = buffer.readUInt32LE(at + 60)
  const sequence = tryReadU53(buffer, at + 48)
  const kind = buffer.readUInt32LE(at + 68)
  const groups = tryReadGroups(buffer, at + FIXED_BYTES + 8 * groupCount, previousGroupCount)
  if (byteLength === 0 || byteLength % SECTOR_BYTES !== 0 || headerBytes > byteLength) return undefined
  if (sequence === undefined || groups === undefined || !isBatchKind(kind)) return undefined
  return { sequence, headerBytes, byteLength, bodyCrc: buffer.readUInt32LE(at + 64), kind, groups }
}

function writeGroups(buffer: Buffer, at: number, groups: readonly ReplicaId[]): number {
  let to = at
  for (const group of groups) {
    writeU53(buffer, to, group)
    to += 8
  }
  return to
}

function tryReadGroups(buffer: Buffer, at: number, count: number): ReplicaId[] | undefined {
  const groups: ReplicaId[] = []
  for (let i = 0; i < count; i++) {
    const group = tryReadU53(buffer, at + 8 * i)
    if (group === undefined) return undefined
    groups.push(group)
  }
  return groups
}

function isBatchKind(kind: number): kind is BatchKind {
  return kind <= BatchKind.end
}
