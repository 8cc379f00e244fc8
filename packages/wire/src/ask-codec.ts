import { assert, type ByteReader, type ByteWriter, CordilleraError, type ErrorCode, errorKinds } from '@cordillera/base'
import { BODY_BYTES_MAX } from './open-body.js'
import { malformed } from './raft-codec.js'
import { RecordKind } from './record.js'

/**
 * The layouts of calls whose shape is open: ask `u8 kind, callId, text method, bytes body`; answer `u8 kind, callId,
 * bytes body`; failed `u8 kind, callId, text code, text detail`. Bodies are those of `open-body`; received ones are
 * views of the frame and not yet checked, so that a call which nobody waits for costs nothing.
 */
export const METHOD_BYTES_MAX = 128
const DETAIL_BYTES_MAX = 4096
const DETAIL_CHARS_MAX = 1024

export function writeAsk(out: ByteWriter, callId: number, method: string, body: Uint8Array): void {
  assert(method.length > 0 && method.length <= METHOD_BYTES_MAX / 4, 'a method has a short name')
  out.u8(RecordKind.ask).varint(callId).text(method).bytes(body)
}

export function writeAnswer(out: ByteWriter, callId: number, body: Uint8Array): void {
  out.u8(RecordKind.answer).varint(callId).bytes(body)
}

export function writeAskFailed(out: ByteWriter, callId: number, error: CordilleraError): void {
  out.u8(RecordKind.askFailed).varint(callId).text(error.code).text(error.message.slice(0, DETAIL_CHARS_MAX))
}

export function readAsk(reader: ByteReader): { readonly method: string; readonly body: Uint8Array } {
  const method = reader.text(METHOD_BYTES_MAX)
  if (method.length === 0) throw malformed('a call without a method')
  return { method, body: reader.bytes(BODY_BYTES_MAX) }
}

export function readAnswer(reader: ByteReader): Uint8Array {
  return reader.bytes(BODY_BYTES_MAX)
}

/** An unknown code becomes `INTERNAL`. */
export function readAskFailed(reader: ByteReader): CordilleraError {
  const code = reader.text(METHOD_BYTES_MAX)
  const detail = reader.text(DETAIL_BYTES_MAX)
  return new CordilleraError(isErrorCode(code) ? code : 'INTERNAL', { detail })
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorKinds, code)
}
