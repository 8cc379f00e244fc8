import type { NodeId } from '@cordillera/base'
import { SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { Replica } from './replica.js'

/**
 * Whether a group without work may rest: a leader while it hears every replica's node, a follower while it hears its leader's. The
 * system range never does, nor does one that is being merged, which others wait for.
 */
export function mayRest(replica: Replica, self: NodeId, isUp: (node: NodeId) => boolean): boolean {
  const { rangeId, merge, replicas } = replica.descriptor
  if (rangeId === SYSTEM_RANGE_ID || merge !== undefined) return false
  if (replica.core.role === 'leader') return replicas.every(({ nodeId }) => nodeId === self || isUp(nodeId))
  const leaderNode = replica.nodeOf(replica.core.leader)
  return leaderNode !== 0 && isUp(leaderNode)
}
