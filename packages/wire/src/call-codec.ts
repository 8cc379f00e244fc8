import { type ByteReader, type ByteWriter, CordilleraError, type Key } from '@cordillera/base'
import { PREFIXED_KEY_BYTES_MAX, readDescriptor, VALUE_BYTES_MAX, writeDescriptor } from '@cordillera/ranges'
import type { RangeReply, RangeRequest, RefusedReply, ScannedEntry, VersionedValue } from './range-call.js'

/**
 * The layouts of range requests and their replies. Commands travel as opaque blocks; decoded values, keys and blocks
 * are views of the frame (keys are copies). Decoding throws `CORRUPT`, and allocates nothing by a number that it has
 * not checked.
 */
export const CallKind = {
  write: 32,
  read: 33,
  scan: 34,
  written: 40,
  values: 41,
  scanned: 42,
  refused: 43,
  unknown: 44,
} as const

export function isRequestKind(kind: number): boolean {
  return kind >= CallKind.write && kind <= CallKind.scan
}

export function isReplyKind(kind: number): boolean {
  return kind >= CallKind.written && kind <= CallKind.unknown
}

const REFUSALS = [
  'not-leader',
  'no-range',
  'epoch-mismatch',
  'overloaded',
  'lost',
  'closing',
] as const satisfies readonly RefusedReply['reason'][]

export function encodeRequest(writer: ByteWriter, callId: number, request: RangeRequest): void {
  switch (request.kind) {
    case 'write':
      writer.u8(CallKind.write).varint(callId).varint(request.rangeId).varint(request.count).bytes(request.block)
      break
    case 'read':
      writer.u8(CallKind.read).varint(callId).varint(request.rangeId).varint(request.epochVersion)
      writer.varint(request.keys.length)
      for (const key of request.keys) writer.key(key)
      break
    case 'scan':
      writer.u8(CallKind.scan).varint(callId).varint(request.rangeId).varint(request.epochVersion)
      writer.key(request.start).u8(request.end === null ? 0 : 1)
      if (request.end !== null) writer.key(request.end)
      writer
        .u8((request.reverse ? 1 : 0) | (request.values ? 2 : 0))
        .varint(request.limit)
        .varint(request.bytesMax)
      break
  }
}

/** Reads what follows kind and call id. */
export function decodeRequest(reader: ByteReader, kind: number): RangeRequest {
  const rangeId = reader.varint()
  switch (kind) {
    case CallKind.write:
      return { kind: 'write', rangeId, count: reader.varint(), block: reader.bytes() }
    case CallKind.read: {
      const epochVersion = reader.varint()
      const count = readCount(reader, 1)
      const keys: Key[] = []
      for (let i = 0; i < count; i++) keys.push(reader.key(PREFIXED_KEY_BYTES_MAX))
      return { kind: 'read', rangeId, epochVersion, keys }
    }
    case CallKind.scan: {
      const epochVersion = reader.varint()
      const start = reader.key(PREFIXED_KEY_BYTES_MAX)
      const end = reader.u8() === 0 ? null : reader.key(PREFIXED_KEY_BYTES_MAX)
      const flags = reader.u8()
      const [limit, bytesMax] = [reader.varint(), reader.varint()]
      const [reverse, values] = [(flags & 1) !== 0, (flags & 2) !== 0]
      return { kind: 'scan', rangeId, epochVersion, start, end, reverse, values, limit, bytesMax }
    }
    default:
      throw corrupt(`request kind ${kind} is unknown`)
  }
}

export function encodeReply(writer: ByteWriter, callId: number, reply: RangeReply): void {
  switch (reply.kind) {
    case 'written':
      writer.u8(CallKind.written).varint(callId).varint(reply.versions.length)
      for (const version of reply.versions) writer.varint(version)
      break
    case 'values':
      writer.u8(CallKind.values).varint(callId).varint(reply.values.length)
      for (const value of reply.values) {
        writer.varint(value === undefined ? 0 : value.version)
        if (value !== undefined) writer.bytes(value.value)
      }
      break
    case 'scanned':
      writer
        .u8(CallKind.scanned)
        .varint(callId)
        .u8(reply.more ? 1 : 0)
        .varint(reply.entries.length)
      for (const { key, version, value } of reply.entries) writer.key(key).varint(version).bytes(value)
      break
    case 'refused':
      writer.u8(CallKind.refused).varint(callId).u8(REFUSALS.indexOf(reply.reason)).varint(reply.leader)
      writer.varint(reply.descriptors.length)
      for (const descriptor of reply.descriptors) writeDescriptor(writer, descriptor)
      break
    case 'unknown':
      writer.u8(CallKind.unknown).varint(callId)
      break
  }
}

/** Reads what follows kind and call id. A version of 0 is an absent value. */
export function decodeReply(reader: ByteReader, kind: number): RangeReply {
  switch (kind) {
    case CallKind.written: {
      const count = readCount(reader, 1)
      const versions: number[] = []
      for (let i = 0; i < count; i++) versions.push(reader.varint())
      return { kind: 'written', versions }
    }
    case CallKind.values:
      return { kind: 'values', values: decodeValues(reader) }
    case CallKind.scanned: {
      const more = reader.u8() !== 0
      const count = readCount(reader, 3)
      const entries: ScannedEntry[] = []
      for (let i = 0; i < count; i++) {
        const key = reader.key(PREFIXED_KEY_BYTES_MAX)
        entries.push({ key, version: reader.varint(), value: reader.bytes(VALUE_BYTES_MAX) })
      }
      return { kind: 'scanned', entries, more }
    }
    case CallKind.refused: {
      const reason = REFUSALS[reader.u8()]
      if (reason === undefined) throw corrupt('a refusal without a known reason')
      const leader = reader.varint()
      const count = readCount(reader, 8)
      const descriptors = []
      for (let i = 0; i < count; i++) descriptors.push(readDescriptor(reader))
      return { kind: 'refused', reason, leader, descriptors }
    }
    case CallKind.unknown:
      return { kind: 'unknown' }
    default:
      throw corrupt(`reply kind ${kind} is unknown`)
  }
}

function decodeValues(reader: ByteReader): (VersionedValue | undefined)[] {
  const count = readCount(reader, 1)
  const values: (VersionedValue | undefined)[] = []
  for (let i = 0; i < count; i++) {
    const version = reader.varint()
    values.push(version === 0 ? undefined : { version, value: reader.bytes(VALUE_BYTES_MAX) })
  }
  return values
}

/** A count of things of at least `bytesMin` each, all of which are still to be read. */
function readCount(reader: ByteReader, bytesMin: number): number {
  const count = reader.varint()
  if (count * bytesMin > reader.remaining) throw corrupt('more things are announced than bytes are left')
  return count
}

function corrupt(detail: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed message: ${detail}` })
}
