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
import type { DoCode, Doing } from './operator.js'
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
    for (const node of this.#worstFirst()) if (this.#isOutsideInner(node)) this.#transferFor(node, take)
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

  /** Transfers from and to the node, those that gain most first, until it is in the inner band. */
  #transferFor(node: NodeStanding, take: (doing: Doing) => void): void {
    const transfers = this.#transfersOf(node).sort((a, b) => b.total - a.total)
    for (const { range, from, to } of transfers) {
      if (!this.#isOutsideInner(node)) return
      if (range.state !== 'free' || !canTransfer(this.#standing, from, to)) continue
      // What was taken before has changed the balance.
      const gain = this.#gainOf(range, from, to)
      if (gain === undefined) continue
      const { rangeId } = range
      take({ code: gain.code, operator: { kind: 'transfer-leader', rangeId, from: from.nodeId, to: to.nodeId } })
      if (this.isGiant(range)) this.#noteGiants()
    }
  }

  #transfersOf(node: NodeStanding): Transfer[] {
    const transfers: Transfer[] = []
    for (const range of node.held) {
      const from = range.leader
      if (range.state !== 'free' || from === undefined || !from.mayLead || !range.voters.includes(node)) continue
      if (from === node) {
        for (const to of range.voters) this.#noteTransfer(transfers, range, from, to)
      } else this.#noteTransfer(transfers, range, from, node)
    }
    return transfers
  }

  #noteTransfer(transfers: Transfer[], range: RangeStanding, from: NodeStanding, to: NodeStanding): void {
    if (!to.mayLead || !canTransfer(this.#standing, from, to) || !canTakeOver(range, to)) return
    if (range.partner !== undefined && !range.partner.members.includes(to)) return
    const gain = this.#gainOf(range, from, to)
    if (gain !== undefined) transfers.push({ range, from, to, total: gain.total })
  }

  /** What becomes better when the leadership moves; undefined when that is not worth it. */
  #gainOf(range: RangeStanding, from: NodeStanding, to: NodeStanding): Gain | undefined {
    const { load } = range
    if (this.isLargestGiant(range, from)) return undefined
    const [counts, loads] = [this.#gainOfCount(from, to), this.#gainOfLoad(range, from, to)]
    if (!isWorth(counts, loads)) return undefined
    const difference = this.#loadOf(from) - this.#loadOf(to)
    const isForLoad =
      loads > 0 && load >= this.#loadMinPerSec && difference - this.#loadTaken(range, to) >= this.#marginPerSec
    const isForCount = counts > 0 && from.leaders - to.leaders >= 2
    if (!isForLoad && !isForCount) return undefined
    return { total: counts + loads, code: isForLoad && loads >= counts ? 'load' : 'leader-count' }
  }

  /** Whether it is worth it that the leadership goes with a replica, whose move gains this much of itself. */
  mayGoAlong(range: RangeStanding, from: NodeStanding, to: NodeStanding, gain: number): boolean {
    return isWorth(gain, this.#gainOfCount(from, to), this.#gainOfLoad(range, from, to))
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
        const replicas = gainOfMove(this.#replicas, follower.replicas, to.replicas)
        const total = gain.total + replicas
        if (isWorth(gain.total, replicas) && (best === undefined || total > best.total))
          best = { range, follower, to, total }
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

interface Transfer {
  readonly range: RangeStanding
  readonly from: NodeStanding
  readonly to: NodeStanding
  readonly total: number
}

interface Gain {
  readonly total: number
  readonly code: DoCode
}

/**
 * Whether what becomes better outweighs what becomes worse by far: twice. A move and the one that undoes it are both
 * worth it only when what was gained shrinks to a quarter, not when loads are a little off.
 */
export function isWorth(...gains: readonly number[]): boolean {
  let total = 0
  for (const gain of gains) total += gain < 0 ? gain * 2 : gain
  return total > GAIN_MIN
}

/** Below it a gain may be an error of rounding. */
const GAIN_MIN = 1e-9

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
