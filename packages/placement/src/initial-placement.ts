import { assert, type NodeId, type RangeId } from '@cordillera/base'
import { rendezvousScore } from './rendezvous.js'

/**
 * Where the ranges of a new cluster go, and who should lead them.
 *
 * Deterministic given the ids, in whatever order they come. Leaders are spread by rendezvous hashing with bounded
 * loads: every node is first in the list of floor or ceil of ranges/nodes ranges, never more. The same holds within the
 * ranges of each first node for the second place, and so on: when a node dies, its leaderships spread evenly over the
 * others. See decisions/0001.
 */
export interface PlacementRequest {
  readonly rangeIds: Iterable<RangeId>
  readonly nodes: Iterable<NodeId>
  /** Replicas a range, at most the number of nodes. See {@link effectiveReplicas}. */
  readonly replicas: number
}

/**
 * The nodes of each range's replicas, the preferred leader first. A descriptor that lists its replicas in this order
 * carries the preference along: see `preferredLeader`.
 */
export function initialPlacement(request: PlacementRequest): Map<RangeId, NodeId[]> {
  const rangeIds = [...new Set(request.rangeIds)].sort((a, b) => a - b)
  const nodes = [...new Set(request.nodes)].sort((a, b) => a - b)
  const { replicas } = request
  assert(Number.isInteger(replicas) && replicas >= 1 && replicas <= nodes.length, 'replicas have nodes of their own')
  const placement = new Map<RangeId, NodeId[]>(rangeIds.map((rangeId) => [rangeId, []]))
  placeNext(rangeIds, nodes, replicas, placement)
  return placement
}

/** Appends `places` nodes to each of these ranges, all of which have the same choice of nodes. */
function placeNext(
  rangeIds: readonly RangeId[],
  nodes: readonly NodeId[],
  places: number,
  placement: Map<RangeId, NodeId[]>,
): void {
  if (places === 0 || rangeIds.length === 0) return
  for (const [nodeId, taken] of assignEvenly(rangeIds, nodes)) {
    for (const rangeId of taken) placement.get(rangeId)!.push(nodeId)
    const others = nodes.filter((other) => other !== nodeId)
    placeNext(taken, others, places - 1, placement)
  }
}

/**
 * Gives each range to one node, none to more than its even share: pairs of range and node are taken by descending
 * score, as long as the range is free and the node has room.
 */
function assignEvenly(rangeIds: readonly RangeId[], nodes: readonly NodeId[]): Map<NodeId, RangeId[]> {
  const pairs = rangeIds.flatMap((rangeId) =>
    nodes.map((nodeId) => ({ rangeId, nodeId, score: rendezvousScore(rangeId, nodeId) })),
  )
  pairs.sort((a, b) => b.score - a.score || a.rangeId - b.rangeId || a.nodeId - b.nodeId)
  const shareMin = Math.floor(rangeIds.length / nodes.length)
  let extras = rangeIds.length % nodes.length
  const assigned = new Map<NodeId, RangeId[]>(nodes.map((nodeId) => [nodeId, []]))
  const done = new Set<RangeId>()
  for (const { rangeId, nodeId } of pairs) {
    const taken = assigned.get(nodeId)!
    if (done.has(rangeId) || taken.length > shareMin || (taken.length === shareMin && extras === 0)) continue
    if (taken.length === shareMin) extras--
    taken.push(rangeId)
    done.add(rangeId)
  }
  return assigned
}

/** The largest odd number that is neither above the setting nor above the number of registered nodes; at least 1. */
export function effectiveReplicas(setting: number, registeredNodes: number): number {
  const most = Math.max(1, Math.min(Math.floor(setting), registeredNodes))
  return most % 2 === 1 ? most : most - 1
}
