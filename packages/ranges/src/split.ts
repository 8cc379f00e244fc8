import type { SplitCommand } from './admin-command.js'
import type { Descriptor } from './descriptor.js'
import { compareEpochs } from './epoch.js'

/**
 * What a split makes of a range, where it takes effect: both halves are of one version above the range's, so that nothing that
 * was meant for the whole is taken by a half. The right half has a replica beside each of the left, of the same type.
 */
export interface SplitRange {
  readonly left: Descriptor
  readonly right: Descriptor
}

/**
 * `epoch`: the range has changed since. `joint`: its replicas are changing, or one is being replaced on
 * its own node, which the halves could not be told of. `merging`: with a neighbour. `key`: not inside of the
 * span. `replicas`: not one for each.
 */
export type SplitRefusal = 'epoch' | 'joint' | 'merging' | 'key' | 'replicas'

/** Pure: asked before a split is proposed, and decided when it applies. */
export function splitDescriptor(descriptor: Descriptor, command: SplitCommand): SplitRange | SplitRefusal {
  const { start, end, epoch, replicas } = descriptor
  const { key, rangeId, replicaIds } = command
  if (compareEpochs(command.epoch, epoch) !== 0) return 'epoch'
  if (replicas.some(({ type }) => type === 'incoming' || type === 'outgoing')) return 'joint'
  if (new Set(replicas.map(({ nodeId }) => nodeId)).size !== replicas.length) return 'joint'
  if (descriptor.merge !== undefined) return 'merging'
  if (key <= start || (end !== null && key >= end)) return 'key'
  if (replicaIds.length !== replicas.length || new Set(replicaIds).size !== replicaIds.length) return 'replicas'
  const halves = { version: epoch.version + 1, confVersion: epoch.confVersion }
  return {
    left: { ...descriptor, end: key, epoch: halves },
    right: {
      rangeId,
      start: key,
      end,
      epoch: halves,
      replicas: replicas.map((place, i) => ({ ...place, replicaId: replicaIds[i]! })),
    },
  }
}
