import { assert, type ReplicaId } from '@cordillera/base'
import { type ChangeStep, type Configuration, changeConfiguration, isJoint, leaveJoint } from '@cordillera/raft-core'
import type { Descriptor, ReplicaChange, ReplicaPlace, ReplicaType } from '@cordillera/ranges'

/**
 * Between a range's descriptor, which says where replicas are, and its group's configuration, which says who decides: the same
 * thing twice, `configurationOf(withConfiguration(d, c)) = c`, so that what raft-core knows of changes is not written again.
 * Pure. Every change raises `confVersion` by one, and so does leaving a joint configuration.
 */
export function configurationOf({ replicas }: Descriptor): Configuration {
  const idsOf = (...types: readonly ReplicaType[]): ReplicaId[] =>
    replicas.filter(({ type }) => types.includes(type)).map(({ replicaId }) => replicaId)
  const isJointNow = replicas.some(({ type }) => type === 'incoming' || type === 'outgoing')
  return {
    voters: idsOf('voter', 'incoming'),
    outgoing: isJointNow ? idsOf('voter', 'outgoing') : [],
    learners: idsOf('learner'),
  }
}

/** What a descriptor is once `changes` have been applied. They were found possible when they were proposed. */
export function changeDescriptor(descriptor: Descriptor, changes: readonly ReplicaChange[]): Descriptor {
  const next = changeConfiguration(configurationOf(descriptor), stepsOf(changes))
  assert(typeof next !== 'string', 'a change that was proposed can be applied')
  const added = changes.flatMap(({ kind, replicaId, nodeId }) =>
    kind === 'add-learner' ? [{ replicaId, nodeId, type: 'learner' as const }] : [],
  )
  return withConfiguration({ ...descriptor, replicas: [...descriptor.replicas, ...added] }, next)
}

/** What a descriptor is once its joint configuration is left; itself when it is not joint. */
export function leaveDescriptor(descriptor: Descriptor): Descriptor {
  const configuration = configurationOf(descriptor)
  return isJoint(configuration) ? withConfiguration(descriptor, leaveJoint(configuration)) : descriptor
}

export function stepsOf(changes: readonly ReplicaChange[]): ChangeStep[] {
  return changes.map(({ kind, replicaId }) => ({ kind, replicaId }))
}

/** The configuration, at the places of the descriptor; who is in neither half and no learner has no place any more. */
function withConfiguration(descriptor: Descriptor, configuration: Configuration): Descriptor {
  const replicas = descriptor.replicas.flatMap((place): ReplicaPlace[] => {
    const type = typeOf(configuration, place.replicaId)
    return type === undefined ? [] : [{ ...place, type }]
  })
  const { version, confVersion } = descriptor.epoch
  return { ...descriptor, epoch: { version, confVersion: confVersion + 1 }, replicas }
}

function typeOf(configuration: Configuration, replicaId: ReplicaId): ReplicaType | undefined {
  const { voters, outgoing, learners } = configuration
  const isComing = voters.includes(replicaId)
  const isGoing = outgoing.includes(replicaId)
  if (isComing) return isGoing || !isJoint(configuration) ? 'voter' : 'incoming'
  if (isGoing) return 'outgoing'
  return learners.includes(replicaId) ? 'learner' : undefined
}
