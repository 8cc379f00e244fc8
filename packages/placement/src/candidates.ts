import type { NodeId, RangeId, ReplicaId } from '@cordillera/base'
import type { NoCode } from './operator.js'
import type { NodeStanding, RangeStanding, Standing, Traffic } from './standing.js'

/**
 * What every rule asks before it changes something: may this range be touched, is there room for one more move, and
 * where is a new replica best?
 */

/** Why the replicas of a range must be left alone; undefined when they may be changed. */
export function whyUntouchable(range: RangeStanding): NoCode | undefined {
  if (range.state !== 'free') return range.state
  if (!hasQuorum(range.voters)) return 'no-quorum'
  return range.leader === undefined ? 'no-leader' : undefined
}

export function hasQuorum(voters: readonly NodeStanding[]): boolean {
  return liveCount(voters) * 2 > voters.length
}

export function liveCount(nodes: readonly NodeStanding[]): number {
  let live = 0
  for (const { isUp } of nodes) if (isUp) live++
  return live
}

/** Whether the leader can send the range to one more node. */
export function canSend(standing: Standing, range: RangeStanding): boolean {
  return range.leader !== undefined && hasRoom(standing, range.leader.sending, range)
}

export function canReceive(standing: Standing, node: NodeStanding, range: RangeStanding): boolean {
  return hasRoom(standing, node.receiving, range)
}

function hasRoom({ picture }: Standing, { moves, bytes }: Traffic, range: RangeStanding): boolean {
  const { movesPerNodeMax, moveBytesPerNodeMax } = picture.settings
  return moves < movesPerNodeMax && (moves === 0 || bytes + range.picture.bytes <= moveBytesPerNodeMax)
}

/** Whether one more leadership may be on its way between these. */
export function canTransfer({ picture }: Standing, from: NodeStanding, to: NodeStanding): boolean {
  const { transfersPerNodeMax } = picture.settings
  return from.transfersFrom < transfersPerNodeMax && to.transfersTo < transfersPerNodeMax
}

/** Whether the node may lead the range at once. */
export function canTakeOver(range: RangeStanding, node: NodeStanding): boolean {
  return node !== range.leader && range.voters.includes(node) && range.picture.behind?.includes(node.nodeId) !== true
}

/**
 * The node for a new replica, beside the range's replicas without `except`: of those that are furthest from them, one with room, then
 * with the fewest replicas. A node that is nearer is not taken even when the others are busy: it would have to move again.
 */
export function chooseTarget(
  standing: Standing,
  range: RangeStanding,
  except?: NodeStanding,
): NodeStanding | 'no-target' | 'enough-under-way' {
  let furthest = -1
  let best: NodeStanding | undefined
  for (const node of standing.receivers) {
    if (range.members.includes(node)) continue
    const distance = standing.distanceTo(node, range.voters, except)
    if (distance < furthest) continue
    if (distance > furthest) {
      furthest = distance
      best = undefined
    }
    if (canReceive(standing, node, range) && (best === undefined || isEmptier(range.rangeId, node, best))) best = node
  }
  if (furthest < 0) return 'no-target'
  return best ?? 'enough-under-way'
}

/** Fewer replicas; among equals an order that differs from range to range. */
function isEmptier(rangeId: RangeId, a: NodeStanding, b: NodeStanding): boolean {
  return a.replicas < b.replicas || (a.replicas === b.replicas && mix(rangeId, a.nodeId) < mix(rangeId, b.nodeId))
}

/** A number in [0, 2^32) that depends on both and on nothing else. */
export function mix(rangeId: RangeId, nodeId: NodeId): number {
  let hash = Math.imul(rangeId, 0x9e3779b1) ^ Math.imul(nodeId, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  hash = Math.imul(hash ^ (hash >>> 13), 0x297a2d39)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** The voter on a node. */
export function voterOn(range: RangeStanding, node: NodeStanding): ReplicaId {
  const place = range.picture.descriptor.replicas.find(({ nodeId, type }) => nodeId === node.nodeId && type === 'voter')
  return place?.replicaId ?? 0
}

/** Whether the range's replicas would be nearer to one another with the one on `from` replaced by one on `to`. */
export function losesSpread(
  standing: Standing,
  { voters }: RangeStanding,
  from: NodeStanding,
  to: NodeStanding,
): boolean {
  return standing.distanceTo(to, voters, from) < standing.distanceTo(from, voters)
}
