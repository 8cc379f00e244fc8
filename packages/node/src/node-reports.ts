import type { Logger, NodeId, RangeId } from '@cordillera/base'
import { compareEpochs } from '@cordillera/ranges'
import { type Replicas, reportRange } from '@cordillera/replicas'
import type { Router } from '@cordillera/router'
import type { StateStore } from '@cordillera/state'
import type { PeerLinks } from '@cordillera/wire'
import type { NodeRangeReport, NodeReport } from './admin.js'
import { indexReports, type Picture, type RegisteredNode } from './cluster-view.js'
import type { FoundedIdentity } from './founding.js'
import type { LatencyWindow } from './latency-window.js'
import type { LoadMeter } from './load-meter.js'
import type { RangeFinder } from './range-finder.js'

/** What nodes tell each other about themselves, and the picture of the cluster that comes of it: as good as who answers in time. */
export interface NodeReportsParts {
  readonly identity: FoundedIdentity
  readonly replicas: Replicas
  readonly state: StateStore
  readonly router: Router
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly logger: Logger
  readonly finder: Pick<RangeFinder, 'newest'>
  readonly load: LoadMeter
  readonly fsyncs: LatencyWindow
  /** The version of the program, for people. */
  readonly version: string
  registered(): readonly RegisteredNode[]
  /** `member`, or what else it is. */
  membership(): string
  /** See `NodeReport`. */
  decommissioned(): readonly NodeId[]
}

const TIMEOUT_MS = 2_000
/** So many ranges are looked up at once. */
const LOOKUPS_MAX = 32

export class NodeReports {
  readonly #parts: NodeReportsParts

  constructor(parts: NodeReportsParts) {
    this.#parts = parts
  }

  /** This node's. */
  async own(): Promise<NodeReport> {
    const { identity, replicas, state, load, fsyncs, membership, decommissioned } = this.#parts
    const { readsPerSec, writesPerSec } = load.total
    let bytes = 0
    const ranges: NodeRangeReport[] = []
    for (const replica of [...replicas.replicas()]) {
      const rangeBytes = await state.approximateBytes(replica.descriptor)
      // Gone in the meantime.
      if (replica.isClosed) continue
      bytes += rangeBytes
      const report = reportRange(replica)
      ranges.push({ ...report, ...load.of(report.rangeId), bytes: rangeBytes })
    }
    return {
      nodeId: identity.nodeId,
      membership: membership(),
      decommissioned: decommissioned(),
      store: replicas.stores.report,
      bytes,
      readsPerSec,
      writesPerSec,
      fsyncP50Ms: fsyncs.percentile(0.5),
      fsyncP99Ms: fsyncs.percentile(0.99),
      ranges,
      silenced: [...replicas.silenced].flatMap(([rangeId, { state, reason }]) => {
        return reason === 'given-up' ? [] : [[rangeId, state.replicaId] as const]
      }),
    }
  }

  /** Of the whole cluster, as far as nodes answer. */
  async picture(): Promise<Picture> {
    const { identity, links, logger, router, version } = this.#parts
    const { nodeId, clusterId } = identity
    const registered = this.#parts.registered()
    const reports = new Map<NodeId, NodeReport>([[nodeId, await this.own()]])
    const asked = registered.map(async (node) => {
      if (node.nodeId === nodeId || !links.isUp(node.nodeId)) return
      try {
        reports.set(node.nodeId, (await links.ask(node.nodeId, 'report', null, TIMEOUT_MS)) as NodeReport)
      } catch (error) {
        logger.debug('report-missing', { node: node.nodeId, error: String(error) })
      }
    })
    await Promise.all(asked)
    await this.#learnNewer(reports)
    const descriptors = [...router.descriptors()]
    return { clusterId, version, registered, descriptors, reports, reportOf: indexReports(reports) }
  }
  /** Who leads a range knows it first; what this node has not heard of yet is looked up. */
  async #learnNewer(reports: ReadonlyMap<NodeId, NodeReport>): Promise<void> {
    const { router, finder } = this.#parts
    const known = new Map([...router.descriptors()].map(({ rangeId, epoch }) => [rangeId, epoch]))
    const newer = new Set<RangeId>()
    for (const { ranges } of reports.values()) {
      for (const { rangeId, epoch, isLeader } of ranges) {
        const own = known.get(rangeId)
        if (isLeader && (own === undefined || compareEpochs(epoch, own) > 0)) newer.add(rangeId)
      }
    }
    const left = [...newer]
    while (left.length > 0) await Promise.all(left.splice(0, LOOKUPS_MAX).map((rangeId) => finder.newest(rangeId)))
  }
}
