import type { NodeId, RangeId, ReplicaId } from '@cordillera/base'
import { type Descriptor, type Span, spansOverlap } from './descriptor.js'

/**
 * A range that goes on from one replica, by a person's word, after most of its replicas were lost. Decided once, in the system
 * range; whoever knows of it acts on it. The argument is in `node/decisions/0002-recovery-without-a-majority.md`.
 *
 * What the range was before is another history of its keys, which has been given up: nobody is to vote, lead or serve in it.
 * The two are told apart by `version`: a recovery raises it above {@link VERSIONS_PER_RECOVERY} more splits and merges than
 * the lost replicas can have done, and every range that comes of the recovered one inherits that.
 */
export interface RangeRecovery extends Span {
  readonly rangeId: RangeId
  /** The version of the range that the survivor has. */
  readonly from: number
  /** What the range's version is from the recovery on. */
  readonly version: number
  /** The replica that goes on, and its node. */
  readonly survivor: ReplicaId
  readonly nodeId: NodeId
  /** What that replica is afterwards: an id that nobody of the old configuration knows. */
  readonly successor: ReplicaId
}

export const VERSIONS_PER_RECOVERY = 2 ** 20

/** Above what any range that `recoveries` know of may be, and above `from`. */
export function recoveredVersion(from: number, recoveries: readonly RangeRecovery[]): number {
  const highest = recoveries.reduce((version, one) => Math.max(version, one.version), from)
  return (1 + Math.floor(highest / VERSIONS_PER_RECOVERY)) * VERSIONS_PER_RECOVERY
}

/**
 * Whether a replica is of a history that was given up: one of the range as it was, or of a range that was made of it since, by
 * replicas that were lost. Those that the range was itself cut out of, or made of, are of lower versions: they only lag behind.
 */
export function isGivenUp(replicaId: ReplicaId, descriptor: Descriptor, recovery: RangeRecovery): boolean {
  const { rangeId, from, version, survivor, successor } = recovery
  if (replicaId === survivor || replicaId === successor) return false
  if (descriptor.epoch.version >= version || !spansOverlap(descriptor, recovery)) return false
  return descriptor.rangeId === rangeId || descriptor.epoch.version > from
}

/**
 * The recovery by which a replica is given up; undefined: by none. `recoveries`: all there ever were, in the order of their versions.
 *
 * Each counts for ever: what was lost before the first of them may come back after the last. But an earlier one does not give up
 * whom a later one goes on from, as when the former was decided on and its survivor was lost before it went on.
 */
export function givenUpBy(
  replicaId: ReplicaId,
  descriptor: Descriptor,
  recoveries: readonly RangeRecovery[],
): RangeRecovery | undefined {
  const goesOn = recoveries.findLastIndex((one) => one.survivor === replicaId || one.successor === replicaId)
  return recoveries.find((one, i) => i >= goesOn && isGivenUp(replicaId, descriptor, one))
}

/** Whether the replica is the one that goes on, as it was when that was decided. */
export function isSurvivor(replicaId: ReplicaId, descriptor: Descriptor, recovery: RangeRecovery): boolean {
  const { start, end, epoch, merge } = descriptor
  const isAsItWas = start === recovery.start && end === recovery.end && epoch.version === recovery.from
  return replicaId === recovery.survivor && isAsItWas && merge === undefined
}

/** The range with the successor as its only replica; its version rises with the first entry of its own, a `recover` command. */
export function succeededDescriptor(descriptor: Descriptor, { successor, nodeId }: RangeRecovery): Descriptor {
  const { version, confVersion } = descriptor.epoch
  return {
    ...descriptor,
    epoch: { version, confVersion: confVersion + VERSIONS_PER_RECOVERY },
    replicas: [{ replicaId: successor, nodeId, type: 'voter' }],
  }
}

/** What a `recover` command makes of the range; undefined: it has no effect. */
export function raiseVersion(descriptor: Descriptor, version: number): Descriptor | undefined {
  if (version <= descriptor.epoch.version) return undefined
  return { ...descriptor, epoch: { ...descriptor.epoch, version } }
}
