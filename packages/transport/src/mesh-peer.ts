import type { Incarnation, NodeId, Timer } from '@cordillera/base'
import type { NodeIdentity } from '@cordillera/wire'
import type { Handshake } from './handshake.js'
import type { Hello, Refusal } from './hello.js'
import type { MessageSocket } from './message-socket.js'

/**
 * What this node knows of one other, and the decisions about its connections, which both ends take alike.
 *
 * Both sides dial, so two connections may be under way at once. The rules:
 *
 * 1. A dialler with an established connection gives its dial up before it sends its proof; whoever accepts a
 *    connection gives its own dial up.
 * 2. Of two dials whose proofs have crossed, the one of the higher node id stays: its sender refuses the other.
 * 3. An established connection is replaced by one of a newer incarnation, or of a sender that has lost more
 *    connections than it had when the established one was made: to it, that one is gone. Anything else is a duplicate,
 *    or stale.
 *
 * Whether an older start may come back when the newer one is gone is not decided here but by the links (`peer-lives` in
 * `wire`), which tell it so: nobody can be told to stop by a refusal, which anyone may send.
 */
export interface Connection {
  readonly socket: MessageSocket
  readonly incarnation: Incarnation
  /** The peer's count of losses when it was made. */
  readonly peerLosses: number
  readonly sinceMs: number
}

export class MeshPeer {
  readonly nodeId: NodeId
  /** Where to dial; undefined: not known, it has to come to us. */
  address: string | undefined
  connection: Connection | undefined
  /** Connections to it that were, or may have been, established and are gone. */
  losses = 0
  /** Dials since the last connection that was a good one. */
  attempts = 0
  /** The end of a connection was not yet told. */
  owesDown = false
  /** At most one of these at a time: a dial that waits, that connects, that shakes hands. */
  timer: Timer | undefined
  cancelDial: (() => void) | undefined
  handshake: Handshake | undefined

  constructor(nodeId: NodeId) {
    this.nodeId = nodeId
  }

  get isDialling(): boolean {
    return this.timer !== undefined || this.cancelDial !== undefined || this.handshake !== undefined
  }
}

/** Judges what the other side says of itself. `expected` is who was dialled; 0 for whoever connects. */
export function decideHello(own: NodeIdentity, hello: Hello, expected: NodeId): Refusal | undefined {
  if (hello.role === 'guest' || hello.clusterId === '') {
    return { reason: 'not-ready', detail: 'the node does not belong to a cluster yet' }
  }
  if (hello.clusterId !== own.clusterId) {
    return { reason: 'cluster', detail: `cluster ${hello.clusterId} is not cluster ${own.clusterId}` }
  }
  if (hello.nodeId === own.nodeId) {
    return { reason: 'self', detail: `node ${own.nodeId} was met by itself, or its data directory runs twice` }
  }
  const isWrong = (expected !== 0 && hello.nodeId !== expected) || hello.nodeId === 0
  if (isWrong || (hello.expectedNodeId !== 0 && hello.expectedNodeId !== own.nodeId)) {
    return { reason: 'wrong-node', detail: `node ${hello.nodeId} met node ${own.nodeId}, which is not whom it was for` }
  }
  return undefined
}

/** The last word about a connection that is about to be established. */
export function decideAdmission(
  ownNodeId: NodeId,
  peer: MeshPeer,
  hello: Hello,
  side: 'dialler' | 'acceptor',
): Refusal | undefined {
  const { connection, handshake } = peer
  if (connection !== undefined && hello.incarnation < connection.incarnation) {
    return { reason: 'stale-incarnation', detail: `incarnation ${connection.incarnation} is connected` }
  }
  if (connection !== undefined && hello.incarnation === connection.incarnation) {
    const isLostThere = side === 'acceptor' && hello.losses > connection.peerLosses
    if (!isLostThere) return { reason: 'duplicate', detail: 'there is a connection already' }
  }
  if (side === 'acceptor' && handshake?.isProofSent === true && ownNodeId > hello.nodeId) {
    const isSame = handshake.peer?.incarnation === hello.incarnation
    if (isSame) return { reason: 'duplicate', detail: 'the connection that the higher node dialled stays' }
  }
  return undefined
}
