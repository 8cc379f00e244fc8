import type { NodeId, ReplicaId } from '@cordillera/base'
import type { Descriptor, ReplicaChange } from '@cordillera/ranges'

/**
 * What to do next so that a range's replica on one node is replaced by one on another, or on the same: a pure function of the
 * range's descriptor, so that whoever leads next goes on where the last one stopped.
 *
 * A learner is added where the new replica shall be; once it has caught up, one joint change makes it a voter and removes
 * the old one: at no time does the range have fewer voters than before. A learner is replaced by a learner.
 */
export interface ReplacementGoal {
  /** Replaced. */
  readonly replicaId: ReplicaId
  /** Where its successor is to be. */
  readonly nodeId: NodeId
}

/**
 * `wait`: a change is on its way, or the successor has not caught up. `add`: as a learner, under a new id. `impossible`:
 * another voter of the range is there.
 */
export type ReplacementStep =
  | { readonly kind: 'done' }
  | { readonly kind: 'impossible' }
  | { readonly kind: 'wait'; readonly reason: 'joint' | 'behind' }
  | { readonly kind: 'add' }
  | { readonly kind: 'swap'; readonly changes: readonly ReplicaChange[] }

export function decideReplacement(
  { replicas }: Descriptor,
  { replicaId, nodeId }: ReplacementGoal,
  isCaughtUp: (replicaId: ReplicaId) => boolean,
): ReplacementStep {
  if (replicas.some(({ type }) => type === 'incoming' || type === 'outgoing')) return { kind: 'wait', reason: 'joint' }
  const former = replicas.find((place) => place.replicaId === replicaId)
  if (former === undefined) return { kind: 'done' }
  if (replicas.some((place) => place.nodeId === nodeId && place !== former && place.type !== 'learner')) {
    return { kind: 'impossible' }
  }
  const removal: ReplicaChange = { kind: 'remove', replicaId, nodeId: former.nodeId }
  const successor = replicas.find((place) => place.nodeId === nodeId && place.type === 'learner' && place !== former)
  if (successor === undefined) return { kind: 'add' }
  if (!isCaughtUp(successor.replicaId)) return { kind: 'wait', reason: 'behind' }
  if (former.type === 'learner') return { kind: 'swap', changes: [removal] }
  return { kind: 'swap', changes: [{ kind: 'promote', replicaId: successor.replicaId, nodeId }, removal] }
}
