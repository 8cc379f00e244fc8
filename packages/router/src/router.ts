import type { Clock, CordilleraError, Key, Logger, NodeId, RangeId, Timer, Version } from '@cordillera/base'
import { type Descriptor, SYSTEM_SPAN, type WriteGuard } from '@cordillera/ranges'
import type { DecidedReply, RangeReply, TimestampsReply, VersionedValue } from '@cordillera/wire'
import { Admission } from './admission.js'
import type { RouterLimits } from './limits.js'
import type { MergedScanPlan } from './merged-scan.js'
import { OutstandingSequences } from './outstanding.js'
import {
  type AnyBatch,
  type Done,
  type PageResult,
  type PageSpan,
  ReadBatch,
  type TimestampsNeeded,
  type TransactionAsked,
  WriteBatch,
} from './pending-batch.js'
import type { RangeCall } from './range-call.js'
import { diskFull, refuseValue, routerClosed, snapshotExpired, unavailable, unknownOutcome } from './refusals.js'
import type { Route } from './route.js'
import { decideNext, isLost, KEEP, LOST, NOT_SENT, type Outcome, ROTATE, STAY } from './route-decision.js'
import { RouteTable } from './route-table.js'
import type { RouterOptions } from './router-options.js'
import { countSent, newRouterStats, type RouterStats } from './router-stats.js'
import { scanAtSnapshot } from './scan-at-snapshot.js'
import { type AskPage, clip, refusePage, type ScanPlan, type ScanResult } from './scan-walk.js'
import type { SnapshotSource } from './snapshot-source.js'
import { Transactions } from './transactions.js'
import { WriteIntake } from './write-intake.js'

export type { Done } from './pending-batch.js'
export type { RouterOptions } from './router-options.js'

/**
 * Takes any operation on any node to the leader of its key's range, and its answer back, within a deadline.
 *
 * Operations of one kind that arrive in one turn of the event loop for one range travel as one request. Each is answered
 * exactly once: done; UNAVAILABLE, surely without effect, now or later; or, for writes alone, OUTCOME_UNKNOWN, when the
 * deadline passes after a request that carried it may have been proposed. Everything is sent again until its deadline.
 * A write is numbered, once, for all its sendings, and the range remembers what numbers came to: it takes effect at most
 * once. Writes that are sent again keep their batch's order; concurrent operations have no order otherwise. Nothing
 * waits without bound: above `operationsMax` or `operationBytesMax` operations are refused with OVERLOADED at once.
 */
export class Router {
  readonly #rangeCall: RangeCall
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #limits: RouterLimits
  readonly #onRouteMissing: ((key: Key) => void) | undefined
  readonly #onRouteLost: ((rangeId: RangeId) => void) | undefined
  readonly #snapshots: SnapshotSource
  readonly #outstanding = new OutstandingSequences()
  readonly #isUp: (node: NodeId) => boolean
  readonly #table: RouteTable
  /** The last key for which no range was known; told at most once a sweep. */
  #missingKey: Key = ''
  #isMissingTold = false
  /** Every batch that is not finished. */
  readonly #batches = new Set<AnyBatch>()
  #awake: Route[] = []
  #sequence = 0
  #sweep: Timer | undefined
  /** Requests for timestamps not yet answered. */
  #asking = 0
  readonly #stats = newRouterStats()
  readonly #admission: Admission
  readonly #intake: WriteIntake
  /** Atomic writes, and what becomes of those whose coordinator is gone. */
  readonly transactions: Transactions

  constructor(options: RouterOptions) {
    const { rangeCall, clock, random, logger, limits } = options
    this.#rangeCall = rangeCall
    this.#clock = clock
    this.#logger = logger
    this.#limits = limits
    this.#admission = new Admission(limits, this.#stats)
    this.#onRouteMissing = options.onRouteMissing
    this.#onRouteLost = options.onRouteLost
    const { self } = rangeCall
    this.#isUp = (node) => node === self || rangeCall.isUp(node)
    this.#snapshots = options.snapshots
    const session = { nodeId: self, incarnation: options.incarnation }
    const numbering = { session, outstanding: this.#outstanding }
    const context = { self, isUp: this.#isUp, clock, random, limits, numbering }
    this.#table = new RouteTable(context, (route) => this.#wake(route))
    this.#intake = new WriteIntake({
      ...{ clock, random, limits, stats: this.#stats, outstanding: this.#outstanding },
      routeOf: (key) => this.#routeOf(key),
      nextSequence: () => ++this.#sequence,
      track: (batch) => this.#track(batch),
      wake: (route) => this.#wake(route),
      finish: (batch) => this.#finish(batch),
      retry: (batch) => this.#retry(batch),
      onAnswered: (operations) => this.#admission.onAnswered(operations),
    })
    this.transactions = new Transactions({
      ...{ clock, random, limits, session, outstanding: this.#outstanding, logger },
      rangeOf: (key) => this.#table.find(key).rangeId,
      tryAdmit: (key, bytes) => this.#tryAdmit(key, bytes),
      onAnswered: () => this.#admission.onAnswered(1),
      askOutcome: (asked, deadlineMs, done) => {
        if (this.#mayAsk(done)) this.#askOutcome(asked, deadlineMs, done)
      },
      send: (command, deadlineMs, done) => {
        this.#admission.admitPart()
        if (this.#sweep === undefined) this.#scheduleSweep()
        this.#intake.take(command, deadlineMs, done)
      },
    })
  }

  get stats(): Readonly<RouterStats> {
    return this.#stats
  }

  /** What is known of the ranges, in order of keys. */
  descriptors(): Iterable<Descriptor> {
    return this.#table.descriptors()
  }

  /** The node that is believed to lead the range; 0 when nobody is. */
  leaderOf(rangeId: RangeId): NodeId {
    return this.#table.leaderOf(rangeId)
  }

  /**
   * Writes `value` under `key`. Both are copied before this returns: the caller may use the value's memory again.
   *
   * `deadlineMs` is a time of the clock that was handed in. `done` runs exactly once, with the new version or an error:
   * KEY_TOO_LARGE, VALUE_TOO_LARGE, OVERLOADED and CLOSED before `put` returns, UNAVAILABLE and OUTCOME_UNKNOWN later,
   * DISK_FULL (nothing was written, and will not be) either way;
   * with a guard, VERSION_MISMATCH (`details.version` is the newest one, 0 for none), IDEMPOTENCY_KEY_REUSED and
   * OVERLOADED as well. It must not throw; it may call the router.
   */
  put(key: Key, value: Uint8Array, deadlineMs: number, done: Done<Version>, guard?: WriteGuard): void {
    const route = this.#table.find(key)
    const refusal = refuseValue(value.length) ?? this.#tryAdmit(key, value.length) ?? this.#refuseIfFull(route)
    if (refusal !== undefined) {
      done(refusal, 0)
      return
    }
    this.#stats.writes++
    if (route.descriptor === undefined) this.#onMissing(key)
    const bytes = key.length + value.length
    this.#intake.open(route, bytes).put(this.#outstanding.take(), key, value, guard, deadlineMs, done)
    this.#stats.operationBytesWaiting += bytes
    this.#wake(route)
  }

  /** Removes `key`, present or not. As {@link put}. */
  delete(key: Key, deadlineMs: number, done: Done<Version>, guard?: WriteGuard): void {
    const refusal = this.#tryAdmit(key, 0)
    if (refusal !== undefined) {
      done(refusal, 0)
      return
    }
    this.#stats.writes++
    const route = this.#routeOf(key)
    this.#intake.open(route, key.length).delete(this.#outstanding.take(), key, guard, deadlineMs, done)
    this.#stats.operationBytesWaiting += key.length
    this.#wake(route)
  }

  /** Reads the newest version, linearizable. The value's memory is the caller's. Never OUTCOME_UNKNOWN; as {@link put}. */
  get(key: Key, deadlineMs: number, done: Done<VersionedValue | undefined>): void {
    const refusal = this.#tryAdmit(key, 0)
    if (refusal !== undefined) {
      done(refusal, undefined)
      return
    }
    this.#stats.reads++
    this.#get(key, deadlineMs, done)
  }

  /**
   * Reads a span over its ranges, in order, at one snapshot: `plan.at`, or a new one, above everything acknowledged before
   * the call. Rejects as {@link get} does, and with BAD_REQUEST and SNAPSHOT_EXPIRED.
   */
  scan(plan: ScanPlan, deadlineMs: number): Promise<ScanResult> {
    return this.#scan(plan, deadlineMs)
  }

  /** Reads a span behind each prefix, merged in the order of what stands behind them; otherwise as {@link scan}. */
  scanMerged(plan: MergedScanPlan, deadlineMs: number): Promise<ScanResult> {
    return this.#scan(plan, deadlineMs)
  }

  #scan(plan: ScanPlan | MergedScanPlan, deadlineMs: number): Promise<ScanResult> {
    const refusal = refusePage(plan) ?? this.#tryAdmit('', 0)
    if (refusal !== undefined) return Promise.reject(refusal)
    this.#stats.scans++
    const askPage: AskPage = (span, pageDeadlineMs, done) => this.#askPage(span, pageDeadlineMs, done)
    const scanned = scanAtSnapshot(this.#snapshots, plan, { deadlineMs, askPage })
    return scanned.finally(() => this.#admission.onAnswered(1))
  }

  /**
   * Asks the oracle, beside the leader of the system range, for timestamps. `prepare` runs at every sending, and the
   * answer is always to the last one: what began to wait before that may use it. Not counted as load, and served until
   * {@link close}, because writes that were accepted wait for it.
   */
  askTimestamps(
    prepare: () => TimestampsNeeded,
    deadlineMs: number,
    done: (error: CordilleraError | undefined, reply: TimestampsReply | undefined) => void,
  ): void {
    if (this.#mayAsk(done)) this.#askTimestamps(prepare, deadlineMs, done)
  }

  /** Takes in what is said about ranges: newer epochs win, and replace whatever older they overlap. */
  learn(descriptors: Iterable<Descriptor>): void {
    for (const batch of this.#table.learn(descriptors)) this.#reroute(batch)
  }

  /** Takes in that `node` leads the range, from someone who should know, such as a local replica. */
  learnLeader(rangeId: RangeId, node: NodeId): void {
    this.#table.learnLeader(rangeId, node)
  }

  /** Refuses new operations with CLOSED from now on, and resolves once every earlier one is answered. */
  drain(): Promise<void> {
    return this.#admission.drain()
  }

  /** Answers everything that waits at once, as if its deadline had passed, and refuses what comes. Idempotent. */
  close(): void {
    this.#admission.close()
    for (const batch of [...this.#batches]) this.#expire(batch, Number.POSITIVE_INFINITY)
    this.#table.close()
    this.#sweep?.cancel()
    this.#sweep = undefined
  }

  #tryAdmit(key: Key, valueBytes: number): CordilleraError | undefined {
    const refusal = this.#admission.tryAdmit(key, valueBytes)
    if (refusal === undefined && this.#sweep === undefined) this.#scheduleSweep()
    return refusal
  }

  /** Questions are not counted as load. */
  #mayAsk(done: Done<undefined>): boolean {
    if (this.#admission.isClosed) {
      done(routerClosed(), undefined)
      return false
    }
    this.#asking++
    if (this.#sweep === undefined) this.#scheduleSweep()
    return true
  }

  #askOutcome(asked: TransactionAsked, deadlineMs: number, done: Done<DecidedReply | undefined>): void {
    const route = this.#routeOf(asked.home)
    this.#track(route.openOutcome(++this.#sequence)).begin(asked, deadlineMs, done)
    this.#wake(route)
  }

  #askTimestamps(prepare: () => TimestampsNeeded, deadlineMs: number, done: Done<TimestampsReply | undefined>): void {
    const route = this.#routeOf(SYSTEM_SPAN.start)
    this.#track(route.openTimestamps(++this.#sequence)).begin(prepare, deadlineMs, done)
    this.#wake(route)
  }

  #get(key: Key, deadlineMs: number, done: Done<VersionedValue | undefined>): void {
    const route = this.#routeOf(key)
    const batch = route.tryOpenReads(key.length) ?? this.#track(route.openReads(++this.#sequence))
    batch.get(key, deadlineMs, done)
    this.#stats.operationBytesWaiting += key.length
    this.#wake(route)
  }

  #askPage(span: PageSpan, deadlineMs: number, done: Done<PageResult>): void {
    const { start, end } = span
    const route = span.reverse ? this.#table.findBelow(end) : this.#table.find(start)
    const { descriptor } = route
    if (descriptor === undefined) this.#onMissing(span.reverse ? (end ?? start) : start)
    const clipped = descriptor === undefined ? span : clip(span, descriptor)
    this.#track(route.openScan(++this.#sequence)).begin(clipped, deadlineMs, done)
    this.#wake(route)
  }

  #track<Batch extends AnyBatch>(batch: Batch): Batch {
    this.#batches.add(batch)
    return batch
  }

  #routeOf(key: Key): Route {
    const route = this.#table.find(key)
    if (route.descriptor === undefined) this.#onMissing(key)
    return route
  }

  #onMissing(key: Key): void {
    this.#missingKey = key
    if (this.#isMissingTold) return
    this.#isMissingTold = true
    this.#logger.debug('route-missing')
    this.#clock.defer(() => this.#onRouteMissing?.(this.#missingKey))
  }

  /** Has the route looked after at the end of this turn. */
  #wake(route: Route): void {
    if (route.isAwake || route.descriptor === undefined) return
    route.isAwake = true
    if (this.#awake.length === 0) this.#clock.defer(() => this.#flush())
    this.#awake.push(route)
  }

  #flush(): void {
    const routes = this.#awake
    this.#awake = []
    for (const route of routes) {
      route.isAwake = false
      if (route.isCurrent) this.#sendWaiting(route)
    }
  }

  #sendWaiting(route: Route): void {
    while (!route.isEmpty) {
      const node = route.leader.target(route.descriptor!.replicas)
      const batch = node === 0 ? undefined : route.tryTakeNext()
      if (batch === undefined) return
      this.#send(route, batch, node)
    }
  }

  #send(route: Route, batch: AnyBatch, node: NodeId): void {
    const nowMs = this.#clock.now()
    if (batch.deadlineMinMs <= nowMs && this.#failDue(batch, nowMs)) return
    const request = batch.takeRequest()
    batch.node = node
    batch.state = 'in-flight'
    batch.sentAtMs = nowMs
    const attempt = ++batch.attempts
    route.onSending(batch)
    const isSent = this.#rangeCall.send(node, request, (reply) => this.#onReply(batch, attempt, reply))
    if (!isSent) this.#onOutcome(batch, NOT_SENT)
    else countSent(this.#stats, batch.kind, node === this.#rangeCall.self)
  }

  #onReply(batch: AnyBatch, attempt: number, reply: RangeReply | undefined): void {
    // A batch that was given up, or sent again, in the meantime hears no more; the news of ranges are news all the same.
    if (batch.state === 'in-flight' && batch.attempts === attempt) this.#onOutcome(batch, reply ?? LOST)
    else if (reply?.kind === 'refused') this.learn(reply.descriptors)
  }

  #onOutcome(batch: AnyBatch, outcome: Outcome): void {
    const { route } = batch
    if (outcome.kind === 'refused' && outcome.descriptors.length > 0) this.learn(outcome.descriptors)
    if (isLost(outcome)) this.#onRouteLost?.(route.rangeId)
    const { operations, next } = decideNext(outcome, {
      kind: batch.kind,
      count: batch.count,
      node: batch.node,
      asked: route.leader.asked,
      mayBeProposed: batch.mayBeProposed,
      isRouteStale: route.isStale(batch),
      isUp: this.#isUp,
    })
    route.onEnded(batch)
    route.leader.onEnded(next, batch.node, batch.tenure)
    if (operations === 'answer') this.#answer(batch, outcome as RangeReply)
    else if (operations === 'expired') this.#failExpired(batch)
    else if (operations === 'disk-full') this.#onDiskFull(batch)
    else {
      if (operations === 'may-be-proposed') batch.mayBeProposed = true
      route.lastTrouble = `node ${batch.node}: ${outcome.kind === 'refused' ? outcome.reason : outcome.kind}`
      if (next.kind === 'follow') this.#stats.redirects++
      this.#retry(batch)
    }
    this.#wake(route)
  }

  #answer(batch: AnyBatch, reply: RangeReply): void {
    if (batch.kind === 'read' && reply.kind === 'values') {
      if (reply.values.length === batch.count) {
        this.#admission.onAnswered(this.#finish(batch))
        batch.answer(reply.values)
      } else {
        this.#admission.onAnswered(batch.answer(reply.values))
        this.#retry(batch)
      }
    } else if (batch.kind === 'write' && reply.kind === 'written') {
      this.#intake.answer(batch, reply.outcomes)
    } else if (batch.kind === 'outcome' && reply.kind === 'decided') {
      this.#finish(batch)
      this.#asking--
      batch.answer([reply])
    } else if (batch.kind === 'timestamps' && reply.kind === 'timestamps') {
      this.#finish(batch)
      this.#asking--
      batch.answer([reply])
    } else if (batch.kind === 'scan' && reply.kind === 'scanned') {
      this.#finish(batch)
      batch.answer([{ kind: 'page', span: batch.span, page: reply }])
    }
  }

  /** Values are refused, at once and for a while; what else was in the batch goes by itself. */
  #onDiskFull(batch: AnyBatch): void {
    const { route } = batch
    route.fullUntilMs = this.#clock.now() + this.#limits.diskFullMs
    if (batch.kind === 'write') this.#countFull(batch.refusePuts(diskFull(route)))
    this.#retry(batch)
  }

  /** Of an operation that was admitted. */
  #refuseIfFull(route: Route): CordilleraError | undefined {
    if (route.fullUntilMs === 0 || !route.isFull(this.#clock.now())) return undefined
    this.#countFull(1)
    return diskFull(route)
  }

  #countFull(operations: number): void {
    this.#stats.diskFull += operations
    this.#admission.onAnswered(operations)
  }

  #retry(batch: AnyBatch): void {
    this.#stats.retries++
    if (batch.live === 0) this.#finish(batch)
    else if (batch.route.isStale(batch)) this.#reroute(batch)
    else batch.route.putBack(batch)
  }

  /** Finds the range of each operation anew. The batch neither waits in a queue nor is in flight. */
  #reroute(batch: AnyBatch): void {
    this.#finish(batch)
    if (batch instanceof WriteBatch) {
      this.#intake.reroute(batch)
    } else if (batch instanceof ReadBatch) {
      batch.takeOperations((key, deadlineMs, done) => this.#get(key, deadlineMs, done))
    } else if (batch.kind === 'outcome') {
      batch.takeOperations((asked, deadlineMs, done) => this.#askOutcome(asked, deadlineMs, done))
    } else if (batch.kind === 'timestamps') {
      batch.takeOperations((prepare, deadlineMs, done) => this.#askTimestamps(prepare, deadlineMs, done))
    } else {
      batch.answer(['moved'])
    }
  }

  /** Ends the book-keeping for a batch; returns the number of its operations that are yet to be answered or moved on. */
  #finish(batch: AnyBatch): number {
    if (batch.state !== 'finished') {
      batch.state = 'finished'
      this.#batches.delete(batch)
      this.#stats.operationBytesWaiting -= batch.bytes
    }
    return batch.live
  }

  /** Scans alone read at a snapshot. */
  #failExpired(batch: AnyBatch): void {
    this.#finish(batch)
    batch.fail(snapshotExpired())
  }

  /** Answers what is due, without changing where the batch stands; true when nothing is left of it and it is finished. */
  #failDue(batch: AnyBatch, nowMs: number): boolean {
    const isUnknown = batch.kind === 'write' && (batch.state === 'in-flight' || batch.mayBeProposed)
    const error = isUnknown ? unknownOutcome(batch.route, batch.node) : unavailable(batch.route)
    const failed = batch.fail(error, nowMs)
    this.#stats[isUnknown ? 'outcomeUnknown' : 'unavailable'] += failed
    if (batch.live === 0) this.#finish(batch)
    if (batch.kind === 'timestamps' || batch.kind === 'outcome') this.#asking -= failed
    else if (batch.kind !== 'scan') this.#admission.onAnswered(failed)
    return batch.live === 0
  }

  #scheduleSweep(): void {
    this.#sweep = this.#clock.after(this.#limits.sweepMs, () => this.#onSweep())
  }

  #onSweep(): void {
    this.#sweep = undefined
    const nowMs = this.#clock.now()
    for (const batch of [...this.#batches]) {
      if (batch.deadlineMinMs <= nowMs) this.#expire(batch, nowMs)
      if (batch.state === 'in-flight' && nowMs - batch.sentAtMs >= this.#limits.silentLeaderMs) this.#suspect(batch)
    }
    this.#isMissingTold = false
    if (!this.#table.homeless.isEmpty) this.#onMissing(this.#missingKey)
    if (this.#stats.operationsWaiting + this.#asking > 0 && this.#sweep === undefined) this.#scheduleSweep()
  }

  #expire(batch: AnyBatch, nowMs: number): void {
    const { state, route } = batch
    if (state === 'finished' || !this.#failDue(batch, nowMs)) return
    if (state === 'waiting') route.remove(batch)
    else if (state === 'parked') return
    else {
      route.onEnded(batch)
      // A single impatient client says little about the leader; being silent for long does, see `#suspect`.
      const next = route.leader.isSettled ? KEEP : STAY
      route.leader.onEnded(next, batch.node, batch.tenure)
      this.#wake(route)
    }
  }

  /**
   * The leader has been silent for long: others are asked who leads, and what waits is sent again; except for scans, which
   * may just be long, and would add to the load.
   */
  #suspect(batch: AnyBatch): void {
    const { route } = batch
    if (batch.kind !== 'scan') this.#onOutcome(batch, LOST)
    else if (batch.tenure === route.leader.tenure) {
      route.lastTrouble = `node ${batch.node}: silent`
      route.leader.onEnded(ROTATE, batch.node, batch.tenure)
      this.#wake(route)
    }
  }
}
