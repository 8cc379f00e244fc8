import {
  type Band,
  costOf,
  countBand,
  isOutside,
  isOutsideInner,
  type LoadBand,
  loadBand,
  movableLoad,
} from './bands.js'
import { canReceive, canSend, canTakeOver, canTransfer } from './candidates.js'
import { replacement } from './keep-replicas.js'
import type { DoCode, Doing, Operator } from './operator.js'
import type { NodeStanding, RangeStanding, Standing } from './standing.js'

/**
 * Balances leaderships, and the requests that come with them, in one sum of costs: a move for one of them may worsen
 * the other only by less than it gains.
 *
 * A leadership moves for its load only when that leaves the receiver below what the giver had by a margin of half the
 * tolerance: noise smaller than that does not bring it back. A range that alone exceeds a node's even share stays where
 * it is, unless its node leads a larger one.
 */
export class LeaderBalance {
  readonly #standing: Standing
  readonly #counts: Band
  readonly #loads: LoadBand
  readonly #replicas: Band
  /** The largest giant that a node leads, by its place. */
  readonly #giantAt: (RangeStanding | undefined)[]
  readonly #marginPerSec: number
  /** What is too small to be worth a move. */
  readonly #loadMinPerSec: number

  constructor(standing: Standing) {
    this.#standing = standing
    const { leading, ranges, picture } = standing
    const { balanceTolerance, balanceLoadMinPerSec } = picture.settings
    const led = ranges.filter(({ leader }) => leader?.mayLead === true)
    this.#counts = countBand(led.length, leading.length, balanceTolerance)
    this.#loads = loadBand(led, leading.length, balanceTolerance, balanceLoadMinPerSec)
    this.#replicas = replicaBand(standing)
    this.#giantAt = standing.nodes.map(() => undefined)
    this.#noteGiants()
    this.#marginPerSec = (this.#loads.innerHigh - this.#loads.innerLow) / 2
    this.#loadMinPerSec = (this.#loads.share * balanceTolerance) / 100
  }

  /** Transfers, then moves of replicas where transfers do not help, until every node is in the inner band or nothing improves. */
  decide(take: (choice: Doing) => void): void {
    const { leading } = this.#standing
    if (!leading.some((node) => this.isOutside(node))) return
    for (const node of this.#worstFirst()) {
      while (this.#isOutsideInner(node)) {
        const choice = this.#bestTransferOf(node)
        if (choice === undefined) break
        take(choice)
        this.#noteGiants()
      }
    }
    for (const node of this.#worstFirst()) {
      if (this.#loadOf(node) <= this.#loads.high) break
      if (node.transfersFrom > 0) continue
      const choice = this.#bestMoveFrom(node)
      if (choice === undefined) continue
      take(choice)
      this.#noteGiants()
    }
  }

  /** Whether the node is too far off the mean, in leaderships or in load. */
  isOutside(node: NodeStanding): boolean {
    return isOutside(this.#counts, node.leaders) || isOutside(this.#loads, this.#loadOf(node))
  }

  isGiant(range: RangeStanding): boolean {
    return this.#loads.giants.has(range)
  }

  /** It is what its node is left to serve: moved, it would be as much elsewhere. */
  isLargestGiant(range: RangeStanding, node: NodeStanding): boolean {
    return this.#giantAt[node.at] === range
  }

  #isOutsideInner(node: NodeStanding): boolean {
    return isOutsideInner(this.#counts, node.leaders) || isOutsideInner(this.#loads, this.#loadOf(node))
  }

  #worstFirst(): NodeStanding[] {
    const costs = this.#standing.leading.map((node) => ({ node, cost: this.#cost(node) }))
    return costs.sort((a, b) => b.cost - a.cost || a.node.nodeId - b.node.nodeId).map(({ node }) => node)
  }

  #cost(node: NodeStanding): number {
    return costOf(this.#counts, node.leaders) + costOf(this.#loads, this.#loadOf(node))
  }

  #loadOf(node: NodeStanding): number {
    return movableLoad(this.#loads, node.load, this.#giantAt[node.at])
  }

  #noteGiants(): void {
    this.#giantAt.fill(undefined)
    for (const range of this.#loads.giants) {
      const at = range.leader?.at ?? -1
      if (at >= 0 && range.load > (this.#giantAt[at]?.load ?? 0)) this.#giantAt[at] = range
    }
  }

  /** The transfer from or to the node that gains most. */
  #bestTransferOf(node: NodeStanding): Doing | undefined {
    let best: { range: RangeStanding; to: NodeStanding; gain: Gain } | undefined
    for (const range of node.held) {
      const { leader } = range
      if (range.state !== 'free' || leader === undefined || !leader.mayLead || !range.voters.includes(node)) continue
      for (const to of leader === node ? range.voters : [node]) {
        if (!to.mayLead || !canTakeOver(range, to) || !canTransfer(this.#standing, leader, to)) continue
        if (range.partner !== undefined && !range.partner.members.includes(to)) continue
        const gain = this.#gainOf(range, leader, to)
        if (gain !== undefined && (best === undefined || gain.total > best.gain.total)) best = { range, to, gain }
      }
    }
    if (best === undefined) return undefined
    const { range, to, gain } = best
    const operator: Operator = {
      kind: 'transfer-leader',
      rangeId: range.rangeId,
      from: range.leader!.nodeId,
      to: to.nodeId,
    }
    return { code: gain.code, operator }
  }

  /** What becomes better when the leadership moves; undefined when that is not worth it. */
  #gainOf(range: RangeStanding, from: NodeStanding, to: NodeStanding): Gain | undefined {
    const { load } = range
    if (this.isLargestGiant(range, from)) return undefined
    const [counts, loads] = [this.#gainOfCount(from, to), this.#gainOfLoad(range, from, to)]
    if (counts + loads <= GAIN_MIN) return undefined
    const difference = this.#loadOf(from) - this.#loadOf(to)
    const isForLoad =
      loads > 0 && load >= this.#loadMinPerSec && difference - this.#loadTaken(range, to) >= this.#marginPerSec
    const isForCount = counts > 0 && from.leaders - to.leaders >= 2
    if (!isForLoad && !isForCount) return undefined
    return { total: counts + loads, code: isForLoad && loads >= counts ? 'load' : 'leader-count' }
  }

  /** By how much the cost falls when the leadership goes with a replica; below 0 when it rises. */
  gainOfGoing(range: RangeStanding, from: NodeStanding, to: NodeStanding): number {
    return this.#gainOfCount(from, to) + this.#gainOfLoad(range, from, to)
  }

  #gainOfCount(from: NodeStanding, to: NodeStanding): number {
    return gainOfMove(this.#counts, from.leaders, to.leaders)
  }

  #gainOfLoad(range: RangeStanding, from: NodeStanding, to: NodeStanding): number {
    const [fromLoad, toLoad] = [this.#loadOf(from), this.#loadOf(to)]
    return (
      costOf(this.#loads, fromLoad) +
      costOf(this.#loads, toLoad) -
      costOf(this.#loads, fromLoad - this.#loadLost(range, from)) -
      costOf(this.#loads, toLoad + this.#loadTaken(range, to))
    )
  }

  /** The largest giant of a node counts as an even share. */
  #loadLost(range: RangeStanding, from: NodeStanding): number {
    return this.isLargestGiant(range, from) ? this.#loads.share : range.load
  }

  #loadTaken(range: RangeStanding, to: NodeStanding): number {
    return this.isGiant(range) && this.#giantAt[to.at] === undefined ? this.#loads.share : range.load
  }

  /**
   * Where no voter can take load over, a node without a replica can: it replaces a follower, and leads afterwards. The
   * costs of replica counts are part of the sum.
   */
  #bestMoveFrom(node: NodeStanding): Doing | undefined {
    let best: { range: RangeStanding; follower: NodeStanding; to: NodeStanding; total: number } | undefined
    const targets = this.#standing.leading.filter((to) => this.#loadOf(to) < this.#loads.share)
    for (const range of node.held) {
      if (range.leader !== node || range.state !== 'free' || range.partner !== undefined) continue
      if (range.load < this.#marginPerSec / 2 || !canSend(this.#standing, range)) continue
      for (const to of targets) {
        if (range.members.includes(to) || !canReceive(this.#standing, to, range)) continue
        const gain = this.#gainOf(range, node, to)
        if (gain?.code !== 'load' || (best !== undefined && gain.total <= best.total)) continue
        const follower = this.#followerToReplace(range, to)
        if (follower === undefined) continue
        const total = gain.total + gainOfMove(this.#replicas, follower.replicas, to.replicas)
        if (total > GAIN_MIN && (best === undefined || total > best.total)) best = { range, follower, to, total }
      }
    }
    return best && { code: 'load', operator: replacement(best.range, best.follower, best.to, true) }
  }

  /** The follower on the fullest node, of those whose replacement loses no spread; the leader when it is alone. */
  #followerToReplace(range: RangeStanding, to: NodeStanding): NodeStanding | undefined {
    let best: NodeStanding | undefined
    for (const follower of range.voters) {
      if (follower === range.leader && range.voters.length > 1) continue
      if (!follower.isUp || losesSpread(this.#standing, range, follower, to)) continue
      if (best === undefined || follower.replicas > best.replicas) best = follower
    }
    return best
  }
}

interface Gain {
  readonly total: number
  readonly code: DoCode
}

/** Below it a gain may be an error of rounding. */
export const GAIN_MIN = 1e-9

/** By how much the cost falls when one goes from a node that has `from` to one that has `to`. */
export function gainOfMove(band: Band, from: number, to: number): number {
  return costOf(band, from) + costOf(band, to) - costOf(band, from - 1) - costOf(band, to + 1)
}

export function losesSpread(
  standing: Standing,
  { voters }: RangeStanding,
  from: NodeStanding,
  to: NodeStanding,
): boolean {
  return standing.distanceTo(to, voters, from) < standing.distanceTo(from, voters)
}

/** Of the nodes that may be given replicas. */
export function replicaBand({ receivers, picture }: Standing): Band {
  let total = 0
  for (const { replicas } of receivers) total += replicas
  return countBand(total, receivers.length, picture.settings.balanceTolerance)
}
