import { CordilleraError, type Incarnation, type NodeId } from '@cordillera/base'
import { type FoundingDocument, isFoundingDocument } from './founding-document.js'
import { isCount, isHex, isObject, isShortText } from './json-shapes.js'

/** What joiners ask, and founders and members answer: JSON, bounded, looked at closely, because anyone may send it. */

export interface JoinQuestion {
  /** Chosen by the joiner, durable with it: the same question again is the same place. */
  readonly token: string
  /** The cluster whose founding document the joiner has durably; undefined when it has none. */
  readonly clusterId: string | undefined
  readonly peerAddress: string
  readonly httpAddress: string
  readonly locality: string
}

export type JoinAnswer =
  /** Ask again. */
  | { readonly kind: 'wait' }
  /** Ask somebody else. */
  | { readonly kind: 'not-founder' }
  | { readonly kind: 'document'; readonly nodeId: NodeId; readonly document: FoundingDocument }
  /** The cluster is founded: take part, as this node, which the document does not name. `member` is who says so. */
  | { readonly kind: 'member'; readonly nodeId: NodeId; readonly document: FoundingDocument; readonly member: NodeAt }
  /** Everybody has the document: take part. `member` is who says so. */
  | { readonly kind: 'begin'; readonly member: NodeAt }

/** Where a member listens, and since which of its starts. */
export interface NodeAt {
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
  readonly peerAddress: string
}

const FORMAT = 1
const QUESTION_BYTES_MAX = 16 << 10
const MEMBERS_MAX = 10_000

export function encodeQuestion(question: JoinQuestion): Uint8Array {
  return encode({ join: FORMAT, ...question })
}

export function decodeQuestion(bytes: Uint8Array): JoinQuestion {
  if (bytes.length > QUESTION_BYTES_MAX) throw malformed()
  const { join, token, clusterId, peerAddress, httpAddress, locality } = decode(bytes)
  if (join !== FORMAT || !isHex(token) || !(clusterId === undefined || isHex(clusterId))) throw malformed()
  if (!isShortText(peerAddress) || !isShortText(httpAddress) || !isShortText(locality)) throw malformed()
  return { token, clusterId, peerAddress, httpAddress, locality }
}

export function encodeAnswer(answer: JoinAnswer): Uint8Array {
  return encode({ join: FORMAT, ...answer })
}

export function decodeAnswer(bytes: Uint8Array): JoinAnswer {
  const { join, kind, nodeId, document, member } = decode(bytes)
  if (join !== FORMAT) throw malformed()
  if (kind === 'wait' || kind === 'not-founder') return { kind }
  if (kind === 'begin') return { kind, member: readMember(member) }
  if ((kind !== 'document' && kind !== 'member') || !isFoundingDocument(document)) throw malformed()
  const node = document.nodes.find((candidate) => candidate.nodeId === nodeId)
  if (kind === 'member') {
    if (node !== undefined || !isCount(nodeId)) throw malformed()
    return { kind, nodeId, document, member: readMember(member) }
  }
  if (node === undefined) throw malformed()
  return { kind, nodeId: node.nodeId, document }
}

/** What a member says of where members are. Throws `BAD_REQUEST`. */
export function readMembers(value: unknown): NodeAt[] {
  if (!Array.isArray(value) || value.length > MEMBERS_MAX) throw malformed()
  return value.map(readMember)
}

function readMember(value: unknown): NodeAt {
  if (!isObject(value)) throw malformed()
  const { nodeId, incarnation, peerAddress } = value
  if (!isCount(nodeId) || !isCount(incarnation) || !isShortText(peerAddress)) throw malformed()
  return { nodeId, incarnation, peerAddress }
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

function decode(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new CordilleraError('BAD_REQUEST', { detail: 'the message is not JSON', cause })
  }
  if (!isObject(value)) throw malformed()
  return value
}

function malformed(): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail: 'the message is no join message of this version' })
}
