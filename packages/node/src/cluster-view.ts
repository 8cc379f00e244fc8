import type { Key, NodeId, RangeId, ReplicaId } from '@cordillera/base'
import { type Descriptor, type Span, splitKeyspace } from '@cordillera/ranges'
import type { StoreReport } from '@cordillera/replicas'
import type {
  ClusterInfo,
  NodeInfo,
  NodeRangeReport,
  NodeReport,
  NodeState,
  RangeInfo,
  RangeReplicaInfo,
} from './admin.js'

/**
 * Puts what the nodes report together into one picture of the cluster, for people. Pure: descriptors, reports of the
 * nodes that answered and the registry in, the admin API's shapes out. A node that did not answer shows as unknown
 * (null), never as zero.
 */

export interface RegisteredNode {
  readonly nodeId: NodeId
  readonly peerAddress: string
  readonly httpAddress: string
  readonly locality: string
}

export interface Picture {
  readonly clusterId: string
  readonly version: string
  readonly registered: readonly RegisteredNode[]
  readonly descriptors: readonly Descriptor[]
  /** By node; nodes that did not answer are absent. */
  readonly reports: ReadonlyMap<NodeId, NodeReport>
  /** What these nodes report of a range. */
  readonly reportOf: (nodeId: NodeId, rangeId: RangeId) => NodeRangeReport | undefined
}

export function describeCluster(picture: Picture): ClusterInfo {
  const ranges = picture.descriptors.map((descriptor) => describeRange(picture, descriptor))
  const gone = decommissionedIn(picture)
  const dead = picture.registered.filter(({ nodeId }) => !picture.reports.has(nodeId) && !gone.has(nodeId))
  const leaderless = ranges.filter((range) => range.leader === null)
  const problems: string[] = []
  if (leaderless.length > 0) problems.push(`${count(leaderless.length, 'range')} without a leader`)
  problems.push(...damageIn(picture), ...unfitStoresIn(picture))
  if (dead.length > 0) {
    problems.push(`${count(dead.length, 'node')} not reachable (${dead.map((node) => node.nodeId).join(', ')})`)
  }
  const all = [...nodesByState(picture), 'every range has a leader'].join(', ')
  return {
    clusterId: picture.clusterId,
    version: picture.version,
    nodeCount: picture.registered.length,
    rangeCount: ranges.length,
    healthy: problems.length === 0,
    health: problems.length === 0 ? all : problems.join('; '),
  }
}

/** How many are live, and who is on his way out; of those who are gone nothing is said. */
function nodesByState(picture: Picture): string[] {
  const nodesIn = (state: NodeState): NodeId[] =>
    picture.registered.flatMap(({ nodeId }) => (stateOf(picture, nodeId) === state ? [nodeId] : []))
  const leaving = (['draining', 'decommissioning'] as const).flatMap((state) => {
    const nodes = nodesIn(state)
    return nodes.length === 0 ? [] : [`${nodes.length} ${state} (${nodes.join(', ')})`]
  })
  return [`${count(nodesIn('live').length, 'node')} live`, ...leaving]
}

/** Disks that are slow or nearly full. They serve, with less than what the cluster can bear. */
function unfitStoresIn({ reports }: Picture): string[] {
  const nodesWhere = (holds: (store: StoreReport) => boolean): NodeId[] =>
    [...reports.values()].filter(({ store }) => holds(store)).map(({ nodeId }) => nodeId)
  const problems: string[] = []
  const slow = nodesWhere(({ condition }) => condition !== 'healthy')
  const short = nodesWhere(({ space }) => space === 'short')
  const out = nodesWhere(({ space }) => space === 'out')
  if (slow.length > 0) problems.push(`${count(slow.length, 'slow or stalled disk')} (of ${slow.join(', ')})`)
  if (short.length > 0) problems.push(`${count(short.length, 'nearly full disk')} (of ${short.join(', ')})`)
  if (out.length > 0) problems.push(`${count(out.length, 'full disk')} (of ${out.join(', ')})`)
  return problems
}

/** Ranges that stopped because a majority of their replicas are damaged, and other damage, which is repaired. */
function damageIn({ descriptors, reports }: Picture): string[] {
  const isSilenced = (rangeId: RangeId, place: { readonly nodeId: NodeId; readonly replicaId: ReplicaId }): boolean =>
    reports.get(place.nodeId)?.silenced.some(([range, replica]) => range === rangeId && replica === place.replicaId) ===
    true
  const stopped: RangeId[] = []
  let damaged = 0
  for (const { rangeId, replicas } of descriptors) {
    const voters = replicas.filter(({ type }) => type !== 'learner')
    const silenced = voters.filter((place) => isSilenced(rangeId, place)).length
    damaged += silenced
    if (silenced * 2 >= voters.length && silenced > 0) stopped.push(rangeId)
  }
  const problems: string[] = []
  if (stopped.length > 0) {
    problems.push(`${count(stopped.length, 'range')} stopped, most replicas damaged (${stopped.join(', ')})`)
  }
  if (damaged > 0) problems.push(`${count(damaged, 'replica')} with a damaged log`)
  return problems
}

export function describeNode(picture: Picture, node: RegisteredNode): NodeInfo {
  const report = picture.reports.get(node.nodeId)
  const placed = picture.descriptors.filter((d) => d.replicas.some((place) => place.nodeId === node.nodeId))
  return {
    nodeId: node.nodeId,
    peerAddress: node.peerAddress,
    httpAddress: node.httpAddress,
    locality: node.locality,
    state: stateOf(picture, node.nodeId),
    replicas: report?.ranges.length ?? placed.length,
    leaders: report?.ranges.filter((range) => range.isLeader).length ?? 0,
    bytes: report?.bytes ?? 0,
    readsPerSec: rounded(report?.readsPerSec),
    writesPerSec: rounded(report?.writesPerSec),
    fsyncP50Ms: rounded(report?.fsyncP50Ms),
    fsyncP99Ms: rounded(report?.fsyncP99Ms),
  }
}

/** Who was decommissioned may be switched off: nobody misses it. */
function decommissionedIn({ reports }: Picture): Set<NodeId> {
  return new Set([...reports.values()].flatMap(({ decommissioned }) => decommissioned))
}

function stateOf(picture: Picture, nodeId: NodeId): NodeState {
  const report = picture.reports.get(nodeId)
  if (report === undefined) return decommissionedIn(picture).has(nodeId) ? 'decommissioned' : 'dead'
  return MEMBERSHIPS.find((one) => one === report.membership) ?? 'live'
}

const MEMBERSHIPS = ['draining', 'decommissioning', 'decommissioned'] as const satisfies readonly NodeState[]

export function describeRange(picture: Picture, descriptor: Descriptor): RangeInfo {
  const reported = new Map<ReplicaId, NodeRangeReport>()
  let leader: { nodeId: NodeId; report: NodeRangeReport } | undefined
  for (const { nodeId, replicaId } of descriptor.replicas) {
    const report = picture.reportOf(nodeId, descriptor.rangeId)
    // Of two replicas on a node, one of which replaces the other, only one takes part.
    if (report?.replicaId !== replicaId) continue
    reported.set(replicaId, report)
    if (report.isLeader && (leader === undefined || report.term > leader.report.term)) leader = { nodeId, report }
  }
  const replicas = descriptor.replicas.map((place): RangeReplicaInfo => {
    const report = reported.get(place.replicaId)
    const lag = report === undefined || leader === undefined ? null : leader.report.lastIndex - report.appliedIndex
    return {
      ...place,
      commitIndex: report?.commitIndex ?? null,
      appliedIndex: report?.appliedIndex ?? null,
      lag: lag === null ? null : Math.max(0, lag),
    }
  })
  return {
    rangeId: descriptor.rangeId,
    ...boundsForPeople(descriptor),
    epoch: descriptor.epoch,
    leader: leader?.nodeId ?? null,
    term: leader?.report.term ?? 0,
    bytes: leader?.report.bytes ?? 0,
    readsPerSec: rounded(leader?.report.readsPerSec),
    writesPerSec: rounded(leader?.report.writesPerSec),
    replicas,
  }
}

/** The ranges that a filter asks for, in key order. */
export function selectDescriptors(descriptors: Iterable<Descriptor>, filter: RangeFilter): Descriptor[] {
  return [...descriptors]
    .filter((descriptor) => {
      if (filter.node !== undefined && !descriptor.replicas.some((place) => place.nodeId === filter.node)) return false
      if (filter.key !== undefined && !contains(descriptor, filter.key)) return false
      return filter.span === undefined || overlap(descriptor, filter.span)
    })
    .sort((a, b) => (a.start < b.start ? -1 : 1))
}

export interface RangeFilter {
  /** The whole key, with its keyspace's prefix. */
  readonly key?: Key
  readonly node?: NodeId
  /** Ranges that hold a part of it. */
  readonly span?: Span
}

function contains(descriptor: Descriptor, key: Key): boolean {
  return key >= descriptor.start && (descriptor.end === null || key < descriptor.end)
}

function overlap(a: Span, b: Span): boolean {
  return (a.end === null || b.start < a.end) && (b.end === null || a.start < b.end)
}

/** Bounds without the keyspace's prefix. The first keyspace that a range holds keys of names it. */
function boundsForPeople(descriptor: Descriptor): Pick<RangeInfo, 'keyspace' | 'spread' | 'start' | 'end'> {
  const start = splitKeyspace(descriptor.start)
  const end = descriptor.end === null ? undefined : splitKeyspace(descriptor.end)
  const first = start ?? end
  return {
    keyspace: first?.keyspace ?? '',
    ...(first?.spread === true && { spread: true }),
    start: start?.key ?? '',
    end: end !== undefined && end.keyspace === first?.keyspace && end.spread === first.spread ? end.key : null,
  }
}

/** Finds a report by node and range in constant time. */
export function indexReports(reports: ReadonlyMap<NodeId, NodeReport>): Picture['reportOf'] {
  const byNode = new Map<NodeId, Map<RangeId, NodeRangeReport>>()
  for (const [nodeId, { ranges }] of reports) byNode.set(nodeId, new Map(ranges.map((range) => [range.rangeId, range])))
  return (nodeId, rangeId) => byNode.get(nodeId)?.get(rangeId)
}

function rounded(value: number | undefined): number {
  return value === undefined ? 0 : Math.round(value * 100) / 100
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
