import { assert, assertNever, type ByteReader, type ByteWriter, type Key } from '@cordillera/base'
import { PREFIXED_KEY_BYTES_MAX } from '@cordillera/ranges'
import { malformed, readFlags, readId } from './raft-codec.js'
import type {
  IndexRequest,
  OutcomeRequest,
  RangeRequest,
  ReadRequest,
  ScanRequest,
  TimestampsRequest,
  WriteRequest,
} from './range-call.js'
import { RECORD_BYTES_MAX, RecordKind } from './record.js'

/**
 * The layouts of requests to a range: `u8 kind, callId, rangeId`, then
 *
 * - write: `count, bytes block` (the block is opaque here; who proposes it checks it),
 * - read: `epochVersion, at, u8 flags, count, count × key`,
 * - scan: `epochVersion, at, u8 flags, key start, [key end], limit, bytesMax`,
 * - timestamps: `nodeId, replicaId, term, count, oldestSnapshot`,
 * - index: `at`,
 * - outcome: `epochVersion, at, key home, nodeId, incarnation, sequence`.
 *
 * A decoded block is a view of the frame; keys are copies.
 */

const HAS_END = 1
const REVERSE = 2
const VALUES = 4
const BY_FOLLOWER = 8
/** A write block's smallest command. */
const COMMAND_BYTES_MIN = 2
/** The bound of a scan may be the successor of a key. */
const BOUND_BYTES_MAX = PREFIXED_KEY_BYTES_MAX + 1

/** What a request weighs while it waits for its reply. */
export function requestBytes(request: RangeRequest): number {
  switch (request.kind) {
    case 'write':
      return request.block.length
    case 'read': {
      let bytes = 0
      for (let i = 0; i < request.keys.length; i++) bytes += request.keys[i]!.length
      return bytes
    }
    case 'scan':
      return request.start.length + (request.end?.length ?? 0)
    case 'timestamps':
    case 'index':
      return 0
    case 'outcome':
      return request.home.length
    default:
      return assertNever(request)
  }
}

/** Appends one record. Copies. Asserts the limits that the decoder checks. */
export function writeRequest(out: ByteWriter, callId: number, request: RangeRequest): void {
  switch (request.kind) {
    case 'write':
      out.u8(RecordKind.write).varint(callId).varint(request.rangeId).varint(request.count).bytes(request.block)
      break
    case 'read':
      out.u8(RecordKind.read).varint(callId).varint(request.rangeId)
      out
        .varint(request.epochVersion)
        .varint(request.at)
        .u8(request.byFollower ? BY_FOLLOWER : 0)
      out.varint(request.keys.length)
      for (let i = 0; i < request.keys.length; i++) writeKey(out, request.keys[i]!, PREFIXED_KEY_BYTES_MAX)
      break
    case 'scan':
      writeScan(out, callId, request)
      break
    case 'timestamps':
      out.u8(RecordKind.timestamps).varint(callId).varint(request.rangeId)
      out.varint(request.nodeId).varint(request.replicaId).varint(request.term)
      out.varint(request.count).varint(request.oldestSnapshot)
      break
    case 'index':
      out.u8(RecordKind.index).varint(callId).varint(request.rangeId).varint(request.at)
      break
    case 'outcome': {
      const { nodeId, incarnation, sequence } = request.transaction
      out.u8(RecordKind.outcome).varint(callId).varint(request.rangeId)
      out.varint(request.epochVersion).varint(request.at)
      writeKey(out, request.home, PREFIXED_KEY_BYTES_MAX)
      out.varint(nodeId).varint(incarnation).varint(sequence)
      break
    }
    default:
      assertNever(request)
  }
}

function writeScan(out: ByteWriter, callId: number, request: ScanRequest): void {
  const { end } = request
  out.u8(RecordKind.scan).varint(callId).varint(request.rangeId)
  out.varint(request.epochVersion).varint(request.at)
  const flags = (end === null ? 0 : HAS_END) | (request.reverse ? REVERSE : 0) | (request.values ? VALUES : 0)
  out.u8(flags | (request.byFollower ? BY_FOLLOWER : 0))
  writeKey(out, request.start, BOUND_BYTES_MAX)
  if (end !== null) writeKey(out, end, BOUND_BYTES_MAX)
  out.varint(request.limit).varint(request.bytesMax)
}

export function writeKey(out: ByteWriter, key: Key, bytesMax: number): void {
  assert(key.length <= bytesMax, 'a key is within its limit')
  out.key(key)
}

/** Reads a request behind its kind and call id. Throws `CORRUPT`. */
export function readRequest(reader: ByteReader, kind: number): RangeRequest {
  const rangeId = readId(reader)
  if (kind === RecordKind.write) return readWrite(reader, rangeId)
  if (kind === RecordKind.timestamps) return readTimestamps(reader, rangeId)
  if (kind === RecordKind.index) return readIndex(reader, rangeId)
  if (kind === RecordKind.outcome) return readOutcome(reader, rangeId)
  return kind === RecordKind.read ? readRead(reader, rangeId) : readScan(reader, rangeId)
}

function readWrite(reader: ByteReader, rangeId: number): WriteRequest {
  const count = reader.varint()
  const block = reader.bytes(RECORD_BYTES_MAX)
  if (count * COMMAND_BYTES_MIN > block.length) throw malformed('more commands than bytes')
  return { kind: 'write', rangeId, count, block }
}

function readTimestamps(reader: ByteReader, rangeId: number): TimestampsRequest {
  const nodeId = readId(reader)
  const replicaId = reader.varint()
  const term = reader.varint()
  const count = reader.varint()
  return { kind: 'timestamps', rangeId, nodeId, replicaId, term, count, oldestSnapshot: reader.varint() }
}

function readIndex(reader: ByteReader, rangeId: number): IndexRequest {
  return { kind: 'index', rangeId, at: reader.varint() }
}

function readOutcome(reader: ByteReader, rangeId: number): OutcomeRequest {
  const epochVersion = reader.varint()
  const at = reader.varint()
  const home = reader.key(PREFIXED_KEY_BYTES_MAX)
  const transaction = { nodeId: readId(reader), incarnation: reader.varint(), sequence: reader.varint() }
  return { kind: 'outcome', rangeId, epochVersion, at, home, transaction }
}

function readRead(reader: ByteReader, rangeId: number): ReadRequest {
  const epochVersion = reader.varint()
  const at = reader.varint()
  const byFollower = readFlags(reader, BY_FOLLOWER) !== 0
  const count = reader.varint()
  if (count > reader.remaining) throw malformed('more keys than bytes')
  const keys: Key[] = []
  for (let i = 0; i < count; i++) keys.push(reader.key(PREFIXED_KEY_BYTES_MAX))
  return { kind: 'read', rangeId, epochVersion, at, byFollower, keys }
}

function readScan(reader: ByteReader, rangeId: number): ScanRequest {
  const epochVersion = reader.varint()
  const at = reader.varint()
  const flags = readFlags(reader, HAS_END | REVERSE | VALUES | BY_FOLLOWER)
  const start = reader.key(BOUND_BYTES_MAX)
  const end = (flags & HAS_END) === 0 ? null : reader.key(BOUND_BYTES_MAX)
  const limit = reader.varint()
  const bytesMax = reader.varint()
  const reverse = (flags & REVERSE) !== 0
  const values = (flags & VALUES) !== 0
  const byFollower = (flags & BY_FOLLOWER) !== 0
  return { kind: 'scan', rangeId, epochVersion, at, byFollower, start, end, reverse, limit, bytesMax, values }
}
