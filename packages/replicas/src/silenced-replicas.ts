import { CordilleraError, type Logger, type RangeId } from '@cordillera/base'
import type { GroupLog } from '@cordillera/raft-log'
import type { ReplicaState } from '@cordillera/state'
import { isAlone } from './open-raft-group.js'

/** A replica that is here and must not take part. */
export interface SilencedReplica {
  readonly state: ReplicaState
  /** `diverged`: it holds something else than a majority of its range. `given-up`: its range goes on elsewhere, by a recovery. */
  readonly reason: 'log-damaged' | 'log-missing' | 'diverged' | 'given-up'
  /** Where it is whole. */
  readonly log?: GroupLog
}

export class SilencedReplicas {
  readonly byRange = new Map<RangeId, SilencedReplica>()
  readonly #logger: Logger

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Its vote and acknowledgements may be forgotten: until it is replaced under a new id. Throws `LOG_DAMAGED` where it is alone. */
  addDamaged(state: ReplicaState, reason: 'log-damaged' | 'log-missing' | 'diverged'): void {
    const { descriptor, replicaId } = state
    const { rangeId } = descriptor
    if (isAlone(state)) {
      throw new CordilleraError('LOG_DAMAGED', {
        detail: `the log of range ${rangeId} is damaged or gone, and there is no other replica to repair it from`,
      })
    }
    this.byRange.set(rangeId, { state, reason })
    this.#logger.error('replica-silenced', { rangeId, replicaId, reason })
  }

  addGivenUp(state: ReplicaState, log: GroupLog): void {
    this.byRange.set(state.descriptor.rangeId, { state, reason: 'given-up', log })
  }

  /** It is no more, or something else. */
  forget(state: ReplicaState): void {
    const { rangeId } = state.descriptor
    if (this.byRange.get(rangeId)?.state === state) this.byRange.delete(rangeId)
  }
}
