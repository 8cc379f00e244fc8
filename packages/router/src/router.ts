import type { Clock, CordilleraError, Key, Logger, NodeId, Random, RangeId, Timer, Version } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import type { RangeReply, VersionedValue } from '@cordillera/wire'
import type { RouterLimits } from './limits.js'
import { type AnyBatch, type Done, type PageResult, type PageSpan, ReadBatch, WriteBatch } from './pending-batch.js'
import type { RangeCall } from './range-call.js'
import { refuseKey, refuseLoad, refuseValue, routerClosed, unavailable, unknownOutcome } from './refusals.js'
import type { Route } from './route.js'
import { decideNext, type Outcome } from './route-decision.js'
import { RouteTable } from './route-table.js'
import { newRouterStats, type RouterStats } from './router-stats.js'
import { checkScanPlan, type ScanPlan, type ScanResult, ScanWalk } from './scan-walk.js'

/**
 * Takes any operation on any node to the leader of its key's range, and its answer back, within a deadline.
 *
 * Operations of one kind that arrive in one turn of the event loop for one range travel as one request. Each is answered
 * exactly once: done; UNAVAILABLE, surely without effect, now or later; or, for writes alone, OUTCOME_UNKNOWN, once a
 * request that carried it may have been proposed and its end is not known. A write is sent again only after a sending
 * that surely had no effect, never after an unknown outcome, and then within its batch's order; concurrent operations
 * have no order otherwise. Reads are sent again until their deadline. Nothing waits without bound: above
 * `operationsMax` or `operationBytesMax` operations are refused with OVERLOADED at once.
 */
export interface RouterOptions {
  readonly rangeCall: RangeCall
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly limits: RouterLimits
  /**
   * Told, once a sweep, of a key that operations wait for and no known range holds. Whoever knows better answers with
   * {@link Router.learn}.
   */
  readonly onRouteMissing?: (key: Key) => void
}

export type { Done } from './pending-batch.js'

export class Router {
  readonly #rangeCall: RangeCall
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #limits: RouterLimits
  readonly #onRouteMissing: ((key: Key) => void) | undefined
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
  #isClosed = false
  #onDrained: (() => void)[] = []
  readonly #stats = newRouterStats()

  constructor(options: RouterOptions) {
    const { rangeCall, clock, random, logger, limits } = options
    this.#rangeCall = rangeCall
    this.#clock = clock
    this.#logger = logger
    this.#limits = limits
    this.#onRouteMissing = options.onRouteMissing
    const { self } = rangeCall
    this.#isUp = (node) => node === self || rangeCall.isUp(node)
    const context = { self, isUp: this.#isUp, clock, random, limits }
    this.#table = new RouteTable(context, (route) => this.#wake(route))
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
   * KEY_TOO_LARGE, VALUE_TOO_LARGE, OVERLOADED and CLOSED before `put` returns, UNAVAILABLE and OUTCOME_UNKNOWN later. It
   * must not throw; it may call the router.
   */
  put(key: Key, value: Uint8Array, deadlineMs: number, done: Done<Version>): void {
    const refusal = refuseValue(value.length) ?? this.#tryAdmit(key, value.length)
    if (refusal !== undefined) {
      done(refusal, 0)
      return
    }
    this.#stats.writes++
    this.#put(key, value, deadlineMs, done)
  }

  /** Removes `key`, present or not. As {@link put}. */
  delete(key: Key, deadlineMs: number, done: Done<Version>): void {
    const refusal = this.#tryAdmit(key, 0)
    if (refusal !== undefined) {
      done(refusal, 0)
      return
    }
    this.#stats.writes++
    this.#delete(key, deadlineMs, done)
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
   * Reads a span over its ranges, in order. Each range's part is linearizable; the whole is not one snapshot. Rejects as
   * {@link get} does, and with BAD_REQUEST.
   */
  scan(plan: ScanPlan, deadlineMs: number): Promise<ScanResult> {
    return new Promise((resolve, reject) => {
      checkScanPlan(plan)
      const refusal = this.#tryAdmit('', 0)
      if (refusal !== undefined) throw refusal
      this.#stats.scans++
      const onEnd = (outcome: ScanResult | CordilleraError): void => {
        if (outcome instanceof Error) reject(outcome)
        else resolve(outcome)
        this.#onAnswered(1)
      }
      const askPage = (span: PageSpan, pageDeadlineMs: number, done: Done<PageResult>): void =>
        this.#askPage(span, pageDeadlineMs, done)
      new ScanWalk({ plan, deadlineMs, askPage, onEnd }).begin()
    })
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
    this.#isClosed = true
    if (this.#stats.operationsWaiting === 0) return Promise.resolve()
    return new Promise((resolve) => this.#onDrained.push(resolve))
  }

  /** Answers everything that waits at once, as if its deadline had passed, and refuses what comes. Idempotent. */
  close(): void {
    this.#isClosed = true
    for (const batch of [...this.#batches]) this.#expire(batch, Number.POSITIVE_INFINITY)
    this.#table.close()
    this.#sweep?.cancel()
    this.#sweep = undefined
  }

  /** Counts the operation in, or says why not. */
  #tryAdmit(key: Key, valueBytes: number): CordilleraError | undefined {
    if (this.#isClosed) return routerClosed()
    const refusal = refuseKey(key.length)
    if (refusal !== undefined) return refusal
    const stats = this.#stats
    const { operationsMax, operationBytesMax } = this.#limits
    const bytes = stats.operationBytesWaiting + key.length + valueBytes
    if (stats.operationsWaiting >= operationsMax || bytes > operationBytesMax) {
      stats.overloaded++
      return refuseLoad(stats)
    }
    stats.operationsWaiting++
    if (this.#sweep === undefined) this.#scheduleSweep()
    return undefined
  }

  #put(key: Key, value: Uint8Array, deadlineMs: number, done: Done<Version>): void {
    const route = this.#routeOf(key)
    const bytes = key.length + value.length
    const batch = route.tryOpenWrites(bytes) ?? this.#track(route.openWrites(++this.#sequence))
    batch.put(key, value, deadlineMs, done)
    this.#stats.operationBytesWaiting += bytes
    this.#wake(route)
  }

  #delete(key: Key, deadlineMs: number, done: Done<Version>): void {
    const route = this.#routeOf(key)
    const batch = route.tryOpenWrites(key.length) ?? this.#track(route.openWrites(++this.#sequence))
    batch.delete(key, deadlineMs, done)
    this.#stats.operationBytesWaiting += key.length
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
    else this.#countSent(batch)
  }

  #countSent(batch: AnyBatch): void {
    if (batch.kind === 'write') this.#stats.writeRequests++
    else if (batch.kind === 'read') this.#stats.readRequests++
    else this.#stats.scanRequests++
    if (batch.node === this.#rangeCall.self) this.#stats.localRequests++
  }

  #onReply(batch: AnyBatch, attempt: number, reply: RangeReply | undefined): void {
    // A batch that was given up, or sent again, in the meantime hears no more; the news of ranges are news all the same.
    if (batch.state === 'in-flight' && batch.attempts === attempt) this.#onOutcome(batch, reply ?? LOST)
    else if (reply?.kind === 'refused') this.learn(reply.descriptors)
  }

  #onOutcome(batch: AnyBatch, outcome: Outcome): void {
    const { route } = batch
    if (outcome.kind === 'refused' && outcome.descriptors.length > 0) this.learn(outcome.descriptors)
    const { operations, next } = decideNext(outcome, {
      kind: batch.kind,
      count: batch.count,
      node: batch.node,
      asked: route.leader.asked,
      isRouteStale: route.isStale(batch),
      isUp: this.#isUp,
    })
    route.onEnded(batch)
    route.leader.onEnded(next, batch.node, batch.tenure)
    if (operations === 'answer') this.#answer(batch, outcome as RangeReply)
    else if (operations === 'unknown') this.#failUnknown(batch)
    else {
      route.lastTrouble = `node ${batch.node}: ${outcome.kind === 'refused' ? outcome.reason : outcome.kind}`
      if (next.kind === 'follow') this.#stats.redirects++
      this.#retry(batch)
    }
    this.#wake(route)
  }

  #answer(batch: AnyBatch, reply: RangeReply): void {
    if (batch.kind === 'read' && reply.kind === 'values') {
      if (reply.values.length === batch.count) {
        this.#onAnswered(this.#finish(batch))
        batch.answer(reply.values)
      } else {
        this.#onAnswered(batch.answer(reply.values))
        this.#retry(batch)
      }
    } else if (batch.kind === 'write' && reply.kind === 'written') {
      this.#onAnswered(this.#finish(batch))
      batch.answer(reply.versions)
    } else if (batch.kind === 'scan' && reply.kind === 'scanned') {
      this.#finish(batch)
      batch.answer([{ kind: 'page', span: batch.span, page: reply }])
    }
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
      batch.takeOperations((command, deadlineMs, done) => {
        if (command.kind === 'put') this.#put(command.key, command.value, deadlineMs, done)
        else this.#delete(command.key, deadlineMs, done)
      })
    } else if (batch instanceof ReadBatch) {
      batch.takeOperations((key, deadlineMs, done) => this.#get(key, deadlineMs, done))
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

  #failUnknown(batch: AnyBatch): void {
    const failed = this.#finish(batch)
    this.#stats.outcomeUnknown += failed
    this.#onAnswered(failed)
    batch.fail(unknownOutcome(batch.route, batch.node))
  }

  /** Answers what is due, without changing where the batch stands; true when nothing is left of it and it is finished. */
  #failDue(batch: AnyBatch, nowMs: number): boolean {
    const isUnknown = batch.state === 'in-flight' && batch.kind === 'write'
    const error = isUnknown ? unknownOutcome(batch.route, batch.node) : unavailable(batch.route)
    const failed = batch.fail(error, nowMs)
    this.#stats[isUnknown ? 'outcomeUnknown' : 'unavailable'] += failed
    if (batch.live === 0) this.#finish(batch)
    if (batch.kind !== 'scan') this.#onAnswered(failed)
    return batch.live === 0
  }

  #onAnswered(operations: number): void {
    this.#stats.operationsWaiting -= operations
    if (this.#stats.operationsWaiting > 0 || this.#onDrained.length === 0) return
    const waiters = this.#onDrained
    this.#onDrained = []
    for (const resolve of waiters) resolve()
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
    if (this.#stats.operationsWaiting > 0 && this.#sweep === undefined) this.#scheduleSweep()
  }

  #expire(batch: AnyBatch, nowMs: number): void {
    const { state, route } = batch
    if (state === 'finished' || !this.#failDue(batch, nowMs)) return
    if (state === 'waiting') route.remove(batch)
    else {
      route.onEnded(batch)
      // A single impatient client says little about the leader; being silent for long does, see `#suspect`.
      const next = route.leader.isSettled ? KEEP : STAY
      route.leader.onEnded(next, batch.node, batch.tenure)
      this.#wake(route)
    }
  }

  /**
   * The leader has been silent for long: others are asked who leads. Reads are sent again. Writes must not be; scans,
   * which may just be long, would add to the load: both are waited for.
   */
  #suspect(batch: AnyBatch): void {
    const { route } = batch
    if (batch.kind === 'read') this.#onOutcome(batch, LOST)
    else if (batch.tenure === route.leader.tenure) {
      route.lastTrouble = `node ${batch.node}: silent`
      route.leader.onEnded(ROTATE, batch.node, batch.tenure)
      this.#wake(route)
    }
  }
}

const LOST = { kind: 'lost' } as const
const NOT_SENT = { kind: 'not-sent' } as const
const KEEP = { kind: 'keep' } as const
const STAY = { kind: 'stay' } as const
const ROTATE = { kind: 'rotate' } as const

function clip(span: PageSpan, within: Descriptor): PageSpan {
  const start = span.start > within.start ? span.start : within.start
  const end = within.end === null || (span.end !== null && span.end < within.end) ? span.end : within.end
  return { ...span, start, end }
}
