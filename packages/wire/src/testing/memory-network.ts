import type { Clock, Incarnation, NodeId } from '@cordillera/base'
import type { NodeIdentity, Transport, TransportHandlers } from '../transport-port.js'

/** Transports of several nodes within one test: connected and cut by the test, frames delivered a turn after their sending. */
export class MemoryNetwork {
  readonly #clock: Clock
  readonly nodes = new Map<NodeId, MemoryTransport>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  transport(node: NodeId, incarnation: Incarnation = 1): MemoryTransport {
    const transport = new MemoryTransport(this.#clock, this, node, incarnation)
    this.nodes.set(node, transport)
    return transport
  }

  connect(a: NodeId, b: NodeId): void {
    const [one, other] = [this.nodes.get(a)!, this.nodes.get(b)!]
    one.peers.set(b, {})
    other.peers.set(a, {})
    one.handlers.onUp(b, other.incarnation)
    other.handlers.onUp(a, one.incarnation)
  }

  /** Both ends notice. */
  cut(a: NodeId, b: NodeId): void {
    this.nodes.get(a)!.lose(b)
    this.nodes.get(b)!.lose(a)
  }
}

export class MemoryTransport implements Transport {
  readonly #clock: Clock
  readonly #network: MemoryNetwork
  readonly node: NodeId
  readonly incarnation: Incarnation
  handlers!: TransportHandlers
  /** One token a connection: frames of an earlier one never arrive. */
  readonly peers = new Map<NodeId, object>()
  readonly sent: { readonly to: NodeId; readonly frame: Uint8Array }[] = []
  readonly disconnected: NodeId[] = []
  /** `full`: sends are refused. `deaf`: frames vanish. */
  mode: 'open' | 'full' | 'deaf' = 'open'
  identity: NodeIdentity | undefined
  addresses: ReadonlyMap<NodeId, string> = new Map()
  isClosed = false

  constructor(clock: Clock, network: MemoryNetwork, node: NodeId, incarnation: Incarnation) {
    this.#clock = clock
    this.#network = network
    this.node = node
    this.incarnation = incarnation
  }

  async start(handlers: TransportHandlers): Promise<void> {
    this.handlers = handlers
  }

  identify(identity: NodeIdentity): void {
    this.identity = identity
  }

  setPeers(addresses: ReadonlyMap<NodeId, string>): void {
    this.addresses = addresses
  }

  send(to: NodeId, frame: Uint8Array): boolean {
    const token = this.peers.get(to)
    if (token === undefined || this.mode === 'full') return false
    this.sent.push({ to, frame })
    if (this.mode === 'deaf') return true
    this.#clock.defer(() => {
      const receiver = this.#network.nodes.get(to)!
      if (this.peers.get(to) === token && receiver.peers.has(this.node)) receiver.handlers.onFrame(this.node, frame)
    })
    return true
  }

  disconnect(peer: NodeId): void {
    this.disconnected.push(peer)
    this.#clock.defer(() => this.#network.cut(this.node, peer))
  }

  lose(peer: NodeId): void {
    if (this.peers.delete(peer)) this.handlers.onDown(peer)
  }

  ask(): Promise<Uint8Array> {
    return Promise.reject(new Error('not in this test'))
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}
