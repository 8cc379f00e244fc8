import { SYSTEM_RANGE_ID, splitKeyspace } from '@cordillera/ranges'
import { canReceive, canSend, whyUntouchable } from './candidates.js'
import { replacement } from './keep-replicas.js'
import type { Choice, NoCode } from './operator.js'
import type { NodeStanding, RangeStanding, Standing } from './standing.js'

/**
 * Splits what is too large or too busy, and merges neighbours that are both small and cold.
 *
 * What a merge makes is at most half of what would be split, in bytes and by the maximum load of the last minutes, so
 * that neither undoes the other. A boundary between keyspaces is never merged away. Before a merge the right
 * neighbour's replicas are moved to the left one's nodes.
 */
export function chooseSplit(standing: Standing, range: RangeStanding): Choice {
  const { picture, rangeId, load } = range
  const { rangeSplitBytes, splitLoadPerSec, splitsMax } = standing.picture.settings
  if (rangeId === SYSTEM_RANGE_ID) return 'system-range'
  const isLarge = picture.bytes > rangeSplitBytes
  if (!isLarge && load <= splitLoadPerSec) return 'below-limits'
  const key = picture.loadSplit?.kind === 'key' && load > splitLoadPerSec ? picture.loadSplit.key : undefined
  if (!isLarge && key === undefined) return picture.loadSplit?.kind === 'one-hot-key' ? 'one-hot-key' : 'no-sample'
  const untouchable = whyUntouchable(range)
  if (untouchable !== undefined) return untouchable
  if (standing.splits >= splitsMax) return 'enough-under-way'
  if (isLarge) return { code: 'size', operator: { kind: 'split', rangeId } }
  return { code: 'load', operator: { kind: 'split', rangeId, key: key! } }
}

/**
 * Pairs neighbours that are to be merged, from the left, as many as may be merged at once; a range is in one pair at
 * most. A pair is kept while one of the two changes, and until it is one range neither is moved about for balance.
 */
export function pairForMerges(standing: Standing): void {
  const { ranges, picture } = standing
  const pairsMax = Math.min(picture.settings.mergesMax, ranges.length - picture.settings.rangesMin)
  let pairs = 0
  for (let i = 0; i + 1 < ranges.length && pairs < pairsMax; i++) {
    const [left, right] = [ranges[i]!, ranges[i + 1]!]
    if (whyNotMerged(standing, left, right) !== undefined || whyNotPaired(standing, left, right) !== undefined) continue
    left.partner = right
    right.partner = left
    pairs++
    i++
  }
}

/** What a merge would have to wait for: others are merged meanwhile. */
function whyNotPaired(standing: Standing, left: RangeStanding, right: RangeStanding): NoCode | undefined {
  for (const { leader, state } of [left, right]) {
    if (leader === undefined) return 'no-leader'
    if (state === 'joint' || state === 'local-repair') return state
  }
  if (!right.members.every(({ isUp }) => isUp) || !left.members.every(({ isUp }) => isUp)) return 'node-down'
  if (left.members.some((node) => !node.receives && !right.members.includes(node))) return 'no-target'
  return standing.diversity(left.voters) < standing.diversity(right.voters) ? 'loses-spread' : undefined
}

/** Why two neighbours stay two; undefined when they should be one. */
export function whyNotMerged({ picture }: Standing, left: RangeStanding, right: RangeStanding): NoCode | undefined {
  const { rangeMergeBytes, rangeSplitBytes, splitLoadPerSec, mergeCooldownMs } = picture.settings
  if (left.rangeId === SYSTEM_RANGE_ID || right.rangeId === SYSTEM_RANGE_ID) return 'system-range'
  const [a, b] = [left.picture, right.picture]
  if (Math.max(a.bytes, b.bytes) >= rangeMergeBytes || a.bytes + b.bytes > rangeSplitBytes / 2) return 'too-large'
  if (a.loadMaxPerSec + b.loadMaxPerSec > splitLoadPerSec / 2) return 'too-busy'
  if (picture.nowMs - Math.max(a.lastChangedMs, b.lastChangedMs) < mergeCooldownMs) return 'cooldown'
  if (b.startIsPinned === true) return 'pinned-boundary'
  const boundary = splitKeyspace(b.descriptor.start)
  return boundary === undefined || boundary.key === '' ? 'keyspace-boundary' : undefined
}

/** The merge with the right neighbour, or a move that prepares it; asked of the left one of a pair. */
export function chooseMerge(standing: Standing, left: RangeStanding): Choice {
  const right = standing.ranges[left.at + 1]
  if (right === undefined) return 'no-right-neighbour'
  const reason = whyNotMerged(standing, left, right)
  if (reason !== undefined) return reason
  if (left.partner !== right) return whyUnpaired(standing, left, right)
  const untouchable = whyUntouchable(left) ?? whyUntouchable(right)
  return untouchable ?? chooseAlignment(standing, left, right)
}

function whyUnpaired(standing: Standing, left: RangeStanding, right: RangeStanding): NoCode {
  if (left.partner !== undefined || right.partner !== undefined) return 'paired-elsewhere'
  const reason = whyNotPaired(standing, left, right)
  if (reason !== undefined) return reason
  return standing.ranges.length <= standing.picture.settings.rangesMin ? 'few-ranges' : 'enough-under-way'
}

function chooseAlignment(standing: Standing, left: RangeStanding, right: RangeStanding): Choice {
  const wanted = left.members.filter((node) => !right.members.includes(node))
  const unwanted = right.members.filter((node) => !left.members.includes(node))
  if (wanted.length === 0 && unwanted.length === 0) {
    return { code: 'small-and-cold', operator: { kind: 'merge', rangeId: left.rangeId, rightId: right.rangeId } }
  }
  // A leader is not replaced: when all others are where they should be, it hands over to one of them.
  const movable = unwanted.filter((node) => node !== right.leader || right.voters.length === 1)
  if (movable.length === 0) return handOver(right)
  if (!canSend(standing, right)) return 'enough-under-way'
  let best: { from: NodeStanding; to: NodeStanding; gain: number } | undefined
  for (const from of movable) {
    for (const to of wanted) {
      if (!to.receives || !canReceive(standing, to, right)) continue
      const gain = standing.distanceTo(to, right.voters, from) - standing.distanceTo(from, right.voters)
      if (best === undefined || gain > best.gain) best = { from, to, gain }
    }
  }
  if (best === undefined) return 'enough-under-way'
  return { code: 'align-for-merge', operator: replacement(right, best.from, best.to) }
}

function handOver(right: RangeStanding): Choice {
  const { leader, rangeId, voters, partner } = right
  const to = voters.find((node) => partner?.members.includes(node) && node.mayLead)
  if (to === undefined || leader === undefined) return 'no-target'
  return {
    code: 'align-for-merge',
    operator: { kind: 'transfer-leader', rangeId, from: leader.nodeId, to: to.nodeId },
  }
}
