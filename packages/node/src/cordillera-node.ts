import { CordilleraError, InvariantViolation, type NodeId, type Timer } from '@cordillera/base'
import { RaftLog } from '@cordillera/raft-log'
import { SYSTEM_RANGE_ID } from '@cordillera/ranges'
import { Replicas, type SystemSeat } from '@cordillera/replicas'
import { defaultRouterLimits, Router } from '@cordillera/router'
import { StateStore } from '@cordillera/state'
import {
  Admissions,
  decodeHeartbeat,
  type HeartbeatAnswer,
  Oracle,
  Snapshots,
  TimestampClient,
} from '@cordillera/system'
import { type PeerHandlers, PeerLinks } from '@cordillera/wire'
import type { ClusterInfo, NodeInfo, RangeInfo } from './admin.js'
import { describeCluster, describeNode, describeRange, type RangeFilter, selectDescriptors } from './cluster-view.js'
import type { NodeConfig, NodePorts } from './config.js'
import { type Admit, type FoundedIdentity, Founding } from './founding.js'
import { createFoundingReplicas } from './founding-replicas.js'
import { Heartbeats } from './heartbeats.js'
import type { NodeAt } from './join-messages.js'
import { LatencyWindow } from './latency-window.js'
import { LeaderPlacement } from './leader-placement.js'
import { LoadMeter } from './load-meter.js'
import { type NodeMetrics, takeMetrics } from './metrics.js'
import { NodeReports } from './node-reports.js'
import { PeerBook } from './peer-book.js'
import { PlacementDesk } from './placement-desk.js'
import { isUpkeepMethod, RangeUpkeep } from './range-upkeep.js'
import { whyUnready } from './readiness.js'
import { readReplicated } from './replicated-indexes.js'
import { ServedRanges } from './served-ranges.js'
import { SpaceMeter } from './space-meter.js'
import { readStoreReport, StoreTalk } from './store-talk.js'
import { Whereabouts } from './whereabouts.js'

/**
 * One node: everything below it put together from ports, in one place, from top to bottom.
 *
 * Start: the state database is opened first (with it the directory's lock), then the log; then the node listens, for
 * founding only; then it has an identity, counted up to a new incarnation; only then replicas exist and peers are met.
 * A failure of the disk, or a broken invariant, stops everything and resolves {@link failed}.
 */

type LateHandlers = Omit<PeerHandlers, 'onGuest'>

const REPORT_TIMEOUT_MS = 2_000
const SAMPLE_MS = 1_000
/** How often leaders say what every replica holds, so that logs can be compacted. */
const REPLICATED_MS = 5_000
/** How often this node looks after replicas that take no part. */
const UPKEEP_MS = 1_000
/** How often the disk's free room is measured: much less than it takes to fill the reserve. */
const SPACE_MS = 500

export class CordilleraNode {
  readonly identity: FoundedIdentity
  readonly router: Router
  /** Resolves when the store has stopped itself, with the reason. */
  readonly failed: Promise<Error>
  readonly #ports: NodePorts
  readonly #log: RaftLog
  readonly #state: StateStore
  readonly #replicas: Replicas
  readonly #links: PeerLinks
  readonly #whereabouts: Whereabouts
  readonly #oracle: Oracle
  readonly #timestamps: TimestampClient
  readonly #leaderPlacement: LeaderPlacement
  /** Commands to single ranges, as operators carry them out. */
  readonly upkeep: RangeUpkeep
  /** Operators, settings, and what was decided about ranges. */
  readonly placement: PlacementDesk
  readonly #heartbeats: Heartbeats
  readonly #served: ServedRanges
  /** As the placement driver said last. */
  #membership = 'member'
  readonly #storeTalk: StoreTalk
  /** Timestamps to read at, and what keeps the versions that they see. */
  readonly snapshots: Snapshots
  readonly #space: SpaceMeter
  readonly #load: LoadMeter
  readonly #reports: NodeReports
  readonly #fsyncs: LatencyWindow
  readonly #timers = new Set<Timer>()
  #phase: 'running' | 'draining' | 'closed' = 'running'
  #onFailed: (error: Error) => void = () => {}

  /** Resolves once the node has an identity and its replicas are open: after founding, which may take for ever. */
  static async start(config: NodeConfig, ports: NodePorts): Promise<CordilleraNode> {
    const { clock, logger } = ports
    const engine = await ports.openEngine()
    const state = await StateStore.open({ engine, clock, logger, flushBytes: config.replicas.stateFlushBytes })
    const fsyncs = new LatencyWindow()
    const late: { handlers?: LateHandlers; replicas?: Replicas } = {}
    const log = await RaftLog.open({
      disk: ports.logDisk,
      clock,
      logger,
      ...config.log,
      syncObserver: (sample) => {
        fsyncs.add(sample.durationMs)
        late.replicas?.stores.onSync(sample.durationMs)
        ports.observer?.onLogSync?.(sample)
      },
      onLogBytesMax: ({ groups }) => late.replicas?.retention.onLogBytesMax(groups),
    })
    const founding = new Founding(config, ports)
    // No peer is met before the node has told the links who it is: until then only guests are answered.
    const links = new PeerLinks({
      transport: ports.transport,
      clock,
      logger,
      durableBatch: () => log.durableBatch,
      handlers: {
        onRaft: (from, rangeId, message) => late.handlers?.onRaft(from, rangeId, message),
        onRangeRequest: (from, request, reply) => late.handlers?.onRangeRequest(from, request, reply),
        onSnapshot: (from, message) => late.handlers?.onSnapshot(from, message),
        onAsk: async (from, method, body) => late.handlers?.onAsk(from, method, body),
        onLinkUp: (node, incarnation) => late.handlers?.onLinkUp(node, incarnation),
        onLinkDown: (node) => late.handlers?.onLinkDown(node),
        onNodeGone: (node) => late.handlers?.onNodeGone(node),
        onOutdated: (by, detail) => late.handlers?.onOutdated(by, detail),
        onGuest: (body) => founding.onGuest(body),
        onFatal: (error) => late.handlers?.onFatal(error),
      },
    })
    await links.start()
    const identity = await founding.found()
    await createFoundingReplicas({ state, log, founding }, identity)
    const book = new PeerBook(ports.identityDisk, logger)
    const remembered = await book.read()
    const node = new CordilleraNode({ config, ports, identity, state, log, links, fsyncs, book, remembered })
    late.replicas = node.#replicas
    late.handlers = node.#peerHandlers()
    node.#begin()
    founding.admitWith(node.#admission())
    return node
  }

  private constructor(parts: {
    readonly config: NodeConfig
    readonly ports: NodePorts
    readonly identity: FoundedIdentity
    readonly state: StateStore
    readonly log: RaftLog
    readonly links: PeerLinks
    readonly fsyncs: LatencyWindow
    readonly book: PeerBook
    readonly remembered: readonly NodeAt[]
  }) {
    const { config, ports, identity, state, log, links, book, remembered } = parts
    const { clock, random, logger, transport } = ports
    this.identity = identity
    this.#ports = ports
    this.#log = log
    this.#state = state
    this.#links = links
    this.#fsyncs = parts.fsyncs
    this.#load = new LoadMeter(random)
    this.failed = new Promise((resolve) => {
      this.#onFailed = resolve
    })
    const { nodeId } = identity
    this.#oracle = new Oracle({ clock, logger, knownNodes: () => this.#nodeIds() })
    this.snapshots = new Snapshots({ clock, client: () => this.#timestamps })
    this.#timestamps = new TimestampClient({
      router: () => this.router,
      clock,
      systemReplica: () => {
        const replica = this.#replicas.replica(SYSTEM_RANGE_ID)
        return { replicaId: replica?.replicaId ?? 0, term: replica?.core.term ?? 0 }
      },
      oldestSnapshot: () => this.snapshots.oldestSnapshot(),
      onSafePoint: (safePoint) => state.advanceSafePoint(safePoint),
    })
    this.#replicas = new Replicas({
      ...{ nodeId, clock, random, logger, log, state, links },
      limits: config.replicas,
      timestamps: this.#timestamps,
      systemSeat: this.#systemSeat(),
      askOutcome: (lock, at) => this.router.transactions.outcomeOf(lock, at),
      ...(ports.observer?.replicas && { observer: ports.observer.replicas }),
      onDescriptors: (descriptors) => this.router.learn(descriptors),
      onStoreChanged: () => this.#storeTalk.say(),
      onFatal: (error) => this.#fail(error),
    })
    this.router = new Router({
      rangeCall: {
        self: nodeId,
        isUp: (node) => links.isUp(node),
        send: (node, request, onReply) => {
          if (node !== nodeId) return links.call(node, request, onReply)
          this.#replicas.execute(request, onReply)
          return true
        },
      },
      incarnation: identity.incarnation,
      ...{ snapshots: this.snapshots, clock, random, logger },
      limits: defaultRouterLimits,
      onRouteLost: (rangeId) => this.upkeep.onLost(rangeId),
      onRouteMissing: (key) => this.upkeep.onMissing(key),
    })
    this.#whereabouts = new Whereabouts({
      ...{ config, identity, router: this.router, links, transport, clock, logger, book, remembered },
    })
    this.#leaderPlacement = new LeaderPlacement({ nodeId, replicas: this.#replicas, links, clock, logger })
    this.#space = this.#newSpaceMeter()
    this.#storeTalk = this.#newStoreTalk()
    this.upkeep = new RangeUpkeep({
      ...{ identity, replicas: this.#replicas, state, router: this.router, links, clock, logger },
      ...{ snapshots: this.snapshots, random, scrubMs: config.scrubMs, nodes: () => this.#nodeIds() },
    })
    this.#reports = new NodeReports({
      ...{ identity, replicas: this.#replicas, state, links, logger, router: this.router, version: config.version },
      ...{ load: this.#load, fsyncs: this.#fsyncs, finder: this.upkeep.finder },
      registered: () => this.#whereabouts.registered(),
      membership: () => (this.#phase === 'draining' ? 'draining' : this.#membership),
      decommissioned: () => this.placement.driver.decommissioned(),
    })
    const { router, upkeep } = this
    const onLost = upkeep.onLost.bind(upkeep)
    this.#served = new ServedRanges({ nodeId, replicas: this.#replicas, router, links, onLost })
    this.placement = this.#newPlacement()
    this.#heartbeats = this.#newHeartbeats()
  }

  // --- for people ---

  async cluster(): Promise<ClusterInfo> {
    return describeCluster(await this.#reports.picture())
  }

  async nodes(): Promise<NodeInfo[]> {
    const picture = await this.#reports.picture()
    return picture.registered.map((node) => describeNode(picture, node))
  }

  /** The ranges that fit the filter, in key order. */
  async ranges(filter: RangeFilter): Promise<{ ranges: RangeInfo[] }> {
    const picture = await this.#reports.picture()
    const selected = selectDescriptors(picture.descriptors, filter)
    return { ranges: selected.map((descriptor) => describeRange(picture, descriptor)) }
  }

  metrics(): NodeMetrics {
    return takeMetrics({
      ...{ log: this.#log, state: this.#state, replicas: this.#replicas, router: this.router, links: this.#links },
    })
  }

  /** Whether it is registered, every range known here has a leader that it can reach, and nobody has asked to drain it. */
  isReady(): boolean {
    return this.whyUnready() === undefined
  }

  /** For a person; undefined when it is ready. */
  whyUnready(): string | undefined {
    const [phase, membership, whereabouts, served] = [this.#phase, this.#membership, this.#whereabouts, this.#served]
    return whyUnready({ phase, membership, whereabouts, served })
  }

  // --- lifecycle ---

  /**
   * Takes no new work, answers what is under way and hands every leadership to a reachable peer. Resolves when that is
   * done, or could not be within `timeoutMs`.
   */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#phase !== 'running') return
    this.#phase = 'draining'
    const { clock, logger } = this.#ports
    logger.info('draining')
    for (const { nodeId } of this.#whereabouts.registered()) this.#sayDraining(nodeId)
    const deadline = clock.now() + timeoutMs
    await Promise.race([this.router.drain(), new Promise<void>((resolve) => clock.after(timeoutMs, resolve))])
    await this.#replicas.drain(Math.max(0, deadline - clock.now()))
    logger.info('drained')
  }

  /** Flushes the state, seals the log and closes everything. Idempotent. Does not hand leaderships over: drain first. */
  async close(): Promise<void> {
    if (this.#phase === 'closed') return
    this.#stop()
    await this.#links.close()
    await this.#state.close()
    await this.#log.close()
    this.#ports.logger.info('closed')
  }

  #begin(): void {
    const { identity } = this
    const { nodeId, document, clusterId, incarnation } = identity
    this.router.learn(document.descriptors)
    this.router.learn(this.#replicas.descriptors())
    const { recoveredBatch } = this.#log
    this.#links.identify({ clusterId, nodeId, incarnation }, { recoveredBatch, nonce: this.#ports.random.u32() })
    this.#every(SAMPLE_MS, () => this.#onSecond())
    this.#every(REPLICATED_MS, () => this.#sayReplicated())
    this.#every(UPKEEP_MS, () => this.upkeep.onRound())
    this.#space.measure()
    this.#every(SPACE_MS, () => this.#space.measure())
    this.#whereabouts.start()
    this.#timestamps.start()
    this.#leaderPlacement.onStart()
    this.#ports.logger.info('node-started', {
      ...{ clusterId, nodeId, incarnation },
      replicas: [...this.#replicas.replicas()].length,
      silenced: this.#replicas.silenced.size,
    })
  }

  #stop(): void {
    this.#phase = 'closed'
    this.#whereabouts.close()
    this.upkeep.close()
    for (const timer of this.#timers) timer.cancel()
    this.#timestamps.close()
    this.#oracle.close()
    this.placement.driver.onLeadingEnded()
    this.router.close()
    this.#replicas.close()
  }

  /** The store must not go on: everything stops where it is, and nothing more is acknowledged. */
  #fail(cause: unknown): void {
    if (this.#phase === 'closed') return
    const error = cause instanceof Error ? cause : new InvariantViolation(String(cause))
    this.#ports.logger.error('store-stopped', { error: error.message, stack: error.stack })
    this.#stop()
    void this.#links.close()
    this.#onFailed(error)
  }

  #every(periodMs: number, action: () => void): void {
    let timer: Timer
    const run = (): void => {
      this.#timers.delete(timer)
      if (this.#phase === 'closed') return
      action()
      timer = this.#ports.clock.after(periodMs, run)
      this.#timers.add(timer)
    }
    timer = this.#ports.clock.after(periodMs, run)
    this.#timers.add(timer)
  }

  #peerHandlers(): LateHandlers {
    const replicas = this.#replicas
    return {
      onRaft: (from, rangeId, message) => replicas.onRaft(from, rangeId, message),
      onRangeRequest: (_from, request, reply) => replicas.executeForeign(request, reply),
      onSnapshot: (from, message) => replicas.onSnapshot(from, message),
      onAsk: (from, method, body) => this.#onAsk(from, method, body),
      onLinkUp: (node, incarnation) => this.#onLinkUp(node, incarnation),
      onLinkDown: (node) => replicas.onLinkDown(node),
      onNodeGone: (node) => replicas.onNodeGone(node),
      onOutdated: (by, detail) => this.#fail(outdated(by, detail)),
      onFatal: (error) => this.#fail(error),
    }
  }

  #onSecond(): void {
    this.#load.sample(this.#replicas, SAMPLE_MS / 1_000)
    this.#heartbeats.onSecond()
    this.#served.onSecond()
    this.placement.driver.onRound()
    if (this.#phase === 'running') this.#leaderPlacement.onSecond()
    this.#storeTalk.say()
  }

  #onLinkUp(node: NodeId, incarnation: number): void {
    this.upkeep.onLinkUp(node)
    this.#replicas.onLinkUp(node, incarnation)
    this.#whereabouts.onLinkUp(node)
    this.#replicas.stores.forgetPeer(node)
    this.#storeTalk.onLinkUp(node)
    if (this.#phase === 'running') this.#leaderPlacement.onLinkUp(node)
    else this.#sayDraining(node)
  }

  // --- between nodes ---

  async #onAsk(from: NodeId, method: string, body: unknown): Promise<unknown> {
    switch (method) {
      case 'report':
        return this.#reports.own()
      case 'leaders':
        return this.#served.onAsked(body)
      case 'places':
        return this.#whereabouts.onPlaces(body)
      case 'replicated':
        this.#replicas.retention.onSaidReplicated(readReplicated(body))
        return null
      case 'heartbeat':
        return this.placement.driver.onHeartbeat(from, decodeHeartbeat(body))
      case 'driver':
        return this.placement.onAsked(body)
      case 'store':
        this.#replicas.stores.onPeer(from, readStoreReport(body))
        return null
      case 'draining':
        this.#leaderPlacement.onDraining(from)
        return null
      default:
        if (isUpkeepMethod(method)) return this.upkeep.onAsked(method, body)
        throw new CordilleraError('NOT_FOUND', { detail: `node ${from} asked for "${method}", which is unknown here` })
    }
  }

  /** So that nobody hands leaderships back. Who does not hear it loses time, nothing else. */
  #sayDraining(node: NodeId): void {
    if (node === this.identity.nodeId || !this.#links.isUp(node)) return
    this.#links.ask(node, 'draining', null, REPORT_TIMEOUT_MS).catch(() => {})
  }

  #sayReplicated(): void {
    for (const [node, indexes] of this.#replicas.retention.replicatedIndexes()) {
      if (!this.#links.isUp(node)) continue
      this.#links.ask(node, 'replicated', indexes, REPORT_TIMEOUT_MS).then(
        () => this.#replicas.retention.onSaid(node, indexes),
        () => {}, // Said again next time.
      )
    }
  }

  #newSpaceMeter(): SpaceMeter {
    const { logDisk: disk, logger } = this.#ports
    const onFreeBytes = (freeBytes: number): void => {
      if (this.#phase !== 'closed') this.#replicas.stores.onFreeBytes(freeBytes)
    }
    return new SpaceMeter({ disk, logger, onFreeBytes })
  }

  #newStoreTalk(): StoreTalk {
    return new StoreTalk({
      ...{ links: this.#links, nodeId: this.identity.nodeId },
      nodes: () => this.#nodeIds(),
      report: () => this.#replicas.stores.report,
    })
  }

  #newPlacement(): PlacementDesk {
    const { clock, logger } = this.#ports
    const { nodeId, document } = this.identity
    return new PlacementDesk({
      ...{ nodeId, upkeep: this.upkeep, links: this.#links, clock, logger, founded: document.descriptors },
      router: () => this.router,
      registered: () => this.#whereabouts.registered(),
      isFit: (node) => this.#replicas.stores.isFit(node),
    })
  }

  #newHeartbeats(): Heartbeats {
    const { clock, logger } = this.#ports
    const { nodeId } = this.identity
    return new Heartbeats({
      ...{ nodeId, replicas: this.#replicas, state: this.#state, load: this.#load, links: this.#links, clock, logger },
      nodesOf: (rangeId) => this.upkeep.nodesOf(rangeId),
      here: (heartbeat) => this.placement.driver.onHeartbeat(nodeId, heartbeat),
      onAnswer: (answer) => this.#onHeard(answer),
    })
  }

  /** The placement driver is there, and balances leaderships: nobody else is to. */
  #onHeard({ membership, settings }: HeartbeatAnswer): void {
    this.#membership = membership
    if (settings !== undefined) {
      this.#load.splitLoadPerSec = settings.rangeSplitLoadPerSec
      this.#replicas.snapshotRate.bytesPerSec = settings.snapshotBytesPerSecMax
    }
    this.#leaderPlacement.onDriverHeard()
  }

  /** Every node of the cluster, as far as is known. */
  #nodeIds(): NodeId[] {
    return this.#whereabouts.nodeIds()
  }

  #admission(): Admit {
    const first = 1 + Math.max(...this.identity.document.nodes.map(({ nodeId }) => nodeId))
    const admissions = new Admissions({ router: () => this.router, clock: this.#ports.clock, first })
    return (token) => admissions.admit(token)
  }

  /** What runs beside the leader of the system range. */
  #systemSeat(): SystemSeat {
    return {
      onLeading: (leadership) => {
        this.upkeep.onSystemLed()
        this.#oracle.onLeading(leadership)
        this.placement.driver.onLeading()
      },
      onLeadingEnded: () => {
        this.#oracle.onLeadingEnded()
        this.placement.driver.onLeadingEnded()
      },
      issue: (request) => this.#oracle.issue(request),
    }
  }
}

function outdated(by: NodeId, detail: string): CordilleraError {
  return new CordilleraError('DIRECTORY_INVALID', {
    detail: `node ${by} has heard of a later state of this node than is in its data directory: ${detail}. An older copy was put back, the directory was copied, or its log lost its end. Empty the directory`,
  })
}
