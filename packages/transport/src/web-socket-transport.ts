import type { Buffer } from 'node:buffer'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { assert, type Clock, type Incarnation, type Logger, type NodeId, type Timer } from '@cordillera/base'
import { FRAME_BYTES_MAX, type NodeIdentity, type Transport, type TransportHandlers } from '@cordillera/wire'
import WebSocket, { WebSocketServer } from 'ws'
import { askAsGuest, encodeGuestAnswer, encodeGuestFailure } from './guest.js'
import { decideRefusal, decodeHello, encodeHello, encodeRefusal, HELLO_BYTES_MAX, type Refusal } from './hello.js'

/**
 * The mesh over WebSockets (RFC 6455): one connection per pair of nodes, each WebSocket message one frame.
 *
 * Both sides dial; of two connections between the same incarnations the one dialled by the higher node id stays, on
 * both sides, and the lower id waits a moment before it dials, so that this is rare. A newer incarnation replaces an
 * older one, which is refused from then on. What cannot be understood ends its connection and nothing else. A
 * connection that replaces another is reported down and up, never silently.
 */
export interface WebSocketTransportOptions {
  /** Port 0: any free one; see {@link WebSocketTransport.address}. */
  readonly listen: { readonly host: string; readonly port: number }
  readonly clock: Clock
  readonly logger: Logger
  readonly limits?: Partial<TransportLimits>
}

export interface TransportLimits {
  /** Queued and not yet taken by the operating system, per peer. */
  readonly queueBytesMax: number
  /** Connections that have not said who they are. */
  readonly strangersMax: number
  readonly handshakeMs: number
  readonly redialMinMs: number
  readonly redialMaxMs: number
  /** How much longer the lower node id waits before it dials. */
  readonly lowerIdDelayMs: number
}

export const defaultTransportLimits: TransportLimits = {
  queueBytesMax: 64 << 20,
  strangersMax: 256,
  handshakeMs: 5_000,
  redialMinMs: 100,
  redialMaxMs: 2_000,
  lowerIdDelayMs: 300,
}

interface Connection {
  readonly socket: WebSocket
  readonly peer: NodeId
  readonly incarnation: Incarnation
  readonly dialledBy: NodeId
}

/** A peer whose address is known, or that is connected. */
interface Peer {
  address: string | undefined
  connection: Connection | undefined
  dialling: WebSocket | undefined
  redial: Timer | undefined
  redialMs: number
  /** The newest incarnation met; older ones are refused. */
  incarnation: Incarnation
}

export class WebSocketTransport implements Transport {
  readonly #listen: WebSocketTransportOptions['listen']
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #limits: TransportLimits
  readonly #peers = new Map<NodeId, Peer>()
  readonly #strangers = new Set<WebSocket>()
  #handlers: TransportHandlers | undefined
  #identity: NodeIdentity | undefined
  #http: Server | undefined
  #server: WebSocketServer | undefined
  #isClosed = false

  constructor(options: WebSocketTransportOptions) {
    this.#listen = options.listen
    this.#clock = options.clock
    this.#logger = options.logger
    this.#limits = { ...defaultTransportLimits, ...options.limits }
  }

  /** Where this node listens, once started. */
  get address(): { readonly host: string; readonly port: number } {
    const { address, port } = this.#http!.address() as AddressInfo
    return { host: address, port }
  }

  async start(handlers: TransportHandlers): Promise<void> {
    assert(this.#handlers === undefined, 'a transport is started once')
    this.#handlers = handlers
    const http = createServer((_request, response) => {
      response.writeHead(426, { 'content-type': 'text/plain', connection: 'close' })
      response.end('This port is for the nodes of a Cordillera cluster.\n')
    })
    this.#http = http
    await new Promise<void>((resolve, reject) => {
      http.once('error', reject)
      http.listen(this.#listen.port, this.#listen.host, () => {
        http.off('error', reject)
        resolve()
      })
    })
    http.on('error', (error) => this.#logger.error('peer-server-error', { error: error.message }))
    this.#server = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: FRAME_BYTES_MAX })
    this.#server.on('connection', (socket) => this.#onStranger(socket))
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
    if (socket === undefined || socket.readyState !== WebSocket.OPEN) return false
    if (socket.bufferedAmount + frame.length > this.#limits.queueBytesMax) return false
    socket.send(frame, { binary: true, compress: false })
    return true
  }

  disconnect(peer: NodeId): void {
    this.#peers.get(peer)?.connection?.socket.terminate()
  }

  ask(address: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return askAsGuest(address, body, timeoutMs, this.#clock)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const peer of this.#peers.values()) {
      peer.redial?.cancel()
      peer.dialling?.terminate()
      peer.connection?.socket.terminate()
    }
    for (const socket of this.#server?.clients ?? []) socket.terminate()
    this.#server?.close()
    const http = this.#http
    if (http?.listening) await new Promise<void>((resolve) => http.close(() => resolve()))
  }

  #peer(nodeId: NodeId): Peer {
    let peer = this.#peers.get(nodeId)
    if (peer === undefined) {
      const redialMs = this.#limits.redialMinMs
      peer = {
        address: undefined,
        connection: undefined,
        dialling: undefined,
        redial: undefined,
        redialMs,
        incarnation: 0,
      }
      this.#peers.set(nodeId, peer)
    }
    return peer
  }

  // --- accepting ---

  /** Somebody has connected: nothing but a hello is taken, soon. */
  #onStranger(socket: WebSocket): void {
    if (this.#strangers.size >= this.#limits.strangersMax || this.#isClosed) {
      socket.terminate()
      return
    }
    this.#strangers.add(socket)
    const timer = this.#clock.after(this.#limits.handshakeMs, () => socket.terminate())
    const settle = (): void => {
      timer.cancel()
      this.#strangers.delete(socket)
    }
    socket.on('error', (error) => this.#logger.info('peer-connection-error', { error: error.message }))
    socket.once('close', settle)
    socket.once('message', (data: Buffer, isBinary: boolean) => {
      settle()
      const text = isBinary || data.length > HELLO_BYTES_MAX ? '' : data.toString('utf8')
      this.#onHello(socket, decodeHello(text))
    })
  }

  #onHello(socket: WebSocket, hello: ReturnType<typeof decodeHello>): void {
    if (hello.role === 'refused') this.#refuse(socket, hello.refusal)
    else if (hello.role === 'guest') this.#serveGuest(socket)
    else {
      const peer = this.#peers.get(hello.nodeId)
      const refusal =
        decideRefusal(this.#identity, hello, peer?.incarnation ?? 0, undefined) ?? this.#refuseDuplicate(hello, peer)
      if (refusal !== undefined) {
        this.#refuse(socket, refusal)
        return
      }
      socket.send(encodeHello({ role: 'node', ...this.#identity! }))
      const { nodeId, incarnation } = hello
      this.#establish({ socket, peer: nodeId, incarnation, dialledBy: nodeId })
    }
  }

  #refuseDuplicate(hello: NodeIdentity, peer: Peer | undefined): Refusal | undefined {
    const existing = peer?.connection
    if (existing === undefined || existing.incarnation !== hello.incarnation) return undefined
    const self = this.#identity!.nodeId
    if (existing.dialledBy !== self || hello.nodeId > self) return undefined
    return { reason: 'duplicate', detail: `there is a connection between nodes ${self} and ${hello.nodeId}` }
  }

  #refuse(socket: WebSocket, refusal: Refusal): void {
    if (refusal.reason !== 'duplicate') this.#logger.warn('peer-refused', { ...refusal })
    socket.send(encodeRefusal(refusal))
    socket.close()
  }

  #serveGuest(socket: WebSocket): void {
    socket.send(encodeHello({ role: 'guest' }))
    const timer = this.#clock.after(this.#limits.handshakeMs, () => socket.terminate())
    socket.once('close', () => timer.cancel())
    socket.once('message', (body: Buffer) => {
      this.#handlers!.onGuest(body).then(
        (answer) => socket.send(encodeGuestAnswer(answer)),
        (error) => socket.send(encodeGuestFailure(error)),
      )
    })
  }

  // --- dialling ---

  #scheduleDial(nodeId: NodeId, peer: Peer, delayMs: number): void {
    if (this.#isClosed || nodeId === this.#identity!.nodeId) return
    const extraMs = nodeId > this.#identity!.nodeId ? this.#limits.lowerIdDelayMs : 0
    peer.redial?.cancel()
    peer.redial = this.#clock.after(delayMs + extraMs, () => this.#dial(nodeId, peer))
  }

  #dial(nodeId: NodeId, peer: Peer): void {
    if (this.#isClosed || peer.connection !== undefined || peer.dialling !== undefined) return
    if (peer.address === undefined) return
    const socket = new WebSocket(`ws://${peer.address}/`, { perMessageDeflate: false, maxPayload: FRAME_BYTES_MAX })
    peer.dialling = socket
    const timer = this.#clock.after(this.#limits.handshakeMs, () => socket.terminate())
    socket.on('open', () => socket.send(encodeHello({ role: 'node', ...this.#identity! })))
    socket.once('message', (data: Buffer, isBinary: boolean) => {
      timer.cancel()
      const text = isBinary || data.length > HELLO_BYTES_MAX ? '' : data.toString('utf8')
      this.#onWelcome(nodeId, peer, socket, decodeHello(text))
    })
    socket.on('error', (error) => this.#onDialError(nodeId, error))
    socket.on('close', () => {
      timer.cancel()
      if (peer.dialling !== socket) return
      peer.dialling = undefined
      if (peer.connection !== undefined) return
      this.#scheduleDial(nodeId, peer, peer.redialMs)
      peer.redialMs = Math.min(peer.redialMs * 2, this.#limits.redialMaxMs)
    })
  }

  #onDialError(nodeId: NodeId, error: Error): void {
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED' && !this.#isClosed) this.#handlers!.onRefused(nodeId)
    else this.#logger.debug('dial-failed', { node: nodeId, error: error.message })
  }

  #onWelcome(nodeId: NodeId, peer: Peer, socket: WebSocket, hello: ReturnType<typeof decodeHello>): void {
    const self = this.#identity!
    const refusal =
      hello.role === 'refused'
        ? hello.refusal
        : hello.role === 'guest'
          ? { reason: 'malformed' as const, detail: 'it answered as a guest' }
          : decideRefusal(self, hello, peer.incarnation, nodeId)
    if (refusal !== undefined || hello.role !== 'node') {
      if (refusal!.reason !== 'duplicate') this.#logger.warn('dial-refused', { node: nodeId, ...refusal })
      socket.close()
      return
    }
    const existing = peer.connection
    const isWorse = existing !== undefined && existing.incarnation === hello.incarnation && nodeId > self.nodeId
    if (isWorse && existing.dialledBy === nodeId) {
      socket.close()
      return
    }
    peer.dialling = undefined
    this.#establish({ socket, peer: nodeId, incarnation: hello.incarnation, dialledBy: self.nodeId })
  }

  // --- connected ---

  #establish(connection: Connection): void {
    const { socket, peer: nodeId, incarnation } = connection
    const peer = this.#peer(nodeId)
    const former = peer.connection
    if (former !== undefined) {
      this.#drop(peer, former)
      former.socket.terminate()
    }
    peer.connection = connection
    peer.incarnation = incarnation
    peer.redialMs = this.#limits.redialMinMs
    peer.redial?.cancel()
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (peer.connection !== connection) return
      if (isBinary) this.#handlers!.onFrame(nodeId, data)
      else socket.terminate()
    })
    socket.on('close', () => {
      if (peer.connection !== connection) return
      this.#drop(peer, connection)
      if (!this.#isClosed) this.#scheduleDial(nodeId, peer, 0)
    })
    this.#handlers!.onUp(nodeId, incarnation)
  }

  #drop(peer: Peer, connection: Connection): void {
    peer.connection = undefined
    if (!this.#isClosed) this.#handlers!.onDown(connection.peer)
  }
}
