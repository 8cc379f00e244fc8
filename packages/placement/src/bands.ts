import type { RangeStanding, Standing } from './standing.js'

/**
 * How uneven nodes are, as a cost that moves must lower.
 *
 * Nothing moves while every node is within the outer band around the mean. When one is not, moves go on until nodes are
 * within the inner band, half as wide: noise of half the tolerance starts nothing. The cost of a node is the square of
 * its distance from the inner band, in units of the mean; every move lowers the sum, which is why moves end.
 */
export interface Band {
  /** What one node has when all have the same; above 0. */
  readonly mean: number
  readonly low: number
  readonly high: number
  readonly innerLow: number
  readonly innerHigh: number
}

/** A band for things that are counted: it holds the whole numbers next to the mean. */
export function countBand(total: number, nodes: number, tolerance: number): Band {
  const mean = nodes === 0 ? 0 : total / nodes
  const around = (share: number): readonly [number, number] => [
    Math.min(Math.floor(mean), mean * (1 - share)),
    Math.max(Math.ceil(mean), mean * (1 + share)),
  ]
  const [low, high] = around(tolerance)
  const [innerLow, innerHigh] = around(tolerance / 2)
  return { mean: Math.max(mean, Number.MIN_VALUE), low, high, innerLow, innerHigh }
}

export function isOutside(band: Band, value: number): boolean {
  return value < band.low || value > band.high
}

export function isOutsideInner(band: Band, value: number): boolean {
  return value < band.innerLow || value > band.innerHigh
}

export function costOf(band: Band, value: number): number {
  const excess = Math.max(0, value - band.innerHigh, band.innerLow - value) / band.mean
  return excess * excess
}

/**
 * The band of the requests a second that nodes lead, and the ranges that alone exceed a node's even share. Whoever leads
 * such a *giant* has its load and little beside it; the even share is what that leaves to each of the others.
 */
export interface LoadBand extends Band {
  readonly giants: ReadonlySet<RangeStanding>
  /** Requests a second; 0 when all load is in giants. */
  readonly share: number
}

export function loadBand(
  ranges: readonly RangeStanding[],
  nodes: number,
  tolerance: number,
  loadMinPerSec: number,
): LoadBand {
  const giants = new Set<RangeStanding>()
  let rest = 0
  for (const { load } of ranges) rest += load
  let others = nodes
  // The even share only shrinks when giants are set aside, so that none of them has to be taken back.
  for (let isStable = nodes === 0; !isStable; ) {
    const share = rest / others
    const found = ranges.filter((range) => range.load > share && range.load >= loadMinPerSec && !giants.has(range))
    for (const range of found) {
      giants.add(range)
      rest -= range.load
    }
    others = Math.max(1, others - found.length)
    isStable = found.length === 0
  }
  const mean = nodes === 0 ? 0 : Math.max(0, rest) / others
  const outer = Math.max(mean * tolerance, loadMinPerSec)
  return {
    mean: Math.max(mean, loadMinPerSec, Number.MIN_VALUE),
    share: mean,
    low: mean - outer,
    high: mean + outer,
    innerLow: mean - outer / 2,
    innerHigh: mean + outer / 2,
    giants,
  }
}

/** A node's load, as far as it can be helped: what its largest range has beyond an even share is not counted. */
export function movableLoad({ share }: LoadBand, load: number, largest: number): number {
  return load - Math.max(0, largest - share)
}

/**
 * The count band of a node whose largest range is large: it may lead fewer ranges beside it, none when that range is an even
 * share by itself. At the size where a range becomes large the two bands are the same, so that noise there changes little.
 */
export function bandBeside(counts: Band, { share }: LoadBand, largest: number): Band {
  if (largest === 0 || largest <= share * LARGE) return counts
  const room = Math.max(0, (1 - largest / share) / (1 - LARGE))
  return { ...counts, low: counts.low * room, innerLow: counts.innerLow * room }
}

/** A range is large from this part of an even share on: the largest of a node stays, the others make room for it. */
export const LARGE = 0.5

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

/** The band of replicas, over the nodes that may be given some. */
export function replicaBand({ receivers, picture }: Standing): Band {
  let total = 0
  for (const { replicas } of receivers) total += replicas
  return countBand(total, receivers.length, picture.settings.balanceTolerance)
}
