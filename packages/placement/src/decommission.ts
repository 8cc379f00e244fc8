import type { NodeId, RangeId } from '@cordillera/base'
import { hasQuorum } from './candidates.js'
import type { ClusterPicture } from './cluster-picture.js'
import { effectiveReplicas } from './initial-placement.js'
import { type NodeStanding, type RangeStanding, Standing } from './standing.js'

/**
 * Whether a node can be emptied, said before anything begins, and what keeps one from it that is being emptied.
 *
 * A decommission never lowers the number of replicas, although that number follows the number of nodes: who wants
 * fewer replicas says so first.
 */
export interface DecommissionAnswer {
  /** `done`: it holds nothing any more and may be forgotten. `blocked`: it would never end. */
  readonly verdict: 'possible' | 'blocked' | 'done'
  readonly code: DecommissionCode
  /** A sentence for people; for `blocked` it says what to do. */
  readonly detail: string
  /** Ranges with a replica on it. */
  readonly rangesLeft: number
}

export type DecommissionCode =
  | 'can-be-emptied'
  | 'empty'
  | 'unknown-node'
  | 'last-node'
  | 'too-few-nodes'
  | 'too-few-live-nodes'
  | 'placement-off'
  | 'no-quorum'

export function decideDecommission(picture: ClusterPicture, nodeId: NodeId): DecommissionAnswer {
  const standing = new Standing(picture)
  const node = picture.nodes.some((known) => known.nodeId === nodeId) ? standing.node(nodeId) : undefined
  if (node === undefined) return answer('blocked', 'unknown-node', `there is no node ${nodeId}`, 0)
  const held = node.held.filter(({ members }) => members.includes(node))
  if (held.length === 0 && node.isLeaving) return answer('done', 'empty', `node ${nodeId} holds nothing any more`, 0)
  const obstacle = obstacleFor(standing, node, held)
  if (obstacle !== undefined) return answer('blocked', obstacle.code, obstacle.detail, held.length)
  const detail = `${count(held.length, 'range')} ${held.length === 1 ? 'has' : 'have'} a replica on node ${nodeId}; all of them can move`
  return answer('possible', 'can-be-emptied', detail, held.length)
}

interface Obstacle {
  readonly code: DecommissionCode
  readonly detail: string
}

function obstacleFor(standing: Standing, node: NodeStanding, held: readonly RangeStanding[]): Obstacle | undefined {
  const { settings } = standing.picture
  const staying = standing.nodes.filter((other) => other !== node && !other.isLeaving)
  const before = effectiveReplicas(settings.replicas, staying.length + 1)
  if (staying.length === 0) {
    return { code: 'last-node', detail: `node ${node.nodeId} is the last one: add a node first` }
  }
  if (effectiveReplicas(settings.replicas, staying.length) < before) {
    const nodes = count(staying.length + 1, 'node')
    return { code: 'too-few-nodes', detail: `${count(before, 'replica')} on ${nodes}: add a node or lower the count` }
  }
  if (!settings.placementEnabled) {
    return { code: 'placement-off', detail: 'placementEnabled is off: nothing would move; switch it on first' }
  }
  return liveObstacle(node, staying, before) ?? quorumObstacle(held)
}

function liveObstacle(node: NodeStanding, staying: readonly NodeStanding[], replicas: number): Obstacle | undefined {
  const able = staying.filter(({ receives }) => receives)
  if (able.length >= replicas) return undefined
  const others = staying.filter(({ receives }) => !receives).map(({ nodeId }) => nodeId)
  const detail = `without node ${node.nodeId}, ${able.length} nodes take replicas and ${replicas} are needed: bring back node ${others.join(', ')}, add a node, or lower the count`
  return { code: 'too-few-live-nodes', detail }
}

function quorumObstacle(held: readonly RangeStanding[]): Obstacle | undefined {
  const lost: RangeId[] = held.filter(({ voters }) => !hasQuorum(voters)).map(({ rangeId }) => rangeId)
  if (lost.length === 0) return undefined
  const some = lost.slice(0, LISTED_MAX).join(', ')
  const more = lost.length > LISTED_MAX ? ` and ${lost.length - LISTED_MAX} more` : ''
  const detail = `no majority of range ${some}${more} is reachable: bring its nodes back, or recover it first`
  return { code: 'no-quorum', detail }
}

/** Ranges that a sentence names. */
const LISTED_MAX = 5

function answer(
  verdict: DecommissionAnswer['verdict'],
  code: DecommissionCode,
  detail: string,
  rangesLeft: number,
): DecommissionAnswer {
  return { verdict, code, detail, rangesLeft }
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
