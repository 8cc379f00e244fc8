import { CordilleraError, type NodeId } from '@cordillera/base'
import { type OutcomeCode, outcomeKind, PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from '@cordillera/ranges'
import type { AnyBatch } from './pending-batch.js'
import type { Route } from './route.js'
import type { RouterStats } from './router-stats.js'

/** The errors that a router answers with, worded for a person. */

/** Counted with the keyspace's prefix: the gateway's own check of a user's key is finer. */
export function refuseKey(keyBytes: number): CordilleraError | undefined {
  if (keyBytes <= PREFIXED_KEY_BYTES_MAX) return undefined
  const detail = `a key of ${keyBytes} bytes with its keyspace's prefix; at most ${PREFIXED_KEY_BYTES_MAX} are taken`
  return new CordilleraError('KEY_TOO_LARGE', { detail })
}

export function refuseValue(valueBytes: number): CordilleraError | undefined {
  if (valueBytes <= VALUE_BYTES_MAX) return undefined
  const detail = `a value of ${valueBytes} bytes; at most ${VALUE_BYTES_MAX} are taken`
  return new CordilleraError('VALUE_TOO_LARGE', { detail })
}

export function refuseLoad(stats: RouterStats): CordilleraError {
  const detail = `${stats.operationsWaiting} operations with ${stats.operationBytesWaiting} bytes wait on this node; try again later`
  return new CordilleraError('OVERLOADED', { detail })
}

export function routerClosed(): CordilleraError {
  return new CordilleraError('CLOSED', { detail: 'the node takes no more requests; ask another one' })
}

export function diskFull({ rangeId }: Route): CordilleraError {
  const detail = `too many of the disks that range ${rangeId} is on are nearly full; nothing was written. Make room or delete: writes are taken again as soon as there is`
  return new CordilleraError('DISK_FULL', { detail, details: { rangeId } })
}

/** Surely not applied. One error for all operations of a batch. */
export function unavailable(route: Route): CordilleraError {
  const { rangeId, descriptor, lastTrouble } = route
  if (descriptor === undefined) {
    return new CordilleraError('UNAVAILABLE', { detail: 'no range that holds the key became known in time' })
  }
  const last = lastTrouble === '' ? '' : ` (last heard of ${lastTrouble})`
  const detail = `range ${rangeId} did not answer in time${last}; nothing was written`
  return new CordilleraError('UNAVAILABLE', { detail, details: { rangeId } })
}

export function unknownOutcome(route: Route, node: NodeId): CordilleraError {
  const detail = `the write was with node ${node}, range ${route.rangeId}, and its outcome did not arrive; read before writing again`
  return new CordilleraError('OUTCOME_UNKNOWN', { detail, details: { rangeId: route.rangeId, node } })
}

/** What a command that did not write is answered with. */
export function outcomeError(outcome: OutcomeCode, { route, node }: AnyBatch): CordilleraError {
  const { rangeId } = route
  switch (outcomeKind(outcome)) {
    case 'mismatch': {
      const version = Math.abs(outcome)
      const detail = version === 0 ? 'the key is absent' : `the key's version is ${version}`
      return new CordilleraError('VERSION_MISMATCH', { detail, details: { version } })
    }
    case 'locked':
      return new CordilleraError('CONFLICT', {
        detail: 'another transaction has locked the key',
        details: { locked: true },
      })
    case 'aborted':
      return new CordilleraError('CONFLICT', { detail: 'the transaction was aborted; nothing of it was written' })
    case 'reused':
      return new CordilleraError('IDEMPOTENCY_KEY_REUSED')
    case 'memory-full': {
      const detail = `range ${rangeId} remembers as many operations as it may; nothing was written, try again later`
      return new CordilleraError('OVERLOADED', { detail, details: { rangeId } })
    }
    default: {
      const { message: detail } = unknownOutcome(route, node)
      return new CordilleraError('OUTCOME_UNKNOWN', { detail, details: { rangeId, node, expired: true } })
    }
  }
}

/** A group that lies in one range no more. */
export function scattered(): CordilleraError {
  return new CordilleraError('CONFLICT', { detail: 'the range was cut', details: { scattered: true } })
}

export function snapshotExpired(): CordilleraError {
  return new CordilleraError('SNAPSHOT_EXPIRED', { detail: 'the snapshot is no longer kept; begin again' })
}
