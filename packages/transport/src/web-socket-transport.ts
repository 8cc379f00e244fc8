import { randomInt } from 'node:crypto'
import { assert, CordilleraError, type NodeId, SeededRandom } from '@cordillera/base'
import type { NodeIdentity, Transport, TransportHandlers } from '@cordillera/wire'
import { type HostPort, parseAddress } from './address.js'
import { answerGuest } from './guest-answer.js'
import { askAsGuest } from './guest-ask.js'
import { Handshake } from './handshake.js'
import type { Hello, Refusal } from './hello.js'
import { Listener } from './listener.js'
import { logFailure, Mesh } from './mesh.js'
import type { MessageSocket } from './message-socket.js'
import {
  checkOptions,
  defaultTransportLimits,
  type TransportLimits,
  type WebSocketTransportOptions,
} from './options.js'
import { QuietLog } from './quiet-log.js'

/**
 * {@link Transport} over WebSockets, on a port of its own.
 *
 * One connection a pair of nodes; one message a frame, never compressed, never in fragments; TCP_NODELAY. Nothing is
 * decoded before a handshake has checked protocol version, cluster, node, incarnation and, where there is one, the
 * cluster secret. What waits for a slow peer is bounded. Garbage ends the connection that it came over, and nothing else.
 */
export class WebSocketTransport implements Transport {
  readonly #options: WebSocketTransportOptions
  readonly #limits: TransportLimits
  readonly #log: QuietLog
  readonly #listener: Listener
  readonly #strangers = new Set<Handshake>()
  readonly #asking = new Set<() => void>()
  #handlers: TransportHandlers | undefined
  #mesh: Mesh | undefined
  #peers: ReadonlyMap<NodeId, string> = new Map()
  #address: HostPort | undefined
  #closed: Promise<void> | undefined
  #guests = 0

  /** Throws `CONFIG_INVALID` for addresses beyond loopback without a secret. */
  constructor(options: WebSocketTransportOptions) {
    checkOptions(options)
    this.#options = options
    this.#limits = { ...defaultTransportLimits, ...options.limits }
    this.#log = new QuietLog(options.logger, options.clock)
    this.#listener = new Listener(this.#log, (socket) => this.#onStranger(socket))
  }

  /** What is listened at, with the port that the system chose; undefined before `start`. */
  get address(): HostPort | undefined {
    return this.#address
  }

  async start(handlers: TransportHandlers): Promise<void> {
    assert(this.#handlers === undefined, 'a transport is started once')
    this.#handlers = handlers
    this.#address = await this.#listener.listen(this.#options.listen)
  }

  identify(identity: NodeIdentity): void {
    assert(this.#handlers !== undefined && this.#mesh === undefined, 'a transport is identified once, after its start')
    const { clock, logger, secret } = this.#options
    const random = this.#options.random ?? new SeededRandom(randomInt(2 ** 47))
    const parts = { identity, clock, random, logger, secret, log: this.#log, limits: this.#limits }
    this.#mesh = new Mesh({ ...parts, handlers: this.#handlers })
    this.setPeers(this.#peers)
  }

  setPeers(addresses: ReadonlyMap<NodeId, string>): void {
    this.#peers = new Map(addresses)
    if (this.#closed === undefined) this.#mesh?.setPeers(this.#peers)
  }

  send(to: NodeId, frame: Uint8Array): boolean {
    return this.#closed === undefined && this.#mesh !== undefined && this.#mesh.send(to, frame)
  }

  disconnect(peer: NodeId): void {
    this.#mesh?.disconnect(peer)
  }

  ask(address: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    if (this.#closed !== undefined) return Promise.reject(new CordilleraError('CLOSED'))
    try {
      parseAddress(address)
    } catch (error) {
      return Promise.reject(error)
    }
    const { clock, secret } = this.#options
    return askAsGuest({ address, body, timeoutMs, clock, secret, underWay: this.#asking })
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    const { clock } = this.#options
    for (const abort of [...this.#asking]) abort()
    for (const handshake of this.#strangers) handshake.cancel()
    const listenerClosed = this.#address === undefined ? undefined : this.#listener.close(clock, this.#limits.closeMs)
    await this.#mesh?.close()
    await listenerClosed
  }

  // --- who connects ---

  #onStranger(socket: MessageSocket): void {
    if (this.#closed !== undefined || this.#strangers.size >= this.#limits.strangersMax) {
      socket.terminate()
      return
    }
    const { clock, secret } = this.#options
    const handshake: Handshake = new Handshake('acceptor', socket, {
      clock,
      secret,
      handshakeMs: this.#limits.handshakeMs,
      ownHello: (peer) => this.#mesh?.ownHello(peer?.nodeId ?? 0) ?? NOBODY,
      decideHello: (hello) => this.#decideHello(hello),
      decideAdmission: (hello) => this.#decideAdmission(hello),
      onEstablished: (hello) => {
        this.#strangers.delete(handshake)
        if (hello.role === 'guest') this.#onGuest(socket)
        else this.#mesh!.onEstablished(socket, hello, 'acceptor')
      },
      onFailed: (failure) => {
        this.#strangers.delete(handshake)
        logFailure(this.#log, failure, { remote: socket.remote.replace(/:\d+$/, '') })
      },
    })
    this.#strangers.add(handshake)
  }

  #decideHello(hello: Hello): Refusal | undefined {
    if (hello.role === 'client') return { reason: 'role', detail: 'clients are not served at this version' }
    if (hello.role === 'guest') return undefined
    if (this.#mesh === undefined) return { reason: 'not-ready', detail: 'the node does not belong to a cluster yet' }
    return this.#mesh.decideHello(hello, 0)
  }

  #decideAdmission(hello: Hello): Refusal | undefined {
    if (hello.role === 'node') return this.#mesh!.decideAdmission(hello, 'acceptor')
    if (this.#guests < this.#limits.strangersMax) return undefined
    return { reason: 'overloaded', detail: 'too many guests are being answered' }
  }

  #onGuest(socket: MessageSocket): void {
    const { clock } = this.#options
    const { guestMs, guestQuestionBytesMax } = this.#limits
    const handlers = this.#handlers!
    this.#guests++
    answerGuest({
      ...{ socket, clock, guestMs, guestQuestionBytesMax, log: this.#log },
      onQuestion: (body) => handlers.onGuest(body),
      onGone: () => this.#guests--,
    })
  }
}

/** What a node without an identity, and a guest, say of themselves. */
const NOBODY = { role: 'guest', clusterId: '', nodeId: 0, incarnation: 0, expectedNodeId: 0, losses: 0 } as const
