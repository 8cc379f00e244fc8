import type { NodeId, RangeId } from '@cordillera/base'
import type { Descriptor, Epoch, ReplicaPlace } from './descriptor.js'
import { compareEpochs } from './epoch.js'

/**
 * How two neighbours become one range, as pure steps on their descriptors; each step is an entry of the one's log or the
 * other's, and is decided when it applies.
 *
 * | step | in the log of | makes of it |
 * | --- | --- | --- |
 * | begin | the left | `absorbing` |
 * | freeze | the right | `frozen`: it takes no reads, writes, splits or changes of replicas any more; next version |
 * | merge | the left | the whole; above both versions; the right is gone |
 * | abort | the left | `aborted`: this attempt will never merge |
 * | thaw | the right | as it was before, in the next version, also where it was not frozen yet |
 * | end | the left | as before it began |
 * | refuse | the left | `aborted`, where this attempt never began |
 *
 * The left alone says what an attempt comes to: while it is `absorbing` that is open; `aborted` is for ever, and stands until the
 * right is thawed, surely: what may still freeze it then comes too late for its version. So a right that is frozen by an attempt
 * that its left has ended has been merged. Nothing of this is lost by a restart, or a change of leaders.
 *
 * A left that was recovered without its majority may never have heard of the attempt that has frozen its right. It refuses it then, in
 * its own log: the attempt is aborted before it begins, and can never begin.
 */
export type MergeState = AbsorbingState | FrozenState

export interface AbsorbingState {
  readonly kind: 'absorbing' | 'aborted'
  readonly rightId: RangeId
  /** Never used for another attempt. */
  readonly attempt: number
}

export interface FrozenState {
  readonly kind: 'frozen'
  readonly leftId: RangeId
  readonly attempt: number
}

/** Whether the range takes no part in anything but the end of its merge. */
export function isFrozen({ merge }: Descriptor): boolean {
  return merge?.kind === 'frozen'
}

export function isFrozenBy({ merge }: Descriptor, leftId: RangeId, attempt: number): boolean {
  return merge?.kind === 'frozen' && merge.leftId === leftId && merge.attempt === attempt
}

/**
 * Attempts of one left begin in rising order: none begins anew when it has ended, so that nobody thaws what has merged. `version`:
 * the left's, when the right was seen to be its neighbour; it has not merged with it since, nor with anyone.
 */
export function beginMerge(
  left: Descriptor,
  version: number,
  rightId: RangeId,
  attempt: number,
): Descriptor | undefined {
  if (left.epoch.version !== version) return undefined
  if (left.merge !== undefined || rightId === left.rangeId || attempt <= (left.lastMerge ?? 0)) return undefined
  return { ...left, merge: { kind: 'absorbing', rightId, attempt }, lastMerge: attempt }
}

/** `version`: the right's, when it was made sure that its left is still absorbing it. */
export function freeze(right: Descriptor, version: number, leftId: RangeId, attempt: number): Descriptor | undefined {
  if (right.merge !== undefined || right.epoch.version !== version || !isSettled(right)) return undefined
  return { ...right, epoch: nextVersion(right.epoch), merge: { kind: 'frozen', leftId, attempt } }
}

/** `right` as it is frozen, durably, on all of its stores: whoever proposes this has made sure of it. */
export function merge(left: Descriptor, epoch: Epoch, right: Descriptor, attempt: number): Descriptor | undefined {
  const { merge: state } = left
  if (state?.kind !== 'absorbing' || state.attempt !== attempt || state.rightId !== right.rangeId) return undefined
  if (compareEpochs(epoch, left.epoch) !== 0 || left.end !== right.start) return undefined
  if (!isFrozenBy(right, left.rangeId, attempt) || !areAligned(left, right)) return undefined
  const version = Math.max(left.epoch.version, right.epoch.version) + 1
  const { merge: _, ...rest } = left
  const epochOfWhole = { version, confVersion: left.epoch.confVersion }
  return { ...rest, end: right.end, epoch: epochOfWhole, lastMerged: attempt }
}

export function abortMerge(left: Descriptor, attempt: number): Descriptor | undefined {
  const { merge: state } = left
  if (state?.kind !== 'absorbing' || state.attempt !== attempt) return undefined
  return { ...left, merge: { ...state, kind: 'aborted' } }
}

/**
 * Attempts begin in rising order, so one that is above the last was never begun in this history of the left, hence never merged in
 * it; from here on it cannot be.
 */
export function refuseMerge(left: Descriptor, rightId: RangeId, attempt: number): Descriptor | undefined {
  if (left.merge !== undefined || rightId === left.rangeId || attempt <= (left.lastMerge ?? 0)) return undefined
  return { ...left, merge: { kind: 'aborted', rightId, attempt }, lastMerge: attempt }
}

/** Raises the version also where the attempt has not frozen it: then it never will. */
export function thaw(right: Descriptor, version: number, leftId: RangeId, attempt: number): Descriptor | undefined {
  const isOther = right.merge !== undefined && !isFrozenBy(right, leftId, attempt)
  if (isOther || right.epoch.version !== version) return undefined
  const { merge: _, ...rest } = right
  return { ...rest, epoch: nextVersion(right.epoch) }
}

export function endMerge(left: Descriptor, attempt: number): Descriptor | undefined {
  const { merge: state, ...rest } = left
  return state?.kind === 'aborted' && state.attempt === attempt ? rest : undefined
}

/** Whether every store that has a replica of the one has one of the other, and all of them are voters. */
export function areAligned(left: Descriptor, right: Descriptor): boolean {
  if (!isSettled(left) || !isSettled(right) || left.replicas.length !== right.replicas.length) return false
  return left.replicas.every(({ nodeId }) => placeOn(right, nodeId) !== undefined)
}

export function placeOn({ replicas }: Descriptor, nodeId: NodeId): ReplicaPlace | undefined {
  return replicas.find((place) => place.nodeId === nodeId)
}

/** Nobody comes or goes. */
function isSettled({ replicas }: Descriptor): boolean {
  return (
    replicas.every(({ type }) => type === 'voter') &&
    new Set(replicas.map((one) => one.nodeId)).size === replicas.length
  )
}

function nextVersion({ version, confVersion }: Epoch): Epoch {
  return { version: version + 1, confVersion }
}
