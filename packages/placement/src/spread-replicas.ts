import { canReceive, canSend, whyUntouchable } from './candidates.js'
import { replacement } from './keep-replicas.js'
import type { Choice } from './operator.js'
import type { NodeStanding, RangeStanding, Standing } from './standing.js'

/**
 * Spreads the replicas of a range over failure domains: replaces the one whose replacement gains most, as long as one
 * gains anything, so that the spread only ever grows.
 */
export function chooseSpread(standing: Standing, range: RangeStanding): Choice {
  const { voters, leader } = range
  if (standing.diversity(voters) >= standing.bestDiversity(voters.length)) return 'well-spread'
  const untouchable = whyUntouchable(range)
  if (untouchable !== undefined) return untouchable
  if (!voters.every(({ isUp, at }) => isUp && at >= 0)) return 'node-down'
  let best: { from: NodeStanding; to: NodeStanding; gain: number; isOpen: boolean } | undefined
  for (const from of voters) {
    if (from === leader && voters.length > 1) continue
    const before = standing.distanceTo(from, voters)
    for (const to of standing.receivers) {
      if (range.members.includes(to)) continue
      const gain = standing.distanceTo(to, voters, from) - before
      if (gain <= 0 || (best !== undefined && gain < best.gain)) continue
      const isOpen = canReceive(standing, to, range)
      if (best === undefined || gain > best.gain || isBetter(from, to, isOpen, best)) best = { from, to, gain, isOpen }
    }
  }
  if (best === undefined) return 'no-better-node'
  if (!best.isOpen || !canSend(standing, range)) return 'enough-under-way'
  return { code: 'failure-domain', operator: replacement(range, best.from, best.to) }
}

/** Of moves that gain the same, one that is possible now, then the one that evens out most. */
function isBetter(
  from: NodeStanding,
  to: NodeStanding,
  isOpen: boolean,
  than: { readonly from: NodeStanding; readonly to: NodeStanding; readonly isOpen: boolean },
): boolean {
  if (isOpen !== than.isOpen) return isOpen
  return from.replicas - to.replicas > than.from.replicas - than.to.replicas
}
