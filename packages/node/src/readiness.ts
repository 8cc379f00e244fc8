import type { NodeState } from './admin.js'
import type { ServedRanges } from './served-ranges.js'
import type { Whereabouts } from './whereabouts.js'

/**
 * Why a node should be given no new clients, as a sentence for people; undefined: it should. What somebody has asked of it goes before
 * what it lacks: who looks why a node that he has drained is not ready is not to look for a majority.
 */
export interface ReadinessFacts {
  readonly phase: 'running' | 'draining' | 'closed'
  /** As the placement driver said last: `member`, or one of {@link NodeState}. */
  readonly membership: string
  readonly whereabouts: Pick<Whereabouts, 'isRegistered'>
  readonly served: Pick<ServedRanges, 'areAll'>
}

export function whyUnready({ phase, membership, whereabouts, served }: ReadinessFacts): string | undefined {
  if (phase !== 'running') return phase === 'draining' ? 'the node is about to stop' : 'the node has stopped'
  if (membership !== 'member') return ASKED[membership as keyof typeof ASKED] ?? `the node is ${membership}`
  if (!whereabouts.isRegistered) {
    return 'the node has not been registered yet: it joins once a majority of the cluster is up'
  }
  return served.areAll ? undefined : 'a range has no leader that this node can reach; is a majority of the nodes up?'
}

const ASKED = {
  draining: 'somebody has asked to drain the node: it serves what comes, and is ready again once it is undrained',
  decommissioning: 'the node is being decommissioned: it serves what comes, and may be recommissioned',
  decommissioned: 'the node was decommissioned: it serves what comes, and may be switched off or recommissioned',
} as const satisfies Partial<Record<NodeState, string>>
