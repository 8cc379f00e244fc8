import type { ReplicaState } from '@cordillera/state'
import type { SnapshotsHost } from './snapshots-host.js'

/** See `Replicas.destroy`. */
export async function destroyReplica(host: SnapshotsHost, state: ReplicaState): Promise<void> {
  const { log, state: store, logger } = host
  const { rangeId } = state.descriptor
  // Destroyed already, or busy: whoever wants it asks again.
  if (store.replicas.get(state.replicaId) !== state || store.isInstalling(state.replicaId)) return
  const replica = host.replica(rangeId)
  if (replica?.state === state) {
    if (replica.isRestoring) return
    host.leave(replica)
  }
  await store.removeReplica(state)
  log.removeGroup(state.replicaId)
  host.onGone(state)
  await log.flush()
  logger.info('replica-destroyed', { rangeId, replicaId: state.replicaId })
}
