import type { Buffer } from 'node:buffer'
import { CordilleraError, type LogIndex, type ReplicaId, type Term } from '@cordillera/base'
import { decodeEntry, ENTRY_HEADER_BYTES, type HardState } from '@cordillera/raft-core'
import { tryReadU53, writeU53 } from './segment-format.js'

/**
 * The records in a batch's body. Each has a head of {@link RECORD_HEAD_BYTES} (kind, flags, payload length, group) and
 * a payload; integers are little-endian, the rest of the body is zero.
 *
 * Records of entries hold contiguous entries of one term, the very bytes that travel between peers. `entries`
 * truncates: its first index replaces what is there and everything behind it. `carriedEntries` and `carriedState` move
 * what is live out of an old segment and never truncate what replay has already seen. Decoding throws `CORRUPT` and
 * nothing else, and allocates by no length that it has not checked.
 */
export const RecordKind = {
  padding: 0,
  entries: 1,
  hardState: 2,
  flushed: 3,
  compaction: 4,
  removal: 5,
  carriedState: 6,
  carriedEntries: 7,
  reset: 8,
  creation: 9,
} as const
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind]

export const RECORD_HEAD_BYTES = 16
/** A record of entries ends at this size (or holds one larger entry), so that reading one back is bounded. */
export const ENTRIES_RECORD_BYTES_MAX = 256 * 1024

/** Everything about a group but its entries. */
export interface CarriedState {
  readonly hardState: HardState
  readonly compactedIndex: LogIndex
  readonly compactedTerm: Term
  readonly flushedIndex: LogIndex
  /** Where the group's log ended when this was written. */
  readonly lastIndex: LogIndex
  readonly damaged: boolean
}

/** The bytes of each record's payload; for entries it is the entries'. */
export const PAYLOAD_BYTES = { hardState: 24, index: 8, indexAndTerm: 16, carriedState: 64 } as const

export type LogRecord =
  | EntriesRecord
  | { readonly kind: typeof RecordKind.hardState; readonly group: ReplicaId; readonly hardState: HardState }
  | { readonly kind: typeof RecordKind.flushed; readonly group: ReplicaId; readonly index: LogIndex }
  | {
      readonly kind: typeof RecordKind.compaction | typeof RecordKind.reset
      readonly group: ReplicaId
      readonly index: LogIndex
      readonly term: Term
    }
  | { readonly kind: typeof RecordKind.removal | typeof RecordKind.creation; readonly group: ReplicaId }
  | { readonly kind: typeof RecordKind.carriedState; readonly group: ReplicaId; readonly state: CarriedState }

export interface EntriesRecord {
  readonly kind: typeof RecordKind.entries | typeof RecordKind.carriedEntries
  readonly group: ReplicaId
  readonly firstIndex: LogIndex
  readonly count: number
  readonly term: Term
  /** The record, head included, within the decoded buffer. */
  readonly start: number
  readonly byteLength: number
}

/** Returns where the payload begins. */
export function writeRecordHead(
  buffer: Buffer,
  at: number,
  kind: RecordKind,
  payloadBytes: number,
  group: ReplicaId,
): number {
  buffer.writeUInt32LE(kind, at)
  buffer.writeUInt32LE(payloadBytes, at + 4)
  writeU53(buffer, at + 8, group)
  return at + RECORD_HEAD_BYTES
}

/** Writes integers, 8 bytes each; returns the position behind them. */
export function writeIntegers(buffer: Buffer, at: number, ...values: readonly number[]): number {
  let to = at
  for (const value of values) {
    writeU53(buffer, to, value)
    to += 8
  }
  return to
}

/** All records of a body, in order. */
export function decodeRecords(buffer: Buffer, start: number, end: number): LogRecord[] {
  const records: LogRecord[] = []
  let at = start
  while (at + RECORD_HEAD_BYTES <= end) {
    const kind = buffer.readUInt32LE(at)
    if (kind === RecordKind.padding) break
    const payload = at + RECORD_HEAD_BYTES
    const payloadBytes = buffer.readUInt32LE(at + 4)
    if (payloadBytes > end - payload) throw corrupt('a record reaches past its batch')
    const group = integer(buffer, at + 8)
    records.push(decodeRecord(buffer, kind, group, payload, payloadBytes))
    at = payload + payloadBytes
  }
  return records
}

function decodeRecord(buffer: Buffer, kind: number, group: ReplicaId, at: number, bytes: number): LogRecord {
  switch (kind) {
    case RecordKind.entries:
    case RecordKind.carriedEntries:
      return decodeEntriesRecord(buffer, kind, group, at, bytes)
    case RecordKind.hardState:
      expectLength(bytes, PAYLOAD_BYTES.hardState)
      return { kind, group, hardState: readHardState(buffer, at) }
    case RecordKind.flushed:
      expectLength(bytes, PAYLOAD_BYTES.index)
      return { kind, group, index: integer(buffer, at) }
    case RecordKind.compaction:
    case RecordKind.reset:
      expectLength(bytes, PAYLOAD_BYTES.indexAndTerm)
      return { kind, group, index: integer(buffer, at), term: integer(buffer, at + 8) }
    case RecordKind.removal:
    case RecordKind.creation:
      expectLength(bytes, 0)
      return { kind, group }
    case RecordKind.carriedState:
      expectLength(bytes, PAYLOAD_BYTES.carriedState)
      return { kind, group, state: readCarriedState(buffer, at) }
    default:
      throw corrupt(`a record of the unknown kind ${kind}`)
  }
}

function decodeEntriesRecord(
  buffer: Buffer,
  kind: EntriesRecord['kind'],
  group: ReplicaId,
  at: number,
  bytes: number,
): EntriesRecord {
  const payload = buffer.subarray(at, at + bytes)
  const first = decodeEntry(payload)
  let count = 1
  for (let offset = first.bytes.length; offset < payload.length; count++) {
    const entry = decodeEntry(payload, offset)
    if (entry.index !== first.index + count || entry.term !== first.term) throw corrupt('entries out of order')
    offset += entry.bytes.length
  }
  if (first.index === 0) throw corrupt('an entry at index 0')
  const start = at - RECORD_HEAD_BYTES
  return { kind, group, firstIndex: first.index, count, term: first.term, start, byteLength: bytes + RECORD_HEAD_BYTES }
}

/** Where the entries `from` to `to` lie in a record's payload. They must be in it. */
export function sliceEntries(payload: Buffer, from: LogIndex, to: LogIndex): Buffer {
  let start = 0
  let at = 0
  while (at + ENTRY_HEADER_BYTES <= payload.length) {
    const entry = decodeEntry(payload, at)
    if (entry.index === from) start = at
    at += entry.bytes.length
    if (entry.index === to) return payload.subarray(start, at)
  }
  throw corrupt('a record lacks an entry')
}

function readHardState(buffer: Buffer, at: number): HardState {
  return { term: integer(buffer, at), vote: integer(buffer, at + 8), commitIndex: integer(buffer, at + 16) }
}

function readCarriedState(buffer: Buffer, at: number): CarriedState {
  return {
    hardState: readHardState(buffer, at),
    compactedIndex: integer(buffer, at + 24),
    compactedTerm: integer(buffer, at + 32),
    flushedIndex: integer(buffer, at + 40),
    lastIndex: integer(buffer, at + 48),
    damaged: integer(buffer, at + 56) === 1,
  }
}

function integer(buffer: Buffer, at: number): number {
  const value = tryReadU53(buffer, at)
  if (value === undefined) throw corrupt('an integer of more than 53 bits')
  return value
}

function expectLength(actual: number, expected: number): void {
  if (actual !== expected) throw corrupt(`a payload of ${actual} bytes instead of ${expected}`)
}

function corrupt(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed log record: ${what}` })
}
