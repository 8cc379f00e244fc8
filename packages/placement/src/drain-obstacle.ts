import type { NodeId } from '@cordillera/base'
import type { ClusterPicture } from './cluster-picture.js'
import { Standing } from './standing.js'

/**
 * What keeps a node from being drained, said before anything begins: ranges that none of their other voters could lead, because there
 * is none, or all of them are draining, leaving, unreachable or unfit. A sentence for people; undefined: nothing.
 */
export function drainObstacle(picture: ClusterPicture, nodeId: NodeId): string | undefined {
  const standing = new Standing(picture)
  const node = standing.node(nodeId)
  if (node === undefined) return undefined
  const stuck = node.held.filter(
    ({ voters }) => voters.includes(node) && !voters.some((voter) => voter !== node && voter.receives),
  )
  if (stuck.length === 0) return undefined
  const some = stuck.slice(0, LISTED_MAX).map(({ rangeId }) => rangeId)
  const more = stuck.length > LISTED_MAX ? ` and ${stuck.length - LISTED_MAX} more` : ''
  return `no other node could lead range ${some.join(', ')}${more}: undrain one that has a replica, bring one back, or add a replica first`
}

/** Ranges that a sentence names. */
const LISTED_MAX = 5
