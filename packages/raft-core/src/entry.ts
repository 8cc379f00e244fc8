import { asBuffer, assert, CordilleraError, type LogIndex, type Term } from '@cordillera/base'

/**
 * A log entry and its byte layout: the same bytes are written to the log and sent to every peer, encoded once.
 *
 * | offset | size | field |
 * | --- | --- | --- |
 * | 0 | 4 | payload length |
 * | 4 | 1 | type |
 * | 5 | 1 | zero |
 * | 6 | 2 + 4 | term: high 16 bits, low 32 |
 * | 12 | 2 + 4 | index: high 16 bits, low 32 |
 * | 18 | … | payload |
 *
 * Integers are little-endian. Entries one behind the other delimit themselves. There is no checksum here: records of
 * the log and frames of the transport carry their own.
 */
export const ENTRY_HEADER_BYTES = 18

/**
 * What an entry is. `empty`, without a payload: by which a new leader commits its predecessors' (thesis 3.6.2). `change`:
 * changes the configuration, the payload is the host's. `leave`, without a payload: ends a joint configuration. `command` and
 * `admin` are the host's; what tells them apart is its affair.
 */
export const EntryType = { command: 0, empty: 1, change: 2, leave: 3, admin: 4 } as const
export type EntryType = (typeof EntryType)[keyof typeof EntryType]

/** Whether applying the entry may change the configuration. */
export function isChange(type: EntryType): boolean {
  return type === EntryType.change || type === EntryType.leave
}

export interface Entry {
  readonly term: Term
  readonly index: LogIndex
  readonly type: EntryType
  /** Header and payload. Immutable from the moment it is proposed or decoded. */
  readonly bytes: Uint8Array
}

/** The payload of an entry, as a view. */
export function entryPayload(entry: Entry): Uint8Array {
  return entry.bytes.subarray(ENTRY_HEADER_BYTES)
}

/** Writes the header into the first {@link ENTRY_HEADER_BYTES} of `bytes`, whose rest is the payload. Keeps `bytes`. */
export function sealEntry(term: Term, index: LogIndex, type: EntryType, bytes: Uint8Array): Entry {
  assert(bytes.length >= ENTRY_HEADER_BYTES, 'an entry has room for its header')
  const buffer = asBuffer(bytes)
  buffer.writeUInt32LE(bytes.length - ENTRY_HEADER_BYTES, 0)
  buffer[4] = type
  buffer[5] = 0
  buffer.writeUInt16LE(Math.floor(term / 0x1_0000_0000), 6)
  buffer.writeUInt32LE(term >>> 0, 8)
  buffer.writeUInt16LE(Math.floor(index / 0x1_0000_0000), 12)
  buffer.writeUInt32LE(index >>> 0, 14)
  return { term, index, type, bytes }
}

/**
 * Reads the entry that begins at `offset`; its bytes are a view of the input. Throws `CORRUPT` when it does not fit
 * in the input or is not an entry. The next one begins at `offset + entry.bytes.length`.
 */
export function decodeEntry(bytes: Uint8Array, offset = 0): Entry {
  const buffer = asBuffer(bytes)
  if (offset + ENTRY_HEADER_BYTES > buffer.length)
    throw new CordilleraError('CORRUPT', { detail: 'an entry is cut off' })
  const end = offset + ENTRY_HEADER_BYTES + buffer.readUInt32LE(offset)
  const type = buffer[offset + 4]!
  if (end > buffer.length || type > EntryType.admin || buffer[offset + 5] !== 0) {
    throw new CordilleraError('CORRUPT', { detail: 'bytes are not an entry' })
  }
  return {
    term: buffer.readUInt16LE(offset + 6) * 0x1_0000_0000 + buffer.readUInt32LE(offset + 8),
    index: buffer.readUInt16LE(offset + 12) * 0x1_0000_0000 + buffer.readUInt32LE(offset + 14),
    type: type as EntryType,
    bytes: buffer.subarray(offset, end),
  }
}
