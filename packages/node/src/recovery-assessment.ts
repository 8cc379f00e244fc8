import type { LogIndex, NodeId, RangeId, ReplicaId, Term } from '@cordillera/base'
import { type Descriptor, spansOverlap } from '@cordillera/ranges'
import { isQuorumOf, newestOf } from '@cordillera/replicas'

/**
 * Whether a range may be made to go on without its majority, from which replica, and what is lost by that, from what the
 * nodes that can be reached say of it. Pure.
 *
 * Refused wherever the range may still come to a leader by itself, or where its keys may belong to a range that lives: while a
 * leader or a majority is there, while anybody can reach the node of a voter that did not answer, in the middle of a merge, and
 * when another range of a later version has some of its keys.
 */
export interface SurveyedReplica {
  readonly nodeId: NodeId
  readonly replicaId: ReplicaId
  readonly descriptor: Descriptor
  readonly leads: boolean
  /** It votes, and may lead. */
  readonly takesPart: boolean
  /** Its log is: what it has applied is all there is. */
  readonly isDamaged: boolean
  /** It holds something else than a majority of its range did. */
  readonly isDiverged: boolean
  /** The end of its log. */
  readonly lastTerm: Term
  readonly lastIndex: LogIndex
  readonly commitIndex: LogIndex
  readonly appliedIndex: LogIndex
}

export interface RecoverySurvey {
  /** Of those who answered, if they have one that thinks itself in the range. */
  readonly replicas: readonly SurveyedReplica[]
  readonly answered: ReadonlySet<NodeId>
  /** Every node that anyone who answered can reach. */
  readonly reachable: ReadonlySet<NodeId>
  /** Every node of the cluster, as far as is known. */
  readonly nodes: readonly NodeId[]
  /** Other ranges, of those who answered, that have keys of this one as it is known, or are frozen by a merge with it. */
  readonly others: readonly Descriptor[]
}

export type RecoveryAssessment =
  | { readonly kind: 'refused'; readonly code: 'NOT_FOUND' | 'CONFLICT'; readonly detail: string }
  /** `detail`: what may be lost, for a person. */
  | { readonly kind: 'possible'; readonly survivor: SurveyedReplica; readonly detail: string }

export function assessRecovery(rangeId: RangeId, survey: RecoverySurvey): RecoveryAssessment {
  const { replicas } = survey
  const newest = newestOf(replicas)
  if (newest === undefined) {
    const detail = `no node that can be reached has a replica of range ${rangeId}`
    return { kind: 'refused', code: 'NOT_FOUND', detail }
  }
  const members = replicas.filter(({ replicaId }) => newest.replicas.some((place) => place.replicaId === replicaId))
  const survivor = mostUpToDate(members)
  const refusal = refusalOf(newest, members, survivor, survey)
  if (refusal !== undefined) return { kind: 'refused', code: 'CONFLICT', detail: `range ${rangeId} ${refusal}` }
  return { kind: 'possible', survivor, detail: lossOf(newest, survivor, survey) }
}

/** One that has not diverged; then in the order of Raft (5.4.1); where two end alike, one that takes part, and then the one that has applied more. */
function mostUpToDate(members: readonly SurveyedReplica[]): SurveyedReplica {
  const [first, ...others] = members
  return others.reduce((best, one) => (compareLogs(one, best) > 0 ? one : best), first!)
}

function compareLogs(a: SurveyedReplica, b: SurveyedReplica): number {
  if (a.isDiverged !== b.isDiverged) return a.isDiverged ? -1 : 1
  if (a.lastTerm !== b.lastTerm) return a.lastTerm - b.lastTerm
  if (a.lastIndex !== b.lastIndex) return a.lastIndex - b.lastIndex
  if (a.takesPart !== b.takesPart) return a.takesPart ? 1 : -1
  return a.appliedIndex - b.appliedIndex
}

function refusalOf(
  newest: Descriptor,
  members: readonly SurveyedReplica[],
  survivor: SurveyedReplica,
  { replicas, answered, reachable, others }: RecoverySurvey,
): string | undefined {
  const leader = replicas.find(({ leads }) => leads)
  if (leader !== undefined) return `has a leader, on node ${leader.nodeId}: there is nothing to recover`
  const whole = members.filter(({ takesPart }) => takesPart)
  if (isQuorumOf(newest, (voter) => whole.some(({ replicaId }) => replicaId === voter))) {
    return 'has most of its replicas, and will have a leader before long'
  }
  const silent = newest.replicas.find(({ nodeId, type }) => {
    return type !== 'learner' && reachable.has(nodeId) && !answered.has(nodeId)
  })
  if (silent !== undefined) return `has a voter on node ${silent.nodeId}, which can be reached and has not answered`
  if (newest.merge !== undefined) return 'is in the middle of a merge, which may have come to an end without it'
  const part = others.find((one) => {
    const isOther = one.rangeId !== newest.rangeId && spansOverlap(one, newest)
    return isOther && one.epoch.version > newest.epoch.version
  })
  if (part !== undefined) return `has keys that belong to range ${part.rangeId} by now`
  const isAsNew = survivor.descriptor.epoch.version === newest.epoch.version
  const committed = Math.max(...whole.map(({ commitIndex }) => commitIndex), 0)
  const lacks = survivor.takesPart && survivor.appliedIndex < Math.min(committed, survivor.lastIndex)
  if (!isAsNew || lacks) return 'has not applied yet what is known to be committed; ask again in a moment'
  return undefined
}

function lossOf(newest: Descriptor, survivor: SurveyedReplica, { answered, nodes, others }: RecoverySurvey): string {
  const { nodeId, replicaId, isDamaged, lastTerm, lastIndex, appliedIndex } = survivor
  const voters = newest.replicas.filter(({ type }) => type !== 'learner')
  const lost = voters.filter((place) => place.replicaId !== replicaId)
  const gone = nodes.filter((node) => !answered.has(node))
  const base = isDamaged
    ? `what replica ${replicaId} on node ${nodeId} has applied, up to entry ${lastIndex}; its log is damaged`
    : `the log of replica ${replicaId} on node ${nodeId}, which ends with entry ${lastIndex} of term ${lastTerm}`
  const unsure = lastIndex - appliedIndex
  const frozen = others.filter(({ merge }) => merge?.kind === 'frozen' && merge.leftId === newest.rangeId)
  return [
    `range ${newest.rangeId} would go on from ${base}.`,
    ...(survivor.isDiverged ? ['That replica has diverged from the others: what it holds may be wrong.'] : []),
    'Every write that was acknowledged without it is lost, and so is what its readers have seen of such writes.',
    ...(unsure > 0
      ? [`Its last ${counted(unsure, 'entry', 'entries')} may never have been acknowledged, and will count.`]
      : []),
    ...[...new Set(frozen.map(({ rangeId }) => rangeId))].map((rightId) => {
      return `Range ${rightId} is frozen by a merge with it, which the lost may have done: what they wrote to its keys is lost then.`
    }),
    `The replicas on ${nodesOf(lost.map((place) => place.nodeId))} are given up, whatever they have.`,
    ...(gone.length === 0
      ? []
      : [`If ${nodesOf(gone)}, which cannot be reached, come back, what they have of it is destroyed.`]),
  ].join(' ')
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`
}

function nodesOf(nodes: readonly NodeId[]): string {
  const sorted = [...new Set(nodes)].sort((a, b) => a - b)
  return `${sorted.length === 1 ? 'node' : 'nodes'} ${sorted.join(', ')}`
}
