import type { NodeId, ReplicaId } from '@cordillera/base'
import {
  canSend,
  canTakeOver,
  canTransfer,
  chooseTarget,
  hasQuorum,
  liveCount,
  voterOn,
  whyUntouchable,
} from './candidates.js'
import type { Choice, DoCode } from './operator.js'
import type { NodeStanding, RangeStanding, Standing } from './standing.js'

/**
 * Keeps the number of replicas: replaces what died, adds what is missing, empties nodes that leave, removes what is too
 * much, in this order. No choice leaves fewer live voters than a quorum.
 */

/** 0 is first: one more failure would stop the range. 3 is last. Undefined: nothing to do. */
export function repairUrgency(standing: Standing, range: RangeStanding): 0 | 1 | 2 | 3 | undefined {
  const { voters, members, picture } = range
  const isShort = voters.length < standing.replicas || voters.some(({ isDead }) => isDead)
  if (isShort) return (liveCount(voters) - 1) * 2 <= voters.length ? 0 : 1
  if (members.some(({ isLeaving }) => isLeaving)) return 2
  if (voters.length > standing.replicasMax) return 3
  return members.length > voters.length && hasStray(picture.descriptor.replicas) ? 3 : undefined
}

function hasStray(replicas: readonly { readonly type: string }[]): boolean {
  return replicas.some(({ type }) => type === 'learner')
}

export function chooseRepair(standing: Standing, range: RangeStanding): Choice {
  const untouchable = whyUntouchable(range)
  if (untouchable !== undefined) return untouchable
  const { voters, leader } = range
  const stray = range.picture.descriptor.replicas.find(({ type }) => type === 'learner')
  if (stray !== undefined) {
    const { replicaId, nodeId } = stray
    return { code: 'stray-learner', operator: removal(standing, range, replicaId, nodeId) }
  }
  if (voters.length > standing.replicasMax) return chooseRemoval(standing, range)
  const dead = voters.find(({ isDead }) => isDead)
  if (dead !== undefined) return replace(standing, range, dead, 'dead-node')
  if (voters.length < standing.replicas) return chooseAddition(standing, range)
  const leaving = voters.filter(({ isLeaving }) => isLeaving)
  const movable = leaving.find((node) => node !== leader || voters.length === 1)
  if (movable !== undefined) return replace(standing, range, movable, 'decommission')
  return leaving.length > 0 ? 'leads' : 'enough-replicas'
}

/** The replacement of a node's voter by one where it is best. */
export function replace(standing: Standing, range: RangeStanding, from: NodeStanding, code: DoCode): Choice {
  if (!canSend(standing, range)) return 'enough-under-way'
  const to = chooseTarget(standing, range, from)
  return typeof to === 'string' ? to : { code, operator: replacement(range, from, to) }
}

export function replacement(range: RangeStanding, from: NodeStanding, to: NodeStanding, leads = false) {
  return {
    kind: 'replace-replica',
    rangeId: range.rangeId,
    replicaId: voterOn(range, from),
    from: from.nodeId,
    to: to.nodeId,
    leads: leads || range.leader === from,
  } as const
}

/**
 * An even number of voters bears no more failures than one fewer: the first of two is added only when there is a node
 * for the second as well.
 */
function chooseAddition(standing: Standing, range: RangeStanding): Choice {
  const free = standing.receivers.filter((node) => !range.members.includes(node)).length
  if (free < 2 - (range.voters.length % 2 === 0 ? 1 : 0)) return 'no-target'
  if (!canSend(standing, range)) return 'enough-under-way'
  const to = chooseTarget(standing, range)
  if (typeof to === 'string') return to
  return { code: 'under-replicated', operator: { kind: 'add-replica', rangeId: range.rangeId, to: to.nodeId } }
}

/** Dead nodes first, then leaving, then silent ones; then what adds least to the spread; then the fullest node. */
function chooseRemoval(standing: Standing, range: RangeStanding): Choice {
  const rank = (node: NodeStanding): number => (node.isDead ? 3 : node.isLeaving ? 2 : node.isUp ? 0 : 1)
  const apart = (node: NodeStanding): number => standing.distanceTo(node, range.voters)
  const order = (a: NodeStanding, b: NodeStanding): number =>
    rank(b) - rank(a) || apart(a) - apart(b) || b.replicas - a.replicas || a.nodeId - b.nodeId
  const others = range.voters.filter((node) => node !== range.leader)
  if (others.length === 0) return 'leads'
  const [from] = others.filter((node) => hasQuorum(range.voters.filter((voter) => voter !== node))).sort(order)
  if (from === undefined) return 'would-lose-quorum'
  return { code: 'over-replicated', operator: removal(standing, range, voterOn(range, from), from.nodeId) }
}

function removal({ replicasMax }: Standing, { rangeId }: RangeStanding, replicaId: ReplicaId, from: NodeId) {
  return { kind: 'remove-replica', rangeId, replicaId, from, votersLeft: replicasMax } as const
}

/** Hands over what a draining or leaving node leads: to the node that leads the least of those that can take it. */
export function chooseDrain(standing: Standing, range: RangeStanding): Choice {
  const { leader, voters, rangeId, state } = range
  if (leader === undefined) return 'no-leader'
  const membership = standing.picture.nodes[leader.at]?.membership
  if (membership === undefined || membership === 'member') return 'in-place'
  if (state !== 'free') return state
  const able = voters.filter((node) => node.receives && canTakeOver(range, node))
  if (able.length === 0) return 'no-target'
  const open = able.filter((node) => canTransfer(standing, leader, node))
  if (open.length === 0) return 'enough-under-way'
  const to = open.reduce((a, b) => (b.leaders < a.leaders ? b : a))
  return {
    code: leader.isLeaving ? 'decommission' : 'drain',
    operator: { kind: 'transfer-leader', rangeId, from: leader.nodeId, to: to.nodeId },
  }
}
