import { assert, assertNever, type ByteReader, type ByteWriter, type NodeId } from '@cordillera/base'
import {
  type Descriptor,
  PREFIXED_KEY_BYTES_MAX,
  readDescriptor,
  VALUE_BYTES_MAX,
  writeDescriptor,
} from '@cordillera/ranges'
import { malformed, readFlags } from './raft-codec.js'
import type {
  RangeReply,
  RangeRequest,
  RefusedReply,
  ScannedEntry,
  ScannedReply,
  VersionedValue,
} from './range-call.js'
import { writeKey } from './range-request-codec.js'
import { RecordKind } from './record.js'

/**
 * The layouts of a range's replies: `u8 kind, callId, u8 last, u32 bodyLength`, then the body:
 *
 * - written: `u8 1, count, first` when every outcome is one above that before it, as versions of one entry are, else
 *   `u8 0, count, count × (u8 sign, magnitude)`,
 * - values: `count, count × (version, [bytes value])`; version 0 is "absent" and has no value,
 * - scanned: `u8 more, count, count × (key, version, bytes value)`,
 * - issued: `first, safePoint`; indexed: `index`; decided: `state, version`,
 * - refused: `u8 reason, leader, count, count × descriptor`; unknown: nothing.
 *
 * Values and scans that are large come in several records of at most about {@link PART_BYTES} and one value, of which
 * only the last is marked so; a reply may thus exceed a frame. A reply is decoded against the request that it answers:
 * another kind, or a number of results that cannot be an answer, is `CORRUPT`. Values are views of their frames.
 */

/** A record of a reply ends once it has grown past this. */
export const PART_BYTES = 256 * 1024

const LAST = 1
const EACH = 0
const CONSECUTIVE = 1
const NEGATIVE = 1
const reasons: readonly RefusedReply['reason'][] = [
  'not-leader',
  'no-range',
  'epoch-mismatch',
  'overloaded',
  'lost',
  'closing',
  'snapshot-expired',
  'not-ready',
  'merging',
  'disk-full',
]
const STATES = ['absent', 'pending', 'committed', 'aborted'] as const
/** Descriptors are at least this long. */
const DESCRIPTOR_BYTES_MIN = 7

/** About how many bytes the reply takes; exact enough for bounds. */
export function replyBytes(reply: RangeReply): number {
  let bytes = 32
  if (reply.kind === 'values') for (const value of reply.values) bytes += 10 + (value?.value.length ?? 0)
  if (reply.kind === 'scanned') for (const { key, value } of reply.entries) bytes += 16 + key.length + value.length
  return bytes
}

/** Where records go: `out` is the frame under construction and may be another one after `endRecord`. */
export interface RecordTarget {
  readonly out: ByteWriter
  /** Called behind every record: a frame that is large enough leaves. */
  endRecord(): void
}

/** Appends the reply, in one record or several. Copies. */
export function writeReply(target: RecordTarget, callId: number, reply: RangeReply): void {
  switch (reply.kind) {
    case 'written':
      writeWritten(target, callId, reply.outcomes)
      break
    case 'values':
      writeValues(target, callId, reply.values)
      break
    case 'scanned':
      writeScanned(target, callId, reply)
      break
    case 'timestamps':
      writeNumbers(target, callId, RecordKind.issued, reply.first, reply.safePoint)
      break
    case 'indexed':
      writeNumbers(target, callId, RecordKind.indexed, reply.index)
      break
    case 'decided':
      writeNumbers(target, callId, RecordKind.decided, STATES.indexOf(reply.state), reply.version)
      break
    case 'refused':
      writeRefused(target, callId, reply)
      break
    case 'unknown':
      endRecord(target, target.out, beginRecord(target.out, RecordKind.unknown, callId, true))
      break
    default:
      assertNever(reply)
  }
}

/** Returns where the body begins. */
function beginRecord(out: ByteWriter, kind: number, callId: number, last: boolean): number {
  out
    .u8(kind)
    .varint(callId)
    .u8(last ? LAST : 0)
    .u32(0)
  return out.length
}

function endRecord(target: RecordTarget, out: ByteWriter, bodyAt: number): void {
  out.patchU32(bodyAt - 4, out.length - bodyAt)
  target.endRecord()
}

function writeWritten(target: RecordTarget, callId: number, outcomes: readonly number[]): void {
  const { out } = target
  const bodyAt = beginRecord(out, RecordKind.written, callId, true)
  const first = outcomes[0] ?? 1
  let consecutive = first > 0
  for (let i = 1; i < outcomes.length && consecutive; i++) consecutive = outcomes[i] === first + i
  out.u8(consecutive ? CONSECUTIVE : EACH).varint(outcomes.length)
  if (consecutive) out.varint(first)
  else for (let i = 0; i < outcomes.length; i++) out.u8(outcomes[i]! < 0 ? NEGATIVE : 0).varint(Math.abs(outcomes[i]!))
  endRecord(target, out, bodyAt)
}

function writeNumbers(target: RecordTarget, callId: number, kind: number, ...numbers: readonly number[]): void {
  const { out } = target
  const bodyAt = beginRecord(out, kind, callId, true)
  for (const number of numbers) out.varint(number)
  endRecord(target, out, bodyAt)
}

function writeRefused(target: RecordTarget, callId: number, reply: RefusedReply): void {
  const { out } = target
  const bodyAt = beginRecord(out, RecordKind.refused, callId, true)
  out.u8(reasons.indexOf(reply.reason)).varint(reply.leader).varint(reply.descriptors.length)
  for (const descriptor of reply.descriptors) writeDescriptor(out, descriptor)
  endRecord(target, out, bodyAt)
}

function writeValues(target: RecordTarget, callId: number, values: readonly (VersionedValue | undefined)[]): void {
  let from = 0
  do {
    let to = from
    for (let bytes = 0; to < values.length && bytes < PART_BYTES; to++) bytes += 16 + (values[to]?.value.length ?? 0)
    const { out } = target
    const bodyAt = beginRecord(out, RecordKind.values, callId, to === values.length)
    out.varint(to - from)
    for (let i = from; i < to; i++) writeValue(out, values[i])
    endRecord(target, out, bodyAt)
    from = to
  } while (from < values.length)
}

function writeScanned(target: RecordTarget, callId: number, { entries, more }: ScannedReply): void {
  let from = 0
  do {
    let to = from
    for (let bytes = 0; to < entries.length && bytes < PART_BYTES; to++) {
      bytes += 16 + entries[to]!.key.length + entries[to]!.value.length
    }
    const { out } = target
    const bodyAt = beginRecord(out, RecordKind.scanned, callId, to === entries.length)
    out.u8(more ? 1 : 0).varint(to - from)
    for (let i = from; i < to; i++) {
      const entry = entries[i]!
      assert(entry.value.length <= VALUE_BYTES_MAX, 'a value is within its limit')
      writeKey(out, entry.key, PREFIXED_KEY_BYTES_MAX)
      out.varint(entry.version).bytes(entry.value)
    }
    endRecord(target, out, bodyAt)
    from = to
  } while (from < entries.length)
}

function writeValue(out: ByteWriter, value: VersionedValue | undefined): void {
  if (value === undefined) {
    out.varint(0)
    return
  }
  assert(value.version > 0 && value.value.length <= VALUE_BYTES_MAX, 'a value has a version and is within its limit')
  out.varint(value.version).bytes(value.value)
}

/** What a reply must fit, and what of it has arrived: one a call that waits. */
export interface ReplyShape {
  readonly kind: RangeRequest['kind']
  /** Results wanted: commands; of a read or scan, the most values or entries that may come. */
  readonly count: number
  values: (VersionedValue | undefined)[] | undefined
  entries: ScannedEntry[] | undefined
}

export function replyShape(request: RangeRequest): ReplyShape {
  return { kind: request.kind, count: resultsOf(request), values: undefined, entries: undefined }
}

function resultsOf(request: RangeRequest): number {
  if (request.kind === 'read') return request.keys.length
  if (request.kind === 'index' || request.kind === 'outcome') return 1
  return request.kind === 'scan' ? request.limit : request.count
}

/** What precedes a reply's body. */
export interface ReplyHead {
  readonly callId: number
  readonly last: boolean
  readonly bodyLength: number
}

/** Reads what is between the kind and the body. Throws `CORRUPT`. */
export function readReplyHead(reader: ByteReader): ReplyHead {
  const callId = reader.varint()
  const last = readFlags(reader, LAST) === LAST
  const bodyLength = reader.u32()
  if (bodyLength > reader.remaining) throw malformed('a reply that is cut off')
  return { callId, last, bodyLength }
}

/** Reads a body of exactly its length; undefined when more records of the same reply follow. Throws `CORRUPT`. */
export function readReply(
  reader: ByteReader,
  kind: number,
  head: ReplyHead,
  shape: ReplyShape,
): RangeReply | undefined {
  const end = reader.offset + head.bodyLength
  const reply = readBody(reader, kind, head.last, shape)
  if (reader.offset !== end) throw malformed('a reply of another length')
  return reply
}

function readBody(reader: ByteReader, kind: number, last: boolean, shape: ReplyShape): RangeReply | undefined {
  switch (kind) {
    case RecordKind.written:
      return { kind: 'written', outcomes: readOutcomes(reader, shape) }
    case RecordKind.values:
      return readValues(reader, last, shape)
    case RecordKind.scanned:
      return readScanned(reader, last, shape)
    case RecordKind.issued:
      if (shape.kind !== 'timestamps') throw malformed('an answer to another request')
      return { kind: 'timestamps', first: reader.varint(), safePoint: reader.varint() }
    case RecordKind.indexed:
      if (shape.kind !== 'index') throw malformed('an answer to another request')
      return { kind: 'indexed', index: reader.varint() }
    case RecordKind.decided: {
      const state = STATES[reader.varint()]
      if (shape.kind !== 'outcome' || state === undefined) throw malformed('an answer to another request')
      return { kind: 'decided', state, version: reader.varint() }
    }
    case RecordKind.refused:
      return readRefused(reader)
    case RecordKind.unknown:
      return { kind: 'unknown' }
    default:
      throw malformed('a reply of an unknown kind')
  }
}

function readOutcomes(reader: ByteReader, shape: ReplyShape): number[] {
  const mode = reader.u8()
  const count = reader.varint()
  if (shape.kind !== 'write' || count !== shape.count) throw malformed('an answer to another request')
  const outcomes: number[] = []
  if (mode === CONSECUTIVE) {
    const first = reader.varint()
    if (first < 1 || first > Number.MAX_SAFE_INTEGER - count) throw malformed('versions that are none')
    for (let i = 0; i < count; i++) outcomes.push(first + i)
  } else if (mode === EACH) {
    for (let i = 0; i < count; i++) {
      const isNegative = readFlags(reader, NEGATIVE) === NEGATIVE
      const magnitude = reader.varint()
      outcomes.push(isNegative && magnitude !== 0 ? -magnitude : magnitude)
    }
  } else throw malformed('outcomes in an unknown mode')
  return outcomes
}

function readValues(reader: ByteReader, last: boolean, shape: ReplyShape): RangeReply | undefined {
  shape.values ??= []
  const { values } = shape
  const count = reader.varint()
  if (shape.kind !== 'read' || count > shape.count - values.length) throw malformed('an answer to another request')
  for (let i = 0; i < count; i++) {
    const version = reader.varint()
    values.push(version === 0 ? undefined : { version, value: reader.bytes(VALUE_BYTES_MAX) })
  }
  if (!last) return undefined
  if (values.length === 0 && shape.count > 0) throw malformed('an answer without a value')
  return { kind: 'values', values }
}

function readScanned(reader: ByteReader, last: boolean, shape: ReplyShape): RangeReply | undefined {
  shape.entries ??= []
  const { entries } = shape
  const more = readFlags(reader, 1) === 1
  const count = reader.varint()
  if (shape.kind !== 'scan' || count > shape.count - entries.length) throw malformed('an answer to another request')
  for (let i = 0; i < count; i++) {
    const key = reader.key(PREFIXED_KEY_BYTES_MAX)
    const version = reader.varint()
    entries.push({ key, version, value: reader.bytes(VALUE_BYTES_MAX) })
  }
  return last ? { kind: 'scanned', entries, more } : undefined
}

function readRefused(reader: ByteReader): RefusedReply {
  const reason = reasons[reader.u8()]
  if (reason === undefined) throw malformed('a refusal for an unknown reason')
  const leader: NodeId = reader.varint()
  const count = reader.varint()
  if (count * DESCRIPTOR_BYTES_MIN > reader.remaining) throw malformed('more descriptors than bytes')
  const descriptors: Descriptor[] = []
  for (let i = 0; i < count; i++) descriptors.push(readDescriptor(reader))
  return { kind: 'refused', reason, leader, descriptors }
}
