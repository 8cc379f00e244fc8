import type { Clock, Logger, NodeId, Timer } from '@cordillera/base'
import type { Router } from '@cordillera/router'
import { NodeRegistry } from '@cordillera/system'
import type { PeerLinks, Transport } from '@cordillera/wire'
import type { RegisteredNode } from './cluster-view.js'
import type { NodeConfig } from './config.js'
import type { FoundedIdentity } from './founding.js'
import type { NodeAt } from './join-messages.js'
import type { PeerBook } from './peer-book.js'
import { PeerFinder } from './peer-finder.js'

/**
 * Who the cluster's nodes are, and where they listen: the founding document, overruled by the registry, overruled by
 * what members themselves say.
 *
 * The registry alone is not enough: it is read and written through a quorum, which nodes that have moved cannot form
 * before they have met. So a node that misses another, or is not registered yet, asks at the addresses of `--join`, and tells its
 * peers, as soon as it meets them and again and again, where it is itself and where it knows others to be; their answer says the same.
 * Two nodes that both know a third find each other through it, whoever of them leads.
 */
export interface WhereaboutsParts {
  readonly config: NodeConfig
  readonly identity: FoundedIdentity
  readonly router: Pick<Router, 'put' | 'scan'>
  readonly links: Pick<PeerLinks, 'ask' | 'isUp' | 'setPeers'>
  readonly transport: Pick<Transport, 'ask'>
  readonly book: Pick<PeerBook, 'keep'>
  /** What the book said at the start. */
  readonly remembered: readonly NodeAt[]
  readonly clock: Clock
  readonly logger: Logger
}

const REGISTRY_MS = 10_000
/** How often others are asked while a node is missing. */
const FIND_MS = 2_000
const ASK_TIMEOUT_MS = 2_000

export class Whereabouts {
  readonly #parts: WhereaboutsParts
  readonly #registry: NodeRegistry
  readonly #finder: PeerFinder
  #timers: Timer[] = []
  #asked = 0
  #isRegistered = false
  #isClosed = false

  constructor(parts: WhereaboutsParts) {
    const { config, identity, transport, logger, remembered } = parts
    const addresses = config.founding.kind === 'join' ? config.founding.addresses : []
    this.#parts = parts
    this.#finder = new PeerFinder({ transport, logger, identity, addresses, own: config })
    this.#finder.hear(remembered, () => {})
    this.#registry = new NodeRegistry(parts)
  }

  /** Registers this node and begins to look for the others. Needs the links to be identified. */
  start(): void {
    const { identity, config } = this.#parts
    const { nodeId, incarnation } = identity
    const { peerAddress, httpAddress, locality } = config
    this.#setPeers()
    this.#registry.register({ nodeId, incarnation, peerAddress, httpAddress, locality }, () => {
      this.#isRegistered = true
      this.#refresh()
    })
    this.#every(0, REGISTRY_MS, () => this.#refresh())
    this.#every(1, FIND_MS, () => this.#find())
    this.#find()
  }

  /** Whether this start of the node is in the registry, durably: the others can find it. */
  get isRegistered(): boolean {
    return this.#isRegistered
  }

  /** The registry; where it has not been read, the founding document's nodes. By id. */
  registered(): RegisteredNode[] {
    const byId = new Map<NodeId, RegisteredNode>()
    for (const node of this.#parts.identity.document.nodes) byId.set(node.nodeId, node)
    for (const node of this.#registry.known()) byId.set(node.nodeId, node)
    return [...byId.values()].sort((a, b) => a.nodeId - b.nodeId)
  }

  /** Every node that has been heard of: also those that no registry that was read says anything of. */
  nodeIds(): NodeId[] {
    return [this.#parts.identity.nodeId, ...this.#addresses().keys()].sort((a, b) => a - b)
  }

  onLinkUp(node: NodeId): void {
    // One that has joined.
    if (this.registered().every(({ nodeId }) => nodeId !== node)) this.#refresh()
    // Either may know of nodes that the other has never heard of.
    this.#exchange(node)
  }

  /** A peer says where nodes listen, and is told the same. Throws `BAD_REQUEST`. */
  onPlaces(body: unknown): unknown {
    this.#finder.hear(body, () => this.#setPeers())
    return this.#places()
  }

  close(): void {
    this.#isClosed = true
    this.#registry.close()
    for (const timer of this.#timers) timer.cancel()
  }

  #refresh(): void {
    this.#registry.refresh(() => {
      this.#setPeers()
      this.#keepPeers()
    })
  }

  /** So that they are found when this node starts again, whoever is gone by then. */
  #keepPeers(): void {
    const { book, identity } = this.#parts
    const incarnations = this.#incarnations()
    const peers = Array.from(this.#addresses(), ([nodeId, peerAddress]) => {
      return { nodeId, incarnation: incarnations.get(nodeId) ?? 1, peerAddress }
    })
    if (!this.#isClosed) book.keep(peers.filter(({ nodeId }) => nodeId !== identity.nodeId))
  }

  #incarnations(): Map<NodeId, number> {
    return new Map(this.#registry.known().map(({ nodeId, incarnation }) => [nodeId, incarnation]))
  }

  /** Asks the addresses that were named, and one peer after the other. */
  #find(): void {
    const missing = this.#missing()
    // Who cannot be registered may not have heard of those who could do it.
    if (missing.length === 0 && this.#isRegistered) return
    void this.#finder.ask(() => this.#setPeers())
    const peers = [...this.#addresses().keys()].filter((nodeId) => !missing.includes(nodeId))
    if (peers.length > 0) this.#exchange(peers[this.#asked++ % peers.length]!)
  }

  #missing(): NodeId[] {
    return [...this.#addresses().keys()].filter((nodeId) => !this.#parts.links.isUp(nodeId))
  }

  #exchange(peer: NodeId): void {
    const { links, logger } = this.#parts
    links
      .ask(peer, 'places', this.#places(), ASK_TIMEOUT_MS)
      .then((answer) => this.#finder.hear(answer, () => this.#setPeers()))
      .catch((error) => logger.debug('places-untold', { node: peer, error: String(error) }))
  }

  /** Where this node is, and everybody that it knows of, as they say themselves or the registry does. */
  #places(): NodeAt[] {
    const told = this.#finder.places()
    const registered = this.#registry.known().filter(({ nodeId }) => told.every((node) => node.nodeId !== nodeId))
    return [
      ...told,
      ...registered.map(({ nodeId, incarnation, peerAddress }) => ({ nodeId, incarnation, peerAddress })),
    ]
  }

  #setPeers(): void {
    if (!this.#isClosed) this.#parts.links.setPeers(this.#addresses())
  }

  /** Where the other nodes listen, as far as is known. */
  #addresses(): Map<NodeId, string> {
    const incarnations = this.#incarnations()
    const addresses = new Map<NodeId, string>()
    for (const { nodeId, peerAddress } of this.registered()) {
      if (nodeId === this.#parts.identity.nodeId) continue
      addresses.set(nodeId, this.#finder.addressOf(nodeId, peerAddress, incarnations.get(nodeId) ?? 0))
    }
    for (const { nodeId, peerAddress } of this.#finder.found()) {
      if (!addresses.has(nodeId)) addresses.set(nodeId, peerAddress)
    }
    return addresses
  }

  #every(slot: number, periodMs: number, action: () => void): void {
    this.#timers[slot] = this.#parts.clock.after(periodMs, () => {
      if (this.#isClosed) return
      action()
      this.#every(slot, periodMs, action)
    })
  }
}
