import type { NodeId, ReplicaId } from '@cordillera/base'
import type { Descriptor, ReplicaChange } from '@cordillera/ranges'

/**
 * What to do next so that a range has one replica more, or one less: pure functions of its descriptor, as `decideReplacement`, so
 * that whoever leads next goes on where the last one stopped. A replica comes as a learner and is promoted once it has caught up.
 */
export type ResizingStep =
  | { readonly kind: 'done' }
  | { readonly kind: 'impossible' }
  /** Those that would be left could decide on nothing: too few of them can be reached. */
  | { readonly kind: 'unsafe' }
  /** A change is on its way, or the new replica has not caught up, or its leader must hand over first. */
  | { readonly kind: 'wait'; readonly reason: 'joint' | 'behind' }
  | { readonly kind: 'hand-over' }
  | { readonly kind: 'change'; readonly changes: readonly ReplicaChange[] }
  /** A learner, under a new id. */
  | { readonly kind: 'add' }

export function decideAddition(
  { replicas }: Descriptor,
  nodeId: NodeId,
  isCaughtUp: (replicaId: ReplicaId) => boolean,
): ResizingStep {
  const here = replicas.find((place) => place.nodeId === nodeId && place.type !== 'outgoing')
  if (here?.type === 'voter') return DONE
  if (isJoint(replicas)) return { kind: 'wait', reason: 'joint' }
  if (here === undefined) return { kind: 'add' }
  if (!isCaughtUp(here.replicaId)) return { kind: 'wait', reason: 'behind' }
  return { kind: 'change', changes: [{ kind: 'promote', replicaId: here.replicaId, nodeId }] }
}

/**
 * `leader`: the replica that leads, which does not remove itself. `impossible`: fewer than `votersLeft` voters would be left, of
 * which there is always one.
 */
export function decideRemoval(
  { replicas }: Descriptor,
  replicaId: ReplicaId,
  leader: ReplicaId,
  votersLeft = 1,
  isReachable: (nodeId: NodeId) => boolean = () => true,
): ResizingStep {
  const going = replicas.find((place) => place.replicaId === replicaId)
  if (going === undefined) return DONE
  if (isJoint(replicas)) return { kind: 'wait', reason: 'joint' }
  const others = replicas.filter((place) => place !== going && place.type === 'voter')
  if (going.type === 'voter' && others.length < Math.max(1, votersLeft)) return { kind: 'impossible' }
  const reached = others.filter(({ nodeId }) => isReachable(nodeId)).length
  if (going.type === 'voter' && reached * 2 <= others.length) return { kind: 'unsafe' }
  if (replicaId === leader) return { kind: 'hand-over' }
  return { kind: 'change', changes: [{ kind: 'remove', replicaId, nodeId: going.nodeId }] }
}

function isJoint(replicas: Descriptor['replicas']): boolean {
  return replicas.some(({ type }) => type === 'incoming' || type === 'outgoing')
}

const DONE: ResizingStep = { kind: 'done' }
