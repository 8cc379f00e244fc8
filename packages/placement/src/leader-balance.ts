import { SYSTEM_RANGE_ID } from '@cordillera/ranges'
import {
  type Band,
  bandBeside,
  costOf,
  countBand,
  gainOfMove,
  isOutside,
  isOutsideInner,
  isWorth,
  LARGE,
  type LoadBand,
  loadBand,
  movableLoad,
  replicaBand,
} from './bands.js'
import { canReceive, canSend, canTakeOver, canTransfer, losesSpread } from './candidates.js'
import { replacement } from './keep-replicas.js'
import type { DoCode, Doing } from './operator.js'
import type { NodeStanding, RangeStanding, Standing } from './standing.js'

/**
 * Balances leaderships, and the requests that come with them, in one sum of costs: a move for one of them may worsen
 * the other only by less than half of what it gains.
 *
 * A leadership moves for its load only when that leaves the receiver below what the giver had by a margin of half the
 * tolerance: noise of a quarter of the tolerance does not bring it back. The largest range of a node stays where it is when
 * it is at least half an even share; the others make room for it. See decisions/0004. Who leads the system range decides all
 * this: were it moved, the next one would begin by hearing everything anew, and move it back.
 */
export class LeaderBalance {
  readonly #standing: Standing
  readonly #counts: Band
  readonly #loads: LoadBand
  readonly #replicas: Band
  /** Ranges of at least half an even share. */
  readonly #large: ReadonlySet<RangeStanding>
  /** The largest of them that a node leads, by its place. */
  readonly #largestAt: (RangeStanding | undefined)[]
  /** Of half a leadership beyond the band: beside large ranges, whose load is never quite the same, bands end in fractions. */
  readonly #countGainMin: number
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
    const largeMin = Math.max(this.#loads.share * LARGE, balanceLoadMinPerSec)
    this.#large = new Set(led.filter(({ load }) => load > largeMin))
    this.#largestAt = standing.nodes.map(() => undefined)
    this.#noteLargest()
    this.#countGainMin = (0.5 / this.#counts.mean) ** 2
    this.#marginPerSec = (this.#loads.innerHigh - this.#loads.innerLow) / 2
    this.#loadMinPerSec = (this.#loads.share * balanceTolerance) / 100
  }

  /**
   * Transfers, until every node is in the inner band or nothing improves; when none is under way any more, replicas move, if
   * they may, where transfers do not help.
   */
  decide(take: (choice: Doing) => void, mayMoveReplicas: boolean): void {
    const { leading } = this.#standing
    if (!leading.some((node) => this.isOutside(node))) return
    for (const node of this.#worstFirst()) if (this.#isOutsideInner(node)) this.#transferFor(node, take)
    if (!mayMoveReplicas || leading.some(({ transfersFrom }) => transfersFrom > 0)) return
    for (const node of this.#worstFirst()) {
      if (this.#loadOf(node) <= this.#loads.high) continue
      const choice = this.#bestMoveFrom(node)
      if (choice === undefined) continue
      take(choice)
      this.#noteLargest()
    }
  }

  /** Whether the node is too far off the mean, in leaderships or in load. */
  isOutside(node: NodeStanding): boolean {
    return isOutside(this.#countsOf(node), node.leaders) || isOutside(this.#loads, this.#loadOf(node))
  }

  isGiant(range: RangeStanding): boolean {
    return this.#loads.giants.has(range)
  }

  /** It is what its node is left to serve: moved, it would be as much elsewhere. */
  isLargest(range: RangeStanding, node: NodeStanding): boolean {
    return this.#largestAt[node.at] === range
  }

  #isOutsideInner(node: NodeStanding): boolean {
    return isOutsideInner(this.#countsOf(node), node.leaders) || isOutsideInner(this.#loads, this.#loadOf(node))
  }

  #worstFirst(): NodeStanding[] {
    const costs = this.#standing.leading.map((node) => ({ node, cost: this.#cost(node) }))
    return costs.sort((a, b) => b.cost - a.cost || a.node.nodeId - b.node.nodeId).map(({ node }) => node)
  }

  #cost(node: NodeStanding): number {
    return (
      this.#countCost(node.leaders, this.#largestLoad(node)) + LOAD_WEIGHT * costOf(this.#loads, this.#loadOf(node))
    )
  }

  #countCost(leaders: number, largest: number): number {
    return costOf(bandBeside(this.#counts, this.#loads, largest), leaders)
  }

  #countsOf(node: NodeStanding): Band {
    return bandBeside(this.#counts, this.#loads, this.#largestLoad(node))
  }

  #loadOf(node: NodeStanding): number {
    return movableLoad(this.#loads, node.load, this.#largestLoad(node))
  }

  #largestLoad(node: NodeStanding): number {
    return this.#largestAt[node.at]?.load ?? 0
  }

  #largestLoadWith(range: RangeStanding, node: NodeStanding): number {
    return this.#large.has(range) ? Math.max(this.#largestLoad(node), range.load) : this.#largestLoad(node)
  }

  #noteLargest(): void {
    this.#largestAt.fill(undefined)
    for (const range of this.#large) {
      const at = range.leader?.at ?? -1
      if (at >= 0 && range.load > (this.#largestAt[at]?.load ?? 0)) this.#largestAt[at] = range
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
      if (this.#large.has(range)) this.#noteLargest()
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
    if (range.rangeId === SYSTEM_RANGE_ID || this.isLargest(range, from)) return undefined
    const counts = this.#gainOfCount(range, from, to)
    const { gain: loads, difference } = this.#gainOfLoad(range, from, to)
    if (!isWorth(counts, loads)) return undefined
    const isForLoad = loads > 0 && range.load >= this.#loadMinPerSec && difference >= this.#marginPerSec
    // Who has too many itself hands over first: nothing is passed on.
    const hasRoom = to.leaders < this.#countsOf(to).innerHigh
    const isForCount = hasRoom && counts >= this.#countGainMin && from.leaders - to.leaders >= 2
    if (!isForLoad && !isForCount) return undefined
    return { total: counts + loads, difference, code: isForLoad && loads >= counts ? 'load' : 'leader-count' }
  }

  /** Whether it is worth it that the leadership goes with a replica, whose move gains this much of itself. */
  mayGoAlong(range: RangeStanding, from: NodeStanding, to: NodeStanding, gain: number): boolean {
    if (this.isLargest(range, from)) return false
    return isWorth(gain, this.#gainOfCount(range, from, to), this.#gainOfLoad(range, from, to).gain)
  }

  /** The giver keeps its largest range; the receiver may get a larger one than it has. */
  #gainOfCount(range: RangeStanding, from: NodeStanding, to: NodeStanding): number {
    const [largestFrom, largestTo] = [this.#largestLoad(from), this.#largestLoad(to)]
    return (
      this.#countCost(from.leaders, largestFrom) +
      this.#countCost(to.leaders, largestTo) -
      this.#countCost(from.leaders - 1, largestFrom) -
      this.#countCost(to.leaders + 1, this.#largestLoadWith(range, to))
    )
  }

  /** `difference` is how far below the giver, as it was, the receiver will be. */
  #gainOfLoad(range: RangeStanding, from: NodeStanding, to: NodeStanding): { gain: number; difference: number } {
    const before = this.#loadOf(from)
    const after = movableLoad(this.#loads, to.load + range.load, this.#largestLoadWith(range, to))
    const costBefore = costOf(this.#loads, before) + costOf(this.#loads, this.#loadOf(to))
    const costAfter = costOf(this.#loads, before - range.load) + costOf(this.#loads, after)
    return { gain: LOAD_WEIGHT * (costBefore - costAfter), difference: before - after }
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
      if (!range.voters.every(({ isUp, at }) => isUp && at >= 0)) continue
      for (const to of targets) {
        if (range.members.includes(to) || !canReceive(this.#standing, to, range)) continue
        const gain = this.#gainOf(range, node, to)
        // A snapshot costs more than a transfer: it must leave twice the margin.
        if (gain?.code !== 'load' || gain.difference < 2 * this.#marginPerSec) continue
        if (best !== undefined && gain.total <= best.total) continue
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
      if (losesSpread(this.#standing, range, follower, to)) continue
      if (best === undefined || follower.replicas > best.replicas) best = follower
    }
    return best
  }
}

/** Leaderships are counted for what they may come to serve, load is what they serve: it weighs more. */
const LOAD_WEIGHT = 4

interface Transfer {
  readonly range: RangeStanding
  readonly from: NodeStanding
  readonly to: NodeStanding
  readonly total: number
}

interface Gain {
  readonly total: number
  /** How far below the giver, as it was, the receiver will be: requests a second. */
  readonly difference: number
  readonly code: DoCode
}
