import type { NodeId, RangeId } from '@cordillera/base'
import murmurhash from 'murmurhash'

/**
 * Rendezvous hashing (highest random weight; Thaler and Ravishankar 1998): every node gives a range a score, and the
 * highest scores win. Whoever knows the nodes comes to the same ranking, and a node that leaves or comes changes no
 * order among the others.
 */

/** A uniform integer in [0, 2^32): MurmurHash3 of the two ids in decimal. The same for ever: placements rest on it. */
export function rendezvousScore(rangeId: RangeId, nodeId: NodeId): number {
  return murmurhash.v3(`${rangeId}/${nodeId}`, 0)
}

/** The nodes by their score for the range, highest first; ties by id. A new array. */
export function rendezvousRank(rangeId: RangeId, nodes: Iterable<NodeId>): NodeId[] {
  return [...nodes]
    .map((nodeId) => ({ nodeId, score: rendezvousScore(rangeId, nodeId) }))
    .sort((a, b) => b.score - a.score || a.nodeId - b.nodeId)
    .map(({ nodeId }) => nodeId)
}
