import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { CordilleraError } from '@cordillera/base'

/**
 * The fixed parts of a segment file.
 *
 * A file begins with {@link SEGMENT_HEADER_BYTES} that hold the segment's header twice, 2 KiB apart; batches follow,
 * each beginning at a multiple of {@link SECTOR_BYTES}. The header names the format and the segment's sequence number,
 * which orders the segments and which every batch repeats: what does not carry it belongs to a former life of the
 * file. The file's name says nothing; it only keeps segments apart from the other files of the directory.
 */
export const SECTOR_BYTES = 512
export const SEGMENT_HEADER_BYTES = 4096
export const FORMAT_VERSION = 1

const SEGMENT_MAGIC = 0x47455343 // "CSEG"
const HEADER_COPIES_AT = [0, 2048] as const
const COPY_BYTES = 20
const NAME = /^raft-log-(\d{1,9})$/

export function segmentName(slot: number): string {
  return `raft-log-${slot}`
}

/** The slot in a segment file's name, or undefined when the file is none of the log's. */
export function segmentSlot(name: string): number | undefined {
  const match = NAME.exec(name)
  return match ? Number(match[1]) : undefined
}

/** Both copies, ready to be written at position 0. */
export function encodeSegmentHeader(sequence: number): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
  for (const at of HEADER_COPIES_AT) {
    bytes.writeUInt32LE(SEGMENT_MAGIC, at)
    bytes.writeUInt32LE(FORMAT_VERSION, at + 4)
    writeU53(bytes, at + 8, sequence)
    bytes.writeUInt32LE(crc32(bytes.subarray(at, at + 16)), at + 16)
  }
  return bytes
}

/**
 * The sequence number, from whichever copy is whole (the higher one when they differ: a header whose rewriting tore);
 * undefined when neither is. Throws `DIRECTORY_INVALID` for a whole header of another format version.
 */
export function tryDecodeSegmentHeader(bytes: Buffer): number | undefined {
  let sequence: number | undefined
  for (const at of HEADER_COPIES_AT) {
    if (bytes.length < at + COPY_BYTES || bytes.readUInt32LE(at) !== SEGMENT_MAGIC) continue
    if (bytes.readUInt32LE(at + 16) !== crc32(bytes.subarray(at, at + 16))) continue
    const version = bytes.readUInt32LE(at + 4)
    if (version !== FORMAT_VERSION) {
      throw new CordilleraError('DIRECTORY_INVALID', {
        detail: `a log segment has format ${version}; this program reads format ${FORMAT_VERSION}`,
      })
    }
    sequence = Math.max(sequence ?? 0, tryReadU53(bytes, at + 8) ?? 0)
  }
  return sequence
}

export function writeU53(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32LE(value >>> 0, at)
  buffer.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

/** Undefined when the eight bytes hold more than 53 bits. */
export function tryReadU53(buffer: Buffer, at: number): number | undefined {
  const high = buffer.readUInt32LE(at + 4)
  return high > 0x1fffff ? undefined : high * 0x1_0000_0000 + buffer.readUInt32LE(at)
}

export function roundUpToSector(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES
}
