import { assert, type Clock, CordilleraError, type Incarnation, type NodeId, type Timer } from '@cordillera/base'
import { FRAME_BYTES_MAX, type NodeIdentity, type Transport, type TransportHandlers } from '@cordillera/wire'
import type { Parcel, VirtualHost } from './virtual-network.js'
import type { VirtualSocket } from './virtual-socket.js'

/**
 * The mesh over virtual sockets, with the rules and delays of the one over WebSockets: both sides dial, of two
 * connections between the same incarnations the one that the higher node id dialled stays, a newer incarnation replaces
 * an older one, and what replaces is reported down and up.
 */
export interface VirtualTransportOptions {
  readonly host: VirtualHost
  /** Of the process: it dies with it. */
  readonly clock: Clock
}

const QUEUE_BYTES_MAX = 64 << 20
const HANDSHAKE_MS = 5_000
const REDIAL_MIN_MS = 100
const REDIAL_MAX_MS = 2_000
const LOWER_ID_DELAY_MS = 300

type Hello =
  | ({ readonly kind: 'hello' } & NodeIdentity)
  | { readonly kind: 'guest'; readonly body: Uint8Array }
  | { readonly kind: 'answer'; readonly body: Uint8Array }
  | { readonly kind: 'failure'; readonly error: unknown }
  | { readonly kind: 'no'; readonly reason: string }

interface Connection {
  readonly socket: VirtualSocket
  readonly peer: NodeId
  readonly incarnation: Incarnation
  readonly dialledBy: NodeId
}

interface Peer {
  address: string | undefined
  connection: Connection | undefined
  dialling: VirtualSocket | undefined
  redial: Timer | undefined
  redialMs: number
}

export class VirtualTransport implements Transport {
  readonly #host: VirtualHost
  readonly #clock: Clock
  readonly #peers = new Map<NodeId, Peer>()
  readonly #strangers = new Set<VirtualSocket>()
  #handlers: TransportHandlers | undefined
  #identity: NodeIdentity | undefined
  #stopListening: () => void = () => {}
  #isClosed = false

  constructor(options: VirtualTransportOptions) {
    this.#host = options.host
    this.#clock = options.clock
  }

  async start(handlers: TransportHandlers): Promise<void> {
    assert(this.#handlers === undefined, 'a transport is started once')
    this.#handlers = handlers
    this.#stopListening = this.#host.listen((socket) => this.#onStranger(socket))
  }

  identify(identity: NodeIdentity): void {
    assert(this.#identity === undefined, 'a node has one identity')
    this.#identity = identity
    for (const [nodeId, peer] of this.#peers) this.#scheduleDial(nodeId, peer, 0)
  }

  setPeers(addresses: ReadonlyMap<NodeId, string>): void {
    for (const [nodeId, address] of addresses) {
      const peer = this.#peer(nodeId)
      if (peer.address === address) continue
      peer.address = address
      if (this.#identity !== undefined && peer.connection === undefined) this.#scheduleDial(nodeId, peer, 0)
    }
  }

  send(to: NodeId, frame: Uint8Array): boolean {
    const socket = this.#peers.get(to)?.connection?.socket
    if (socket === undefined || !socket.isOpen) return false
    if (frame.length > FRAME_BYTES_MAX || socket.queuedBytes + frame.length > QUEUE_BYTES_MAX) return false
    socket.send(frame)
    return true
  }

  disconnect(nodeId: NodeId): void {
    const peer = this.#peers.get(nodeId)
    const connection = peer?.connection
    if (peer === undefined || connection === undefined || !connection.socket.isOpen) return
    connection.socket.terminate()
    this.#clock.defer(() => this.#onClosed(peer, connection))
  }

  ask(address: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const socket = this.#host.dial(address)
      const fail = (why: string): void => {
        timer.cancel()
        socket.terminate()
        reject(new CordilleraError('UNAVAILABLE', { detail: `${address} cannot be asked: ${why}` }))
      }
      const timer = this.#clock.after(timeoutMs, () => fail('it did not answer in time'))
      socket.onConnected = () => socket.send({ kind: 'guest', body: body.slice() } satisfies Hello)
      socket.onClose = (why) => fail(why)
      socket.onParcel = (parcel) => {
        const hello = parcel as Hello
        timer.cancel()
        socket.close()
        if (hello.kind === 'answer') resolve(hello.body)
        else reject(hello.kind === 'failure' ? hello.error : new Error('a guest gets an answer'))
      }
    })
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#stopListening()
    for (const peer of this.#peers.values()) {
      peer.redial?.cancel()
      peer.dialling?.terminate()
      peer.connection?.socket.terminate()
    }
    for (const socket of this.#strangers) socket.terminate()
  }

  #peer(nodeId: NodeId): Peer {
    let peer = this.#peers.get(nodeId)
    if (peer === undefined) {
      const redialMs = REDIAL_MIN_MS
      peer = {
        address: undefined,
        connection: undefined,
        dialling: undefined,
        redial: undefined,
        redialMs,
      }
      this.#peers.set(nodeId, peer)
    }
    return peer
  }

  // --- accepting ---

  #onStranger(socket: VirtualSocket): void {
    this.#strangers.add(socket)
    const timer = this.#clock.after(HANDSHAKE_MS, () => socket.terminate())
    socket.onClose = () => {
      timer.cancel()
      this.#strangers.delete(socket)
    }
    socket.onParcel = (parcel) => {
      timer.cancel()
      this.#strangers.delete(socket)
      const hello = parcel as Hello
      if (hello.kind === 'guest') this.#serveGuest(socket, hello.body)
      else if (hello.kind === 'hello') this.#onHello(socket, hello)
      else socket.close()
    }
  }

  #serveGuest(socket: VirtualSocket, body: Uint8Array): void {
    socket.onClose = () => {}
    this.#handlers!.onGuest(body.slice()).then(
      (answer) => socket.send({ kind: 'answer', body: answer.slice() } satisfies Hello),
      (error) => {
        const { code, message } = error instanceof CordilleraError ? error : { code: 'INTERNAL' as const, message: '' }
        socket.send({ kind: 'failure', error: new CordilleraError(code, { detail: message }) } satisfies Hello)
      },
    )
  }

  #onHello(socket: VirtualSocket, hello: NodeIdentity): void {
    const peer = this.#peers.get(hello.nodeId)
    const reason = this.#refusal(hello, peer) ?? this.#refuseDuplicate(hello, peer)
    if (reason !== undefined) {
      socket.send({ kind: 'no', reason } satisfies Hello)
      socket.close()
      return
    }
    socket.send({ kind: 'hello', ...this.#identity! } satisfies Hello)
    const { nodeId, incarnation } = hello
    this.#establish({ socket, peer: nodeId, incarnation, dialledBy: nodeId })
  }

  #refusal(other: NodeIdentity, peer: Peer | undefined): string | undefined {
    const self = this.#identity
    if (self === undefined) return 'not-ready'
    if (other.clusterId !== self.clusterId) return 'cluster'
    if (other.nodeId === self.nodeId) return 'identity'
    return other.incarnation < (peer?.connection?.incarnation ?? 0) ? 'stale' : undefined
  }

  #refuseDuplicate(hello: NodeIdentity, peer: Peer | undefined): string | undefined {
    const existing = peer?.connection
    if (existing === undefined || existing.incarnation !== hello.incarnation) return undefined
    const self = this.#identity!.nodeId
    return existing.dialledBy === self && hello.nodeId < self ? 'duplicate' : undefined
  }

  // --- dialling ---

  #scheduleDial(nodeId: NodeId, peer: Peer, delayMs: number): void {
    const self = this.#identity!.nodeId
    if (this.#isClosed || nodeId === self) return
    peer.redial?.cancel()
    const extraMs = nodeId > self ? LOWER_ID_DELAY_MS : 0
    peer.redial = this.#clock.after(delayMs + extraMs, () => this.#dial(nodeId, peer))
  }

  #dial(nodeId: NodeId, peer: Peer): void {
    if (this.#isClosed || peer.connection !== undefined || peer.dialling !== undefined) return
    if (peer.address === undefined) return
    const socket = this.#host.dial(peer.address)
    peer.dialling = socket
    const onEnd = (): void => {
      timer.cancel()
      if (peer.dialling !== socket) return
      peer.dialling = undefined
      if (peer.connection !== undefined) return
      this.#scheduleDial(nodeId, peer, peer.redialMs)
      peer.redialMs = Math.min(peer.redialMs * 2, REDIAL_MAX_MS)
    }
    const timer = this.#clock.after(HANDSHAKE_MS, () => {
      socket.terminate()
      onEnd()
    })
    socket.onConnected = () => socket.send({ kind: 'hello', ...this.#identity! } satisfies Hello)
    socket.onClose = (why) => {
      onEnd()
      if (why === 'refused' && !this.#isClosed) this.#handlers!.onRefused(nodeId)
    }
    socket.onParcel = (parcel) => {
      timer.cancel()
      if (this.#welcome(nodeId, peer, socket, parcel)) return
      socket.close()
      onEnd()
    }
  }

  #welcome(nodeId: NodeId, peer: Peer, socket: VirtualSocket, parcel: Parcel): boolean {
    const hello = parcel as Hello
    if (hello.kind !== 'hello' || hello.nodeId !== nodeId) return false
    if (this.#refusal(hello, peer) !== undefined) return false
    const self = this.#identity!.nodeId
    const existing = peer.connection
    const isWorse = existing !== undefined && existing.incarnation === hello.incarnation && nodeId > self
    if (isWorse && existing.dialledBy === nodeId) return false
    peer.dialling = undefined
    this.#establish({ socket, peer: nodeId, incarnation: hello.incarnation, dialledBy: self })
    return true
  }

  // --- connected ---

  #establish(connection: Connection): void {
    const { socket, peer: nodeId, incarnation } = connection
    const peer = this.#peer(nodeId)
    const former = peer.connection
    if (former !== undefined) {
      former.socket.terminate()
      this.#drop(peer, former)
    }
    peer.connection = connection
    peer.redialMs = REDIAL_MIN_MS
    peer.redial?.cancel()
    socket.onParcel = (frame) => {
      if (peer.connection === connection) this.#handlers!.onFrame(nodeId, frame as Uint8Array)
    }
    socket.onClose = () => this.#onClosed(peer, connection)
    this.#handlers!.onUp(nodeId, incarnation)
  }

  #onClosed(peer: Peer, connection: Connection): void {
    if (peer.connection !== connection || this.#isClosed) return
    this.#drop(peer, connection)
    this.#scheduleDial(connection.peer, peer, 0)
  }

  #drop(peer: Peer, connection: Connection): void {
    peer.connection = undefined
    if (!this.#isClosed) this.#handlers!.onDown(connection.peer)
  }
}
