import type { Buffer } from 'node:buffer'
import { type Clock, type Logger, NONE, type NodeId, type Random } from '@cordillera/base'
import type { NodeIdentity, TransportHandlers } from '@cordillera/wire'
import { parseAddress } from './address.js'
import { dial } from './dial.js'
import { checkFrame, sealFrame } from './frame-checksum.js'
import { Handshake, type HandshakeFailure, type OwnHello } from './handshake.js'
import type { Hello, Refusal } from './hello.js'
import { type Connection, decideAdmission, decideHello, MeshPeer } from './mesh-peer.js'
import type { MessageSocket } from './message-socket.js'
import type { TransportLimits } from './options.js'
import type { QuietLog } from './quiet-log.js'

export interface MeshParts {
  readonly identity: NodeIdentity
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly log: QuietLog
  readonly limits: TransportLimits
  readonly secret: string | undefined
  readonly handlers: TransportHandlers
}

/** A connection that lived for so long was a good one: after its loss dials begin at once again. */
const STABLE_MS = 1_000

/**
 * The connections between this node and the others: at most one a peer, whoever dialled it.
 *
 * Both sides dial. Which of two connections stays follows from what both sides know (see `mesh-peer`), so that they
 * agree without talking. `onDown` of a connection always precedes `onUp` of the next.
 */
export class Mesh {
  readonly #parts: MeshParts
  readonly #peers = new Map<NodeId, MeshPeer>()
  #isClosed = false
  #onAllGone: (() => void) | undefined

  constructor(parts: MeshParts) {
    this.#parts = parts
  }

  setPeers(addresses: ReadonlyMap<NodeId, string>): void {
    const { identity, log } = this.#parts
    for (const peer of this.#peers.values()) if (!addresses.has(peer.nodeId)) this.#stopDialling(peer, undefined)
    for (const [nodeId, address] of addresses) {
      if (nodeId === identity.nodeId) continue
      const peer = this.#peer(nodeId)
      if (peer.address === address) continue
      try {
        parseAddress(address)
      } catch {
        log.warn('peer-address-invalid', address, { node: nodeId, address })
        continue
      }
      this.#stopDialling(peer, address)
      peer.attempts = 0
      this.#dialLater(peer)
    }
  }

  send(to: NodeId, frame: Uint8Array): boolean {
    const connection = this.#peers.get(to)?.connection
    if (connection === undefined || !connection.socket.isOpen) return false
    const { queuedBytes } = connection.socket
    if (queuedBytes > 0 && queuedBytes + frame.length > this.#parts.limits.queueBytesMax) return false
    sealFrame(frame)
    connection.socket.send(frame)
    return true
  }

  disconnect(nodeId: NodeId): void {
    const peer = this.#peers.get(nodeId)
    if (peer?.connection === undefined) return
    this.#parts.logger.info('peer-disconnected', { node: nodeId })
    this.#endConnection(peer)
    peer.attempts = Math.max(1, peer.attempts)
    peer.owesDown = true
    this.#parts.clock.defer(() => this.#sayDown(peer))
    this.#dialLater(peer)
  }

  /** Queued frames leave, for `closeMs` at most. Resolves once every connection is gone and was told to be. */
  async close(): Promise<void> {
    const { clock, limits } = this.#parts
    this.#isClosed = true
    const connections: Connection[] = []
    for (const peer of this.#peers.values()) {
      this.#stopDialling(peer, undefined)
      if (peer.connection !== undefined) connections.push(peer.connection)
    }
    if (connections.length === 0) return
    const gone = new Promise<void>((resolve) => {
      this.#onAllGone = resolve
    })
    for (const { socket } of connections) socket.close()
    const timer = clock.after(limits.closeMs, () => {
      for (const { socket } of connections) socket.terminate()
    })
    await gone
    timer.cancel()
  }

  // --- what handshakes ask ---

  ownHello(peerId: NodeId): OwnHello {
    const { clusterId, nodeId, incarnation } = this.#parts.identity
    const losses = this.#peers.get(peerId)?.losses ?? 0
    return { role: 'node', clusterId, nodeId, incarnation, expectedNodeId: peerId, losses }
  }

  decideHello(hello: Hello, expected: NodeId): Refusal | undefined {
    return decideHello(this.#parts.identity, hello, expected)
  }

  decideAdmission(hello: Hello, side: 'dialler' | 'acceptor'): Refusal | undefined {
    if (this.#isClosed) return { reason: 'closing', detail: 'the node is closing' }
    return decideAdmission(this.#parts.identity.nodeId, this.#peer(hello.nodeId), hello, side)
  }

  /** Both sides have agreed on this connection: it replaces whatever there was. */
  onEstablished(socket: MessageSocket, hello: Hello, side: 'dialler' | 'acceptor'): void {
    const { clock, logger, handlers } = this.#parts
    const peer = this.#peer(hello.nodeId)
    this.#stopDialling(peer, peer.address)
    if (peer.connection !== undefined) {
      this.#endConnection(peer)
      peer.owesDown = true
    }
    this.#sayDown(peer)
    const { nodeId, incarnation } = hello
    const connection: Connection = { socket, incarnation, peerLosses: hello.losses, sinceMs: clock.now() }
    peer.connection = connection
    socket.allow(Number.POSITIVE_INFINITY)
    socket.listen({
      onMessage: (frame) => this.#onFrame(peer, connection, frame),
      onClose: () => this.#onClosed(peer, connection),
    })
    logger.info('peer-connected', { node: nodeId, incarnation, remote: socket.remote, side })
    handlers.onUp(nodeId, incarnation)
  }

  #onFrame(peer: MeshPeer, connection: Connection, frame: Buffer): void {
    if (peer.connection !== connection) return
    try {
      checkFrame(frame)
    } catch (error) {
      this.#parts.log.warn('peer-frame-corrupt', `${peer.nodeId}`, { node: peer.nodeId, error: String(error) })
      connection.socket.terminate()
      return
    }
    this.#parts.handlers.onFrame(peer.nodeId, frame)
  }

  #onClosed(peer: MeshPeer, connection: Connection): void {
    if (peer.connection !== connection) return
    const livedMs = this.#parts.clock.now() - connection.sinceMs
    this.#parts.logger.info('peer-connection-lost', { node: peer.nodeId, livedMs: Math.round(livedMs) })
    this.#endConnection(peer)
    if (livedMs >= STABLE_MS) peer.attempts = 0
    peer.owesDown = true
    this.#sayDown(peer)
    this.#dialLater(peer)
  }

  #endConnection(peer: MeshPeer): void {
    const socket = peer.connection?.socket
    peer.connection = undefined
    peer.losses++
    socket?.listen(undefined)
    socket?.terminate()
  }

  #sayDown(peer: MeshPeer): void {
    if (!peer.owesDown) return
    peer.owesDown = false
    this.#parts.handlers.onDown(peer.nodeId)
    if (this.#onAllGone !== undefined && this.#isAllGone()) this.#onAllGone()
  }

  #isAllGone(): boolean {
    for (const { connection, owesDown } of this.#peers.values()) if (connection !== undefined || owesDown) return false
    return true
  }

  // --- dialling ---

  #dialLater(peer: MeshPeer): void {
    if (this.#isClosed || peer.address === undefined || peer.connection !== undefined || peer.isDialling) return
    const delayMs = this.#backoffMs(peer.attempts++)
    peer.timer = this.#parts.clock.after(delayMs, () => {
      peer.timer = undefined
      this.#dial(peer, peer.address!)
    })
  }

  /** 0, then doubling, of which the upper half is random. */
  #backoffMs(attempts: number): number {
    const { random, limits } = this.#parts
    if (attempts === 0) return 0
    const fullMs = Math.min(limits.backoffMaxMs, limits.backoffMinMs * 2 ** Math.min(attempts - 1, 16))
    return fullMs / 2 + random.below(Math.max(1, Math.ceil(fullMs / 2)))
  }

  #dial(peer: MeshPeer, address: string): void {
    const { clock, limits, handlers, logger } = this.#parts
    peer.cancelDial = dial(address, clock, limits.handshakeMs, {
      onOpen: (socket) => {
        peer.cancelDial = undefined
        peer.handshake = this.#handshake(peer, socket)
      },
      onFailed: (error) => {
        peer.cancelDial = undefined
        logger.debug('dial-failed', { node: peer.nodeId, address, error: error.message })
        this.#dialLater(peer)
        if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') handlers.onRefused(peer.nodeId)
      },
    })
  }

  #handshake(peer: MeshPeer, socket: MessageSocket): Handshake {
    const { clock, secret, limits } = this.#parts
    return new Handshake('dialler', socket, {
      clock,
      secret,
      handshakeMs: limits.handshakeMs,
      ownHello: () => this.ownHello(peer.nodeId),
      decideHello: (hello) => this.decideHello(hello, peer.nodeId),
      decideAdmission: (hello) => this.decideAdmission(hello, 'dialler'),
      onEstablished: (hello) => this.onEstablished(socket, hello, 'dialler'),
      onFailed: (failure) => {
        peer.handshake = undefined
        this.#onDialFailed(peer, failure)
      },
    })
  }

  #onDialFailed(peer: MeshPeer, failure: HandshakeFailure): void {
    if (failure.kind === 'lost' || failure.kind === 'timeout') {
      // The other side may have welcomed us: what it has of this connection counts as lost.
      if (failure.proofSent) peer.losses++
    }
    logFailure(this.#parts.log, failure, { node: peer.nodeId, address: peer.address })
    this.#dialLater(peer)
  }

  /** Ends what is under way and fixes where the next dial goes; undefined: nowhere. */
  #stopDialling(peer: MeshPeer, address: string | undefined): void {
    peer.address = address
    peer.timer?.cancel()
    peer.timer = undefined
    peer.cancelDial?.()
    peer.cancelDial = undefined
    peer.handshake?.cancel()
    peer.handshake = undefined
  }

  #peer(nodeId: NodeId): MeshPeer {
    let peer = this.#peers.get(nodeId)
    if (peer === undefined) {
      peer = new MeshPeer(nodeId)
      this.#peers.set(nodeId, peer)
    }
    return peer
  }
}

/** What two nodes settle between themselves, or mend by trying again, is not worth a warning. */
const EXPECTED_REASONS: readonly string[] = ['duplicate', 'not-ready', 'closing']

/** One event for every handshake that failed for a reason; both sides log it. */
export function logFailure(log: QuietLog, failure: HandshakeFailure, who: Readonly<Record<string, unknown>>): void {
  const key = JSON.stringify(who)
  if (failure.kind === 'garbage') {
    log.warn('handshake-garbage', key, { ...who, detail: failure.detail })
  } else if (failure.kind === 'refused-by-peer' || failure.kind === 'refused-by-us') {
    const { kind, refusal, peer } = failure
    if (EXPECTED_REASONS.includes(refusal.reason)) {
      log.debug('handshake-put-off', { ...who, reason: refusal.reason })
      return
    }
    log.warn('handshake-refused', `${key} ${refusal.reason}`, {
      ...who,
      code: 'HANDSHAKE_REFUSED',
      by: kind === 'refused-by-us' ? 'us' : 'peer',
      reason: refusal.reason,
      detail: refusal.detail,
      peerNodeId: peer?.nodeId ?? NONE,
    })
  }
}
