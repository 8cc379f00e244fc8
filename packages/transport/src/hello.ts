import { Buffer } from 'node:buffer'
import {
  ByteReader,
  ByteWriter,
  CordilleraError,
  type ErrorCode,
  errorKinds,
  type Incarnation,
  type NodeId,
} from '@cordillera/base'

/**
 * The messages of a handshake, one a WebSocket message, `u8 type` first:
 *
 * - hello: `u32 magic, u32 protocolVersion`, then `u8 role, u8 hasSecret, 16 bytes nonce, text clusterId, nodeId,
 *   incarnation, expectedNodeId, losses`. What follows the version is read only when the version is ours.
 * - proof and welcome: 32 bytes of HMAC, or none when there is no secret.
 * - refusal: `u32 magic, text reason, text detail`. This one and the beginning of a hello never change.
 *
 * A guest then sends `question: bytes` and gets `answer: bytes` or `failure: text code, text detail`; between nodes
 * frames follow. Everything malformed is `CORRUPT`.
 */
export const MessageType = { hello: 1, proof: 2, welcome: 3, refusal: 4, question: 5, answer: 6, failure: 7 } as const

export const MAGIC = 0x4c_44_52_43
export const NONCE_BYTES = 16
/** No message of a handshake is larger. */
export const HANDSHAKE_BYTES_MAX = 1024
const CLUSTER_ID_BYTES_MAX = 64
const DETAIL_CHARS_MAX = 200
const DETAIL_BYTES_MAX = 4 * DETAIL_CHARS_MAX

/** Who connects. `client` is reserved: nobody is one yet. */
const roles = ['node', 'guest', 'client'] as const
export type Role = (typeof roles)[number]

export interface Hello {
  readonly protocolVersion: number
  readonly role: Role
  readonly hasSecret: boolean
  readonly nonce: Uint8Array
  /** Empty, like the ids 0, for a guest and for a node that has no identity yet. */
  readonly clusterId: string
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
  /** Who the sender means to talk to; 0 for anyone. */
  readonly expectedNodeId: NodeId
  /** How many connections to this peer the sender has lost since it started: tells a race from a second try. */
  readonly losses: number
}

export type RefusalReason =
  | 'protocol-version'
  | 'role'
  | 'secret'
  | 'not-ready'
  | 'cluster'
  | 'self'
  | 'wrong-node'
  | 'stale-incarnation'
  | 'duplicate'
  | 'overloaded'
  | 'closing'

export interface Refusal {
  readonly reason: RefusalReason | string
  readonly detail: string
}

export function encodeHello(hello: Hello): Buffer {
  return new ByteWriter(128)
    .u8(MessageType.hello)
    .u32(MAGIC)
    .u32(hello.protocolVersion)
    .u8(roles.indexOf(hello.role))
    .u8(hello.hasSecret ? 1 : 0)
    .raw(hello.nonce)
    .text(hello.clusterId)
    .varint(hello.nodeId)
    .varint(hello.incarnation)
    .varint(hello.expectedNodeId)
    .varint(hello.losses)
    .take()
}

/** A hello of another version has nothing but its version. */
export type DecodedHello = Hello | { readonly protocolVersion: number; readonly role: undefined }

export function decodeHello(bytes: Uint8Array, ownVersion: number): DecodedHello {
  const reader = begin(bytes, MessageType.hello)
  if (reader.u32() !== MAGIC) throw malformed('another magic')
  const protocolVersion = reader.u32()
  if (protocolVersion !== ownVersion) return { protocolVersion, role: undefined }
  const role = roles[reader.u8()]
  const hasSecret = reader.u8()
  if (role === undefined || hasSecret > 1) throw malformed('an unknown role or flag')
  const hello = {
    protocolVersion,
    role,
    hasSecret: hasSecret === 1,
    nonce: Buffer.from(reader.raw(NONCE_BYTES)),
    clusterId: reader.text(CLUSTER_ID_BYTES_MAX),
    nodeId: reader.varint(),
    incarnation: reader.varint(),
    expectedNodeId: reader.varint(),
    losses: reader.varint(),
  }
  reader.end()
  return hello
}

export function encodeProof(type: 'proof' | 'welcome', mac: Uint8Array): Buffer {
  return new ByteWriter(64).u8(MessageType[type]).raw(mac).take()
}

export function decodeProof(bytes: Uint8Array, type: 'proof' | 'welcome'): Uint8Array {
  return begin(bytes, MessageType[type]).raw(bytes.length - 1)
}

export function encodeRefusal({ reason, detail }: Refusal): Buffer {
  const short = detail.slice(0, DETAIL_CHARS_MAX)
  return new ByteWriter(64).u8(MessageType.refusal).u32(MAGIC).text(reason).text(short).take()
}

/** Undefined when the message is no refusal. */
export function tryDecodeRefusal(bytes: Uint8Array): Refusal | undefined {
  if (bytes[0] !== MessageType.refusal) return undefined
  const reader = begin(bytes, MessageType.refusal)
  if (reader.u32() !== MAGIC) throw malformed('another magic')
  return { reason: reader.text(64), detail: reader.text(DETAIL_BYTES_MAX) }
}

export function encodeQuestion(body: Uint8Array): Buffer {
  return new ByteWriter(body.length + 1).u8(MessageType.question).raw(body).take()
}

export function decodeQuestion(bytes: Uint8Array): Uint8Array {
  return begin(bytes, MessageType.question).raw(bytes.length - 1)
}

export function encodeAnswer(body: Uint8Array): Buffer {
  return new ByteWriter(body.length + 1).u8(MessageType.answer).raw(body).take()
}

export function encodeFailure(error: unknown): Buffer {
  const isCoded = error instanceof CordilleraError
  const code = isCoded ? error.code : 'INTERNAL'
  const detail = isCoded ? error.message : errorKinds.INTERNAL.title
  return new ByteWriter(64).u8(MessageType.failure).text(code).text(detail.slice(0, 1024)).take()
}

/** The answer, or throws the error that was sent instead of it. An unknown code becomes `INTERNAL`. */
export function decodeAnswer(bytes: Uint8Array): Uint8Array {
  if (bytes[0] !== MessageType.failure) return begin(bytes, MessageType.answer).raw(bytes.length - 1)
  const reader = begin(bytes, MessageType.failure)
  const code = reader.text(64)
  const detail = reader.text(4096)
  throw new CordilleraError(Object.hasOwn(errorKinds, code) ? (code as ErrorCode) : 'INTERNAL', { detail })
}

function begin(bytes: Uint8Array, type: number): ByteReader {
  const reader = new ByteReader(bytes)
  if (reader.u8() !== type) throw malformed('a message of another type than was due')
  return reader
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed handshake: ${what}` })
}
