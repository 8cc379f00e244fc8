import { CordilleraError, type Incarnation, type NodeId } from '@cordillera/base'
import { type NodeIdentity, PROTOCOL_VERSION } from '@cordillera/wire'

/**
 * The handshake's messages: JSON, small, checked before anything else is decoded. The dialler says hello, the other
 * side answers with its own hello (and takes frames from then on) or says why not and closes.
 */
export type Hello =
  | ({ readonly role: 'node' } & NodeIdentity)
  /** Asks one question outside of the mesh. */
  | { readonly role: 'guest' }

export interface Refusal {
  readonly reason: RefusalReason
  readonly detail: string
}

/** `duplicate`: there is a better connection between the two; the others say that none can be. */
export type RefusalReason = 'malformed' | 'version' | 'cluster' | 'identity' | 'stale' | 'duplicate' | 'not-ready'

export const HELLO_BYTES_MAX = 4096
const MAGIC = 'cordillera'

export function encodeHello(hello: Hello): string {
  return JSON.stringify({ magic: MAGIC, version: PROTOCOL_VERSION, ...hello })
}

export function encodeRefusal(refusal: Refusal): string {
  return JSON.stringify({ magic: MAGIC, version: PROTOCOL_VERSION, refused: refusal.reason, detail: refusal.detail })
}

/** What the other side said; a refusal of our own when it cannot be understood. */
export function decodeHello(text: string): Hello | { readonly role: 'refused'; readonly refusal: Refusal } {
  const said = tryParse(text)
  if (said === undefined || said.magic !== MAGIC) return refused('malformed', 'it does not speak this protocol')
  if (said.version !== PROTOCOL_VERSION) {
    return refused('version', `it speaks version ${String(said.version)}, this node ${PROTOCOL_VERSION}`)
  }
  if (typeof said.refused === 'string') return refused(said.refused as RefusalReason, String(said.detail))
  if (said.role === 'guest') return { role: 'guest' }
  const { clusterId, nodeId, incarnation } = said
  if (said.role !== 'node' || typeof clusterId !== 'string' || !isCount(nodeId) || !isCount(incarnation)) {
    return refused('malformed', 'its hello is incomplete')
  }
  return { role: 'node', clusterId, nodeId, incarnation }
}

/** Why `self` does not want a connection with `other`; undefined when it does. */
export function decideRefusal(
  self: NodeIdentity | undefined,
  other: NodeIdentity,
  newestIncarnation: Incarnation,
  expected: NodeId | undefined,
): Refusal | undefined {
  if (self === undefined) return { reason: 'not-ready', detail: 'this node is not a member yet' }
  if (other.clusterId !== self.clusterId) {
    return { reason: 'cluster', detail: `this node belongs to cluster ${self.clusterId}, not ${other.clusterId}` }
  }
  if (other.nodeId === self.nodeId) return { reason: 'identity', detail: `this is node ${self.nodeId} as well` }
  if (expected !== undefined && other.nodeId !== expected) {
    return { reason: 'identity', detail: `node ${expected} was expected, not ${other.nodeId}` }
  }
  if (other.incarnation < newestIncarnation) {
    return { reason: 'stale', detail: `incarnation ${newestIncarnation} of node ${other.nodeId} was already here` }
  }
  return undefined
}

export function handshakeRefused(refusal: Refusal): CordilleraError {
  return new CordilleraError('HANDSHAKE_REFUSED', {
    detail: `the connection was refused (${refusal.reason}): ${refusal.detail}`,
    details: { reason: refusal.reason },
  })
}

function refused(reason: RefusalReason, detail: string): { role: 'refused'; refusal: Refusal } {
  return { role: 'refused', refusal: { reason, detail: detail.slice(0, 500) } }
}

function tryParse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1
}
