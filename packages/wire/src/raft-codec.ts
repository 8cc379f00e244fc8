import { Buffer } from 'node:buffer'
import { assert, assertNever, type ByteReader, type ByteWriter, CordilleraError, type RangeId } from '@cordillera/base'
import { type AppendRequest, decodeEntry, ENTRY_HEADER_BYTES, type Entry, type Message } from '@cordillera/raft-core'
import { RECORD_BYTES_MAX, RecordKind } from './record.js'

/**
 * The layouts of Raft messages: `u8 kind, rangeId, from, to, term`, then what the kind adds, in the order of its fields;
 * booleans share one byte of flags at the end. An append's entries are their own bytes, as the log has them, one behind
 * the other and never encoded again.
 *
 * Decoded messages are well-formed: ids are not 0, entries are contiguous from `prevIndex + 1`, their terms never fall
 * and are not above the message's. Everything else is `CORRUPT`, before anything is allocated by a length in the input.
 */

const PRE = 1
const TRANSFER = 2
const GRANTED = 2
const ACCEPTED = 1
const QUIESCE = 1
/** Backing memory up to this is not worth a copy: small allocations share a pool of this size anyway. */
const PINNED_BYTES_MIN = 8192

/** Appends one record. Copies the entries. Asserts that it fits in a frame. */
export function writeMessage(out: ByteWriter, rangeId: RangeId, message: Message): void {
  switch (message.kind) {
    case 'append-request':
      begin(out, RecordKind.appendRequest, rangeId, message)
      writeAppend(out, message)
      break
    case 'append-reply':
      begin(out, RecordKind.appendReply, rangeId, message)
      out.varint(message.index).varint(message.hintIndex).varint(message.hintTerm)
      out.u8(message.accepted ? ACCEPTED : 0)
      break
    case 'heartbeat':
      begin(out, RecordKind.heartbeat, rangeId, message)
      out.varint(message.commitIndex).varint(message.readRound)
      out.u8(message.quiesce ? QUIESCE : 0)
      break
    case 'heartbeat-reply':
      begin(out, RecordKind.heartbeatReply, rangeId, message)
      out.varint(message.readRound)
      break
    case 'vote-request':
      begin(out, RecordKind.voteRequest, rangeId, message)
      out.varint(message.lastIndex).varint(message.lastTerm)
      out.varint(message.commitIndex).varint(message.commitTerm)
      out.u8((message.pre ? PRE : 0) | (message.transfer ? TRANSFER : 0))
      break
    case 'vote-reply':
      begin(out, RecordKind.voteReply, rangeId, message)
      out.varint(message.commitIndex).varint(message.commitTerm)
      out.u8((message.pre ? PRE : 0) | (message.granted ? GRANTED : 0))
      break
    case 'timeout-now':
      begin(out, RecordKind.timeoutNow, rangeId, message)
      break
    case 'snapshot-request':
      begin(out, RecordKind.snapshotRequest, rangeId, message)
      break
    default:
      assertNever(message)
  }
}

function begin(out: ByteWriter, kind: number, rangeId: RangeId, message: Message): void {
  out.u8(kind).varint(rangeId).varint(message.from).varint(message.to).varint(message.term)
}

function writeAppend(out: ByteWriter, message: AppendRequest): void {
  const { entries } = message
  let bytes = 0
  for (let i = 0; i < entries.length; i++) bytes += entries[i]!.bytes.length
  assert(bytes <= RECORD_BYTES_MAX, 'the entries of an append fit in a frame')
  out.varint(message.prevIndex).varint(message.prevTerm).varint(message.commitIndex)
  out.varint(entries.length).varint(bytes)
  for (let i = 0; i < entries.length; i++) out.raw(entries[i]!.bytes)
}

/** Reads a Raft record behind its kind and range id; undefined when the kind is none of Raft's. Throws `CORRUPT`. */
export function readMessage(reader: ByteReader, kind: number): Message | undefined {
  const from = readId(reader)
  const to = readId(reader)
  const term = reader.varint()
  switch (kind) {
    case RecordKind.appendRequest:
      return readAppend(reader, from, to, term)
    case RecordKind.appendReply: {
      const index = reader.varint()
      const hintIndex = reader.varint()
      const hintTerm = reader.varint()
      const accepted = readFlags(reader, ACCEPTED) === ACCEPTED
      return { kind: 'append-reply', from, to, term, accepted, index, hintIndex, hintTerm }
    }
    case RecordKind.heartbeat: {
      const commitIndex = reader.varint()
      const readRound = reader.varint()
      const quiesce = readFlags(reader, QUIESCE) === QUIESCE
      return { kind: 'heartbeat', from, to, term, commitIndex, readRound, quiesce }
    }
    case RecordKind.heartbeatReply:
      return { kind: 'heartbeat-reply', from, to, term, readRound: reader.varint() }
    case RecordKind.voteRequest: {
      const lastIndex = reader.varint()
      const lastTerm = reader.varint()
      const commitIndex = reader.varint()
      const commitTerm = reader.varint()
      const flags = readFlags(reader, PRE | TRANSFER)
      const asked = { pre: (flags & PRE) !== 0, transfer: (flags & TRANSFER) !== 0 }
      return { kind: 'vote-request', from, to, term, lastIndex, lastTerm, commitIndex, commitTerm, ...asked }
    }
    case RecordKind.voteReply: {
      const commitIndex = reader.varint()
      const commitTerm = reader.varint()
      const flags = readFlags(reader, PRE | GRANTED)
      const said = { pre: (flags & PRE) !== 0, granted: (flags & GRANTED) !== 0 }
      return { kind: 'vote-reply', from, to, term, commitIndex, commitTerm, ...said }
    }
    case RecordKind.timeoutNow:
      return { kind: 'timeout-now', from, to, term }
    case RecordKind.snapshotRequest:
      return { kind: 'snapshot-request', from, to, term }
    default:
      return undefined
  }
}

function readAppend(reader: ByteReader, from: number, to: number, term: number): AppendRequest {
  const prevIndex = reader.varint()
  const prevTerm = reader.varint()
  const commitIndex = reader.varint()
  const count = reader.varint()
  const bytes = reader.varint()
  if (count * ENTRY_HEADER_BYTES > bytes) throw malformed('more entries than bytes')
  const region = ownRegion(reader.raw(bytes))
  const entries: Entry[] = []
  let lastTerm = prevTerm
  let offset = 0
  for (let i = 0; i < count; i++) {
    const entry = decodeEntry(region, offset)
    if (entry.index !== prevIndex + 1 + i) throw malformed('entries that are not contiguous')
    if (entry.term < lastTerm || entry.term > term) throw malformed('an entry whose term is out of order')
    lastTerm = entry.term
    offset += entry.bytes.length
    entries.push(entry)
  }
  if (offset !== bytes) throw malformed('bytes behind the entries')
  return { kind: 'append-request', from, to, term, prevIndex, prevTerm, commitIndex, entries }
}

/**
 * The region in memory that it does not share with much else: entries stay in a cache, and a small one must not keep a
 * large frame alive. Views are kept when they are at least half of the memory that they pin.
 */
function ownRegion(region: Buffer): Buffer {
  const pinned = region.buffer.byteLength
  if (pinned <= PINNED_BYTES_MIN || region.length * 2 >= pinned) return region
  const own = Buffer.allocUnsafe(region.length)
  region.copy(own)
  return own
}

export function readId(reader: ByteReader): number {
  const id = reader.varint()
  if (id === 0) throw malformed('an id of 0')
  return id
}

/** One byte, of which only the bits of `known` may be set. */
export function readFlags(reader: ByteReader, known: number): number {
  const flags = reader.u8()
  if ((flags & ~known) !== 0) throw malformed('unknown flags')
  return flags
}

export function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed record: ${what}` })
}
