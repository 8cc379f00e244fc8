import { CordilleraError, type NodeId } from '@cordillera/base'
import type { RaftLog } from '@cordillera/raft-log'
import type { Descriptor } from '@cordillera/ranges'
import type { NewReplica, StateStore } from '@cordillera/state'
import type { FoundedIdentity, Founding } from './founding.js'

/**
 * Makes the founding document's replicas of this node, durably, once. Where they were made before and are missing, the
 * state database was lost, and with it what this node promised: it must not begin anew under the same name.
 */
export async function createFoundingReplicas(
  { state, log, founding }: { readonly state: StateStore; readonly log: RaftLog; readonly founding: Founding },
  { nodeId, document, replicasCreated }: FoundedIdentity,
): Promise<void> {
  if (replicasCreated) {
    // One that was replaced since has left its tombstone.
    const lost = placesOn(nodeId, document.descriptors).filter(({ replicaId }) => state.mayCreate(replicaId))
    // Whoever joins may have waited for long: a log that has failed meanwhile makes no node.
    if (lost.length === 0) return log.flush()
    throw new CordilleraError('DIRECTORY_INVALID', {
      detail: `the state database lost ${lost.length} replicas of node ${nodeId}; start it on an empty directory instead`,
    })
  }
  const missing = placesOn(nodeId, document.descriptors).filter(({ replicaId }) => !state.replicas.has(replicaId))
  if (missing.length > 0) await state.createReplicas(missing)
  // A group of its own from the start: a replica without one has lost its log, and with it its vote.
  for (const { replicaId } of placesOn(nodeId, document.descriptors)) {
    if (!log.groups.has(replicaId)) log.createGroup(replicaId).append([], { term: 0, vote: 0, commitIndex: 0 })
  }
  await log.flush()
  await founding.markReplicasCreated()
}

function placesOn(nodeId: NodeId, descriptors: readonly Descriptor[]): NewReplica[] {
  return descriptors.flatMap((descriptor) => {
    const place = descriptor.replicas.find((candidate) => candidate.nodeId === nodeId)
    return place === undefined ? [] : [{ descriptor, replicaId: place.replicaId, applied: { index: 0, term: 0 } }]
  })
}
