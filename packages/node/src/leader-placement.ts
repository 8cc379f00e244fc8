import type { Clock, Logger, NodeId, RangeId } from '@cordillera/base'
import {
  decideLeaderTransfers,
  defaultTransferLimits,
  type LedRange,
  preferredLeader,
  takeTransfers,
} from '@cordillera/placement'
import type { Descriptor } from '@cordillera/ranges'
import type { Replica, ReplicaLinks, Replicas } from '@cordillera/replicas'

/**
 * Carries out where leaders should be: the decisions are `placement`'s, pure; this looks at what this node leads and
 * sees, and asks for elections and transfers.
 *
 * A group that has no leader when enough of its nodes are up is campaigned for at once by the node that should lead
 * it, so that a starting cluster need not wait for election timeouts. Leaderships that belong elsewhere are handed
 * over a few at a time, to nodes that have been up for a while, have caught up, and whose stores are fit to lead.
 */
export interface LeaderPlacementParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly links: ReplicaLinks
  readonly clock: Clock
  readonly logger: Logger
}

/** After so long a transfer that was asked for has happened or was given up. */
const TRANSFER_MS = 1_000
/** After so long without its word the placement driver is not at work. */
const DRIVER_SILENT_MS = 10_000

export class LeaderPlacement {
  readonly #parts: LeaderPlacementParts
  readonly #upSince = new Map<NodeId, number>()
  readonly #transferringUntil = new Map<RangeId, number>()
  readonly #draining = new Set<NodeId>()
  #driverHeardAt = Number.NEGATIVE_INFINITY

  constructor(parts: LeaderPlacementParts) {
    this.#parts = parts
  }

  /** This node has started: what it can lead alone, it leads. */
  onStart(): void {
    this.onLinkUp(this.#parts.nodeId)
  }

  /** A link has come up: campaigns where this node should lead and nobody is known to. */
  onLinkUp(node: NodeId): void {
    const { replicas, nodeId, clock } = this.#parts
    this.#upSince.set(node, clock.now())
    this.#draining.delete(node)
    const live = this.#liveNodes()
    const fit = new Set([...live].filter((each) => replicas.stores.isFit(each)))
    for (const replica of replicas.replicas()) {
      if (replica.core.role !== 'follower' || replica.core.leader !== 0) continue
      const preferred = preferredLeader(replica.descriptor, fit) || preferredLeader(replica.descriptor, live)
      if (preferred !== nodeId) continue
      if (isMajority(replica.descriptor, live)) replicas.campaign(replica)
    }
  }

  /** The node gives its leaderships away and takes none, until its link comes up again. */
  onDraining(node: NodeId): void {
    this.#draining.add(node)
  }

  /** The placement driver is at work: it balances leaderships, and this leaves it alone as long as it is heard. */
  onDriverHeard(): void {
    this.#driverHeardAt = this.#parts.clock.now()
  }

  /** Hands over what should be led elsewhere. */
  onSecond(): void {
    const { nodeId: self, clock, replicas, logger } = this.#parts
    const { stores } = replicas
    // What can leave is handed over as it is; the rest stays where it is.
    if (stores.isUnfit) return
    const nowMs = clock.now()
    if (nowMs - this.#driverHeardAt < DRIVER_SILENT_MS) return
    const led: LedRange[] = []
    const leaders = new Map<NodeId, number>()
    for (const replica of replicas.replicas()) {
      const leader = replica.core.role === 'leader' ? self : replica.nodeOf(replica.core.leader)
      leaders.set(leader, (leaders.get(leader) ?? 0) + 1)
      if (leader === self) led.push(this.#ledRange(replica, nowMs))
    }
    const nodes = [...this.#knownNodes()].map((nodeId) => ({
      nodeId,
      isUp: this.#isUp(nodeId),
      upSinceMs: this.#upSince.get(nodeId) ?? nowMs,
      isDraining: this.#draining.has(nodeId) || !stores.isFit(nodeId),
      leaders: leaders.get(nodeId) ?? 0,
    }))
    const decisions = decideLeaderTransfers({ self, nowMs, nodes, led }, defaultTransferLimits)
    for (const { rangeId, to, reason } of takeTransfers(decisions)) {
      if (!replicas.transferLeadership(rangeId, to)) continue
      this.#transferringUntil.set(rangeId, nowMs + TRANSFER_MS)
      logger.debug('leader-transfer', { rangeId, to, reason })
    }
  }

  #ledRange(replica: Replica, nowMs: number): LedRange {
    const { core, descriptor } = replica
    const lagEntries = new Map<NodeId, number>()
    for (const { nodeId, replicaId } of descriptor.replicas) {
      const progress = core.progressOf(replicaId)
      // Of a resting group it is not known who would answer; of any other, who is silent is no candidate.
      if (progress?.recentlyActive === true || (progress !== undefined && core.quiescent)) {
        lagEntries.set(nodeId, core.lastIndex - progress.matchIndex)
      }
    }
    const isTransferring = (this.#transferringUntil.get(descriptor.rangeId) ?? 0) > nowMs
    return { descriptor, isTransferring, lagEntries }
  }

  #knownNodes(): Set<NodeId> {
    const nodes = new Set<NodeId>()
    for (const replica of this.#parts.replicas.replicas()) {
      for (const { nodeId } of replica.descriptor.replicas) nodes.add(nodeId)
    }
    return nodes
  }

  #liveNodes(): Set<NodeId> {
    return new Set([...this.#knownNodes()].filter((nodeId) => this.#isUp(nodeId)))
  }

  #isUp(nodeId: NodeId): boolean {
    return nodeId === this.#parts.nodeId || this.#parts.links.isUp(nodeId)
  }
}

function isMajority(descriptor: Descriptor, live: ReadonlySet<NodeId>): boolean {
  const voters = descriptor.replicas.filter(({ type }) => type !== 'learner')
  const up = voters.filter(({ nodeId }) => live.has(nodeId)).length
  return up * 2 > voters.length
}
