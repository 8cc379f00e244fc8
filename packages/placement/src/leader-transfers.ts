import type { NodeId, RangeId } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'

/**
 * Which leaderships a node should hand over, and why, or why not: a pure function of what that node knows.
 *
 * A leadership moves to the range's preferred live replica, and only from a node that leads more ranges to one that
 * leads fewer, while some node leads at least two more than another. So a balanced cluster makes no move; every move
 * puts one more range where it is preferred, so moves end; and when preferences are even, as those of
 * `initialPlacement` are, they end in balance. A draining node gives all of its leaderships away. Nothing moves to a
 * replica that is behind, or, but for draining, to a node that has only just come up.
 */
export interface LeaderPicture {
  /** The deciding node. */
  readonly self: NodeId
  readonly nowMs: number
  /** Every node with replicas, this one included. */
  readonly nodes: readonly NodeView[]
  /** The ranges that this node leads. */
  readonly led: readonly LedRange[]
}

export interface NodeView {
  readonly nodeId: NodeId
  readonly isUp: boolean
  /** When it was last seen to come up, by the clock of `nowMs`; without meaning while it is down. */
  readonly upSinceMs: number
  /** It gives its leaderships away, and takes none. */
  readonly isDraining: boolean
  /** Ranges that it is believed to lead. */
  readonly leaders: number
}

export interface LedRange {
  readonly descriptor: Descriptor
  /** A transfer is under way. */
  readonly isTransferring: boolean
  /** How far each other replica's durable log is behind, in entries; a node that is missing is not known to follow. */
  readonly lagEntries: ReadonlyMap<NodeId, number>
}

export interface TransferLimits {
  /** Transfers of one node under way at once. */
  readonly transfersMax: number
  /** How long a node must have been up before it is given leaderships; draining does not wait for it. */
  readonly graceMs: number
  /** A replica further behind takes no leadership. */
  readonly lagEntriesMax: number
}

export const defaultTransferLimits: TransferLimits = { transfersMax: 4, graceMs: 5000, lagEntriesMax: 64 }

export type LeaderDecision =
  | { readonly kind: 'transfer'; readonly rangeId: RangeId; readonly to: NodeId; readonly reason: TransferReason }
  | { readonly kind: 'stay'; readonly rangeId: RangeId; readonly reason: StayReason }

/** `draining`: this node gives its leaderships away. `preferred`: the receiver is preferred and leads fewer ranges. */
export type TransferReason = 'draining' | 'preferred'

/**
 * `is-preferred`: this node is the preferred one. `balanced`: leaderships are even, or the preferred one leads no
 * fewer. `in-grace`: it came up too recently. `behind`: its replica lacks too much. `no-target`: no other node can
 * take it. `under-way`: it is being transferred. `enough-under-way`: later.
 */
export type StayReason =
  | 'is-preferred'
  | 'balanced'
  | 'in-grace'
  | 'behind'
  | 'no-target'
  | 'under-way'
  | 'enough-under-way'

/** The node that should lead the range: that of the first voter, in the descriptor's order, that is live; 0 if none is. */
export function preferredLeader(descriptor: Descriptor, liveNodes: ReadonlySet<NodeId>): NodeId {
  for (const { nodeId, type } of descriptor.replicas) if (type === 'voter' && liveNodes.has(nodeId)) return nodeId
  return 0
}

/** A decision for every range led, in order of range id; at most `transfersMax` transfers are under way with these. */
export function decideLeaderTransfers(picture: LeaderPicture, limits: TransferLimits): LeaderDecision[] {
  const round = new Round(picture, limits)
  return [...picture.led].sort((a, b) => a.descriptor.rangeId - b.descriptor.rangeId).map((led) => round.decide(led))
}

/** The transfers among decisions. */
export function takeTransfers(decisions: readonly LeaderDecision[]): Extract<LeaderDecision, { kind: 'transfer' }>[] {
  return decisions.filter((decision) => decision.kind === 'transfer')
}

/** One round of decisions: what was decided counts as if it had happened. */
class Round {
  readonly #picture: LeaderPicture
  readonly #limits: TransferLimits
  readonly #nodes: ReadonlyMap<NodeId, NodeView>
  readonly #live: ReadonlySet<NodeId>
  readonly #leaders: Map<NodeId, number>
  readonly #isDraining: boolean
  #underWay: number

  constructor(picture: LeaderPicture, limits: TransferLimits) {
    const { nodes, self, led } = picture
    this.#picture = picture
    this.#limits = limits
    this.#nodes = new Map(nodes.map((node) => [node.nodeId, node]))
    this.#isDraining = this.#nodes.get(self)?.isDraining ?? false
    // The deciding node is live, whatever the picture says of it.
    const isLive = ({ nodeId, isUp, isDraining }: NodeView): boolean => (isUp || nodeId === self) && !isDraining
    this.#live = new Set(nodes.filter(isLive).map(({ nodeId }) => nodeId))
    this.#leaders = new Map(nodes.map(({ nodeId, leaders }) => [nodeId, leaders]))
    this.#underWay = led.filter(({ isTransferring }) => isTransferring).length
    this.#move(self, 0, this.#underWay)
  }

  decide(led: LedRange): LeaderDecision {
    const { rangeId } = led.descriptor
    if (led.isTransferring) return { kind: 'stay', rangeId, reason: 'under-way' }
    const choice = this.#isDraining ? this.#chooseWhenDraining(led) : this.#choosePreferred(led)
    if (typeof choice === 'string') return { kind: 'stay', rangeId, reason: choice }
    if (this.#underWay >= this.#limits.transfersMax) return { kind: 'stay', rangeId, reason: 'enough-under-way' }
    this.#underWay++
    this.#move(this.#picture.self, choice, 1)
    return { kind: 'transfer', rangeId, to: choice, reason: this.#isDraining ? 'draining' : 'preferred' }
  }

  #choosePreferred(led: LedRange): NodeId | StayReason {
    const { self } = this.#picture
    const to = preferredLeader(led.descriptor, this.#live)
    if (to === 0) return 'no-target'
    if (to === self) return 'is-preferred'
    if (this.#isInGrace(to)) return 'in-grace'
    if (this.#leadersOf(to) >= this.#leadersOf(self) || this.#isBalanced()) return 'balanced'
    return this.#isCaughtUp(led, to) ? to : 'behind'
  }

  /** The live, caught-up voter that leads the fewest ranges; the earlier in the descriptor among equals. */
  #chooseWhenDraining(led: LedRange): NodeId | StayReason {
    const { self } = this.#picture
    let best: NodeId | StayReason = 'no-target'
    for (const { nodeId, type } of led.descriptor.replicas) {
      if (type !== 'voter' || nodeId === self || !this.#live.has(nodeId)) continue
      if (!this.#isCaughtUp(led, nodeId)) {
        if (typeof best === 'string') best = 'behind'
      } else if (typeof best === 'string' || this.#leadersOf(nodeId) < this.#leadersOf(best)) best = nodeId
    }
    return best
  }

  /** Whether no node that could lead leads two ranges more than another. */
  #isBalanced(): boolean {
    const candidates = [...this.#live].filter((nodeId) => !this.#isInGrace(nodeId))
    const counts = candidates.map((nodeId) => this.#leadersOf(nodeId))
    return Math.max(...counts) - Math.min(...counts) < 2
  }

  #isInGrace(nodeId: NodeId): boolean {
    const { self, nowMs } = this.#picture
    return nodeId !== self && nowMs - this.#nodes.get(nodeId)!.upSinceMs < this.#limits.graceMs
  }

  #isCaughtUp(led: LedRange, nodeId: NodeId): boolean {
    const lag = led.lagEntries.get(nodeId)
    return lag !== undefined && lag <= this.#limits.lagEntriesMax
  }

  #leadersOf(nodeId: NodeId): number {
    return this.#leaders.get(nodeId) ?? 0
  }

  #move(from: NodeId, to: NodeId, count: number): void {
    this.#leaders.set(from, this.#leadersOf(from) - count)
    this.#leaders.set(to, this.#leadersOf(to) + count)
  }
}
