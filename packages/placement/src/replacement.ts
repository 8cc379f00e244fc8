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
  const removal: ReplicaChange = { kind: 'remove', replicaId, nodeId: former.nodeId }
  const others = replicas.filter((place) => place.nodeId === nodeId && place !== former)
  if (former.type === 'learner') {
    const successor = others.find((place) => place.replicaId > replicaId)
    if (successor === undefined) return { kind: 'add' }
    return isCaughtUp(successor.replicaId) ? { kind: 'swap', changes: [removal] } : BEHIND
  }
  if (others.some(({ type }) => type !== 'learner')) return { kind: 'impossible' }
  // Of several, the others may be damaged, and about to be replaced themselves.
  const newest = others.reduce<ReplicaId>((most, place) => Math.max(most, place.replicaId), 0)
  if (newest === 0) return { kind: 'add' }
  if (!isCaughtUp(newest)) return BEHIND
  return { kind: 'swap', changes: [{ kind: 'promote', replicaId: newest, nodeId }, removal] }
}

const BEHIND: ReplacementStep = { kind: 'wait', reason: 'behind' }
