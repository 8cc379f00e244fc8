import { type Band, gainOfMove, isOutside, isOutsideInner, isWorth, replicaBand } from './bands.js'
import { canReceive, canSend, losesSpread, mix, whyUntouchable } from './candidates.js'
import { replacement } from './keep-replicas.js'
import type { LeaderBalance } from './leader-balance.js'
import type { Doing } from './operator.js'
import type { NodeStanding, RangeStanding, Standing } from './standing.js'

/**
 * Evens out how many replicas nodes hold: followers move from nodes with more to nodes with at least two fewer, as long
 * as the cost of the counts falls (see `bands.ts`). No move lowers the spread over failure domains.
 */
export class ReplicaBalance {
  readonly #standing: Standing
  readonly #leaders: LeaderBalance
  readonly #band: Band
  readonly #movable = new Map<NodeStanding, readonly RangeStanding[]>()

  constructor(standing: Standing, leaders: LeaderBalance) {
    this.#standing = standing
    this.#leaders = leaders
    this.#band = replicaBand(standing)
  }

  isOutside(node: NodeStanding): boolean {
    return node.receives && isOutside(this.#band, node.replicas)
  }

  decide(take: (choice: Doing) => void): void {
    const nodes = [...this.#standing.receivers]
    if (!nodes.some((node) => this.isOutside(node))) return
    const fullestFirst = [...nodes].sort((a, b) => b.replicas - a.replicas || a.nodeId - b.nodeId)
    for (const node of fullestFirst) {
      if (node.replicas <= this.#band.innerHigh) break
      this.#even(node, () => this.#moveFrom(node), take)
    }
    for (const node of fullestFirst.reverse()) {
      if (node.replicas >= this.#band.innerLow) break
      this.#even(node, () => this.#moveTo(node), take)
    }
  }

  #even(node: NodeStanding, next: () => Doing | undefined, take: (choice: Doing) => void): void {
    while (isOutsideInner(this.#band, node.replicas)) {
      const choice = next()
      if (choice === undefined) return
      take(choice)
    }
  }

  #moveFrom(from: NodeStanding): Doing | undefined {
    const movable = this.#movableFrom(from)
    return firstOf(movable.length === 0 ? [] : this.#byReplicas(1), (to) => this.#move(movable, from, to))
  }

  #moveTo(to: NodeStanding): Doing | undefined {
    return firstOf(this.#byReplicas(-1), (from) =>
      this.#gains(from, to) ? this.#move(this.#movableFrom(from), from, to) : undefined,
    )
  }

  #byReplicas(sign: 1 | -1): NodeStanding[] {
    return [...this.#standing.receivers].sort((a, b) => sign * (a.replicas - b.replicas) || a.nodeId - b.nodeId)
  }

  /** One of the ranges that may go from the one node to the other, none rather than another by its size or load. */
  #move(movable: readonly RangeStanding[], from: NodeStanding, to: NodeStanding): Doing | undefined {
    if (!this.#gains(from, to) || to.receiving.moves >= this.#standing.picture.settings.movesPerNodeMax)
      return undefined
    let best: RangeStanding | undefined
    for (const range of movable) {
      if (best !== undefined && mix(range.rangeId, to.nodeId) >= mix(best.rangeId, to.nodeId)) continue
      if (this.#mayMove(range, from, to)) best = range
    }
    return best && { code: 'replica-count', operator: replacement(best, from, to) }
  }

  #gains(from: NodeStanding, to: NodeStanding): boolean {
    return from.replicas - to.replicas >= 2 && isWorth(this.#gain(from, to))
  }

  #gain(from: NodeStanding, to: NodeStanding): number {
    return gainOfMove(this.#band, from.replicas, to.replicas)
  }

  /** The ranges whose replica here may move, wherever it goes: as of the first question, and perhaps fewer by now. */
  #movableFrom(from: NodeStanding): readonly RangeStanding[] {
    let movable = this.#movable.get(from)
    if (movable === undefined) {
      movable = from.held.filter((range) => {
        const { voters, leader, partner } = range
        if (whyUntouchable(range) !== undefined || partner !== undefined || !voters.includes(from)) return false
        return (leader !== from || voters.length === 1) && voters.every(({ isUp }) => isUp)
      })
      this.#movable.set(from, movable)
    }
    return movable
  }

  /** The leadership and the load of an only voter go as well: all of that together must gain. */
  #mayMove(range: RangeStanding, from: NodeStanding, to: NodeStanding): boolean {
    return (
      range.state === 'free' &&
      canSend(this.#standing, range) &&
      !range.members.includes(to) &&
      canReceive(this.#standing, to, range) &&
      !losesSpread(this.#standing, range, from, to) &&
      (range.leader !== from || !to.mayLead || this.#leaders.mayGoAlong(range, from, to, this.#gain(from, to)))
    )
  }
}

function firstOf<T>(nodes: readonly NodeStanding[], find: (node: NodeStanding) => T | undefined): T | undefined {
  for (const node of nodes) {
    const found = find(node)
    if (found !== undefined) return found
  }
  return undefined
}
