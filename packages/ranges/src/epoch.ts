import type { Descriptor, Epoch } from './descriptor.js'

/**
 * The order of epochs. Of one range, both counters only grow, so its epochs are totally ordered. Of two ranges that
 * overlap, only `version` tells which is newer: a split or merge raises it above every version it came from.
 */

/** Negative when `a` is older, 0 when they are equal, positive when `a` is newer. Epochs of the same range only. */
export function compareEpochs(a: Epoch, b: Epoch): number {
  return a.version !== b.version ? a.version - b.version : a.confVersion - b.confVersion
}

/**
 * Whether `candidate` replaces `known` in a cache, where the two describe the same range or overlap. A tie between
 * different ranges keeps what is known.
 */
export function isNewerDescriptor(candidate: Descriptor, known: Descriptor): boolean {
  if (candidate.rangeId === known.rangeId) return compareEpochs(candidate.epoch, known.epoch) > 0
  return candidate.epoch.version > known.epoch.version
}
