import { assert, type ReplicaId } from '@cordillera/base'
import {
  type ChangeStep,
  type Configuration,
  changeConfiguration,
  isJoint,
  isQuorum,
  leaveJoint,
} from '@cordillera/raft-core'
import {
  compareEpochs,
  type Descriptor,
  type ReplicaChange,
  type ReplicaPlace,
  type ReplicaType,
} from '@cordillera/ranges'

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

/** Whether those that are counted can decide for the range: in both halves of a joint configuration. */
export function isQuorumOf(descriptor: Descriptor, counts: (replicaId: ReplicaId) => boolean): boolean {
  return isQuorum(configurationOf(descriptor), counts)
}

/** What a replica that takes part has said: its range as it is in its durable state. */
export interface KnownDescriptor {
  readonly replicaId: ReplicaId
  readonly descriptor: Descriptor
}

/**
 * Whether a replica is in its range no more, and nobody will ever need its vote again: a quorum of the newest configuration
 * that anyone has told of, which is not joint and does not have it, knows that configuration durably. Whoever can win an
 * election then is of that quorum or learns from one of it, with the votes, that the joint configuration before was left
 * (see `changes.ts` of raft-core). Until then those who remain may need the vote of one that was removed.
 *
 * `known` has what the replica's own state says among it, where it has one: a range that is told of as it was before the
 * replica came is older than that.
 */
export function isSurelyRemoved(replicaId: ReplicaId, known: readonly KnownDescriptor[]): boolean {
  const newest = newestOf(known)
  if (newest === undefined || newest.replicas.some((place) => place.replicaId === replicaId)) return false
  const configuration = configurationOf(newest)
  if (isJoint(configuration)) return false
  const knowing = known.filter(({ descriptor }) => compareEpochs(descriptor.epoch, newest.epoch) === 0)
  return isQuorum(configuration, (voter) => knowing.some((one) => one.replicaId === voter))
}

export function newestOf(known: readonly KnownDescriptor[]): Descriptor | undefined {
  let newest: Descriptor | undefined
  for (const { descriptor } of known) {
    if (newest === undefined || compareEpochs(descriptor.epoch, newest.epoch) > 0) newest = descriptor
  }
  return newest
}
