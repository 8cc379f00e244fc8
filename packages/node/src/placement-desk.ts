import {
  type Clock,
  CordilleraError,
  isoTime,
  type Key,
  type Logger,
  type NodeId,
  type RangeId,
} from '@cordillera/base'
import { type Explanation, parseLocality } from '@cordillera/placement'
import { type Descriptor, SYSTEM_RANGE_ID, splitKeyspace } from '@cordillera/ranges'
import type { Router } from '@cordillera/router'
import {
  BoundaryPins,
  type ClusterSettings,
  IdAllocator,
  isNodeTask,
  NOT_HERE,
  type NodeTask,
  nodeTaskMs,
  type OperatorRecord,
  type OperatorTask,
  PlacementDriver,
  SettingsTable,
  SystemTable,
  subjectsOf,
} from '@cordillera/system'
import type { PeerLinks } from '@cordillera/wire'
import type {
  OperatorGoal,
  OperatorInfo,
  OperatorRequest,
  RangeDecision,
  RangeExplanation,
  RangeHashes,
} from './admin.js'
import type { RegisteredNode } from './cluster-view.js'
import { NodeOperatorActions } from './operator-actions.js'
import { OperatorPlans, type RangeRequest } from './operator-plans.js'
import type { RangeUpkeep } from './range-upkeep.js'

/**
 * Where any node takes what people ask of the placement driver, to wherever that is: the node that leads the system range. One that
 * is not there any more, or not yet, is looked for again until a deadline.
 */
export interface PlacementDeskParts {
  readonly nodeId: NodeId
  readonly upkeep: RangeUpkeep
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly clock: Clock
  readonly logger: Logger
  /** The ranges that the cluster was founded with. */
  readonly founded: readonly Descriptor[]
  router(): Router
  /** Every node of the cluster, as far as is known. */
  registered(): readonly RegisteredNode[]
  /** See `StoreWatch.isFit`. */
  isFit(nodeId: NodeId): boolean
}

type Errand =
  | { readonly name: 'start'; readonly request: OperatorRequest }
  | { readonly name: 'list' }
  | { readonly name: 'refresh' }
  | { readonly name: 'await'; readonly operatorId: number; readonly timeoutMs: number }
  | { readonly name: 'cancel'; readonly operatorId: number }
  | { readonly name: 'explain'; readonly rangeId: RangeId }
  | { readonly name: 'recover'; readonly rangeId: RangeId; readonly acceptDataLoss: boolean }

const DEADLINE_MS = 8_000
const PAUSE_MS = 200
/** So long the driver is waited for at once: below the deadline of a question to it. */
const AWAIT_ROUND_MS = 5_000
const OPERATOR_MS = 600_000
/** For a survey of the range, and for what has to end before. */
const RECOVER_DEADLINE_MS = 20_000
/** For a replica to go on alone: much more than it takes. */
const RECOVERY_MS = 120_000

export class PlacementDesk {
  /** To be told when this node begins, and ceases, to lead the system range. */
  readonly driver: PlacementDriver
  readonly #parts: PlacementDeskParts
  readonly #plans: OperatorPlans
  readonly #settings: SettingsTable

  constructor(parts: PlacementDeskParts) {
    const { upkeep, clock, logger, router, registered, nodeId: self, links, founded, isFit } = parts
    const { finder } = upkeep
    const table = new SystemTable({ router, clock })
    const ids = new IdAllocator({ router, clock, name: 'operator', first: 1 })
    this.#parts = parts
    this.#plans = new OperatorPlans({
      ...{ finder, upkeep, nodes: () => registered().map(({ nodeId }) => nodeId) },
      membershipOf: (nodeId) => this.driver.membershipOf(nodeId),
    })
    const pins = new BoundaryPins(table)
    const actions = new NodeOperatorActions({ finder, upkeep, plans: this.#plans, pins })
    const foundedAt = new Set(founded.map(({ start }) => start))
    this.driver = new PlacementDriver({
      ...{ table, ids, actions, clock, logger, isFit, rangesMin: founded.length },
      nodes: () => registered().map(({ nodeId, locality }) => ({ nodeId, locality: parseLocality(locality) ?? [] })),
      isUp: (nodeId) => nodeId === self || links.isUp(nodeId),
      isPinned: (start) => foundedAt.has(start) || pins.has(start),
      readPins: () => pins.refresh(),
      descriptors: () => router().descriptors(),
      survey: (spans) => finder.survey(spans),
    })
    this.#settings = new SettingsTable(table)
  }

  startOperator(request: OperatorRequest): Promise<OperatorInfo> {
    return this.#run({ name: 'start', request }, DEADLINE_MS) as Promise<OperatorInfo>
  }

  operators(): Promise<readonly OperatorInfo[]> {
    return this.#run({ name: 'list' }, DEADLINE_MS) as Promise<readonly OperatorInfo[]>
  }

  async awaitOperator(operatorId: number, timeoutMs: number): Promise<OperatorInfo> {
    const { clock } = this.#parts
    const deadlineMs = clock.now() + timeoutMs
    for (;;) {
      const leftMs = Math.max(0, deadlineMs - clock.now())
      const roundMs = Math.min(leftMs, AWAIT_ROUND_MS)
      const info = (await this.#run({ name: 'await', operatorId, timeoutMs: roundMs }, DEADLINE_MS)) as OperatorInfo
      // The driver that was asked may be gone before its time is over.
      if (info.state !== 'running' || leftMs === 0) return info
    }
  }

  cancelOperator(operatorId: number): Promise<OperatorInfo> {
    return this.#run({ name: 'cancel', operatorId }, DEADLINE_MS) as Promise<OperatorInfo>
  }

  /** What every rule says of the range now, then what its operators came to, the newest first. Rejects with `NOT_FOUND`. */
  async explain(rangeId: RangeId): Promise<RangeExplanation> {
    await this.#plans.assertRange(rangeId)
    const [rules, all] = await Promise.all([
      this.#run({ name: 'explain', rangeId }, DEADLINE_MS) as Promise<readonly Explanation[]>,
      this.operators(),
    ])
    const at = isoTime(this.#parts.clock.wallMs())
    const now = rules.map(({ kind, verdict, code, detail }): RangeDecision => {
      return { at, kind, verdict: verdict === 'do' ? 'yes' : 'no', code: codeOf(code), detail }
    })
    const past = all
      .filter((one) => one.rangeId === rangeId)
      .map((one): RangeDecision => {
        const detail = `${one.reason}: ${one.error?.detail ?? one.step}`
        return { at: one.startedAt, kind: one.kind, verdict: 'yes', code: one.state.toUpperCase(), detail }
      })
    return { rangeId, decisions: [...now, ...past] }
  }

  settings(): Promise<ClusterSettings> {
    return this.#settings.read()
  }

  async setSettings(patch: Partial<ClusterSettings>): Promise<ClusterSettings> {
    const changed = await this.#settings.change(patch)
    // Whoever places ranges reads them now and then; from here on, nothing is begun by the old ones.
    await this.#run({ name: 'refresh' }, DEADLINE_MS).catch(onlyCoded)
    return changed
  }

  /** Compares the replicas of a range, or of all. See `RangeScrub`. */
  async hashes(rangeId: RangeId | undefined): Promise<readonly RangeHashes[]> {
    const { upkeep, router } = this.#parts
    if (rangeId !== undefined) return [await upkeep.scrub.compare(rangeId)]
    const compared: RangeHashes[] = []
    // One that was merged meanwhile is part of another.
    for (const one of [...router().descriptors()]) {
      const hashes = await upkeep.scrub.compare(one.rangeId).catch(onlyNotFound)
      if (hashes !== undefined) compared.push(hashes)
    }
    return compared
  }

  /**
   * Makes a range go on without its majority. Without `acceptDataLoss` nothing is done, and the refusal, `BAD_REQUEST`, says what may
   * be lost. Rejects as `RangeRecovering.assess`. What all others depend on is not recovered in this way: the system range.
   */
  recoverRange(rangeId: RangeId, acceptDataLoss: boolean): Promise<OperatorInfo> {
    if (rangeId === SYSTEM_RANGE_ID) return Promise.reject(noSystemRecovery())
    return this.#run({ name: 'recover', rangeId, acceptDataLoss }, RECOVER_DEADLINE_MS) as Promise<OperatorInfo>
  }

  /** Another node's errand. */
  onAsked(body: unknown): Promise<unknown> {
    return this.#here(body as Errand)
  }

  async #run(errand: Errand, timeoutMs: number): Promise<unknown> {
    const { clock, links, nodeId: self, upkeep } = this.#parts
    const deadlineMs = clock.now() + timeoutMs
    let cause: CordilleraError | undefined
    for (;;) {
      for (const nodeId of upkeep.nodesOf(SYSTEM_RANGE_ID)) {
        if (nodeId !== self && !links.isUp(nodeId)) continue
        try {
          if (nodeId === self) return await this.#here(errand)
          return await links.ask(nodeId, 'driver', errand, timeoutMs)
        } catch (error) {
          if (!(error instanceof CordilleraError) || !isPassing(error, errand)) throw error
          if (error.message !== NOT_HERE) cause = error
        }
      }
      upkeep.onLost(SYSTEM_RANGE_ID)
      if (clock.now() >= deadlineMs) {
        const why = cause === undefined ? 'nobody who places ranges could be reached in time' : cause.message
        throw new CordilleraError('UNAVAILABLE', { detail: why })
      }
      await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve))
    }
  }

  async #here(errand: Errand): Promise<unknown> {
    const { operators } = this.driver
    switch (errand.name) {
      case 'explain':
        return this.driver.explain(errand.rangeId)
      case 'start':
        return this.#start(errand.request)
      case 'recover':
        return this.#recover(errand)
      case 'refresh':
        return this.driver.refresh()
      case 'list':
        return operators.list().map(describeOperator)
      case 'await':
        return describeOperator(await operators.await(errand.operatorId, errand.timeoutMs))
      case 'cancel':
        return describeOperator(operators.cancel(errand.operatorId))
      default:
        throw new CordilleraError('BAD_REQUEST', { detail: 'an errand that the placement driver does not know' })
    }
  }

  /** What placement does by itself ends first, and the later word about a node counts; what somebody else has asked for a range is in the way. */
  async #start(request: OperatorRequest): Promise<OperatorInfo> {
    const { clock } = this.#parts
    const deadlineMs = clock.now() + PATIENCE_MS
    for (;;) {
      const { operators } = this.driver
      const running = operators.of(isOfRange(request) ? `range ${request.rangeId}` : `node ${request.nodeId}`)
      if (running !== undefined && (await this.#isSame(running.task, request))) return describeOperator(running)
      const planned = isOfRange(request) ? await this.#plans.plan(request) : this.#planOnNode(request)
      const task: OperatorTask = planned.kind === 'split' ? { ...planned, isPinned: true } : planned
      try {
        return describeOperator(await operators.start(task, BY_COMMAND, timeoutOf(task)))
      } catch (error) {
        const other = subjectsOf(task).flatMap((subject) => operators.of(subject) ?? [])[0]
        const isOver = clock.now() >= deadlineMs || (isOfRange(request) && other?.reason === BY_COMMAND)
        if (isOver || !(error instanceof CordilleraError) || error.code !== 'CONFLICT') throw error
        if (other !== undefined && isNodeTask(other.task)) operators.cancel(other.operatorId)
        await operators.await(other?.operatorId ?? 0, deadlineMs - clock.now()).catch(onlyCoded)
      }
      await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve))
    }
  }

  /** What else is being done to the range comes to nothing without a leader, and ends. */
  async #recover({ rangeId, acceptDataLoss }: Extract<Errand, { name: 'recover' }>): Promise<OperatorInfo> {
    const { operators } = this.driver
    const running = operators.of(`range ${rangeId}`)
    if (running?.task.kind === 'recover') {
      if (acceptDataLoss) return describeOperator(running)
      throw new CordilleraError('CONFLICT', {
        detail: `a recovery of range ${rangeId} is running: operator ${running.operatorId}`,
      })
    }
    const { detail, after } = await this.#parts.upkeep.assessRecovery(rangeId)
    if (!acceptDataLoss) throw new CordilleraError('BAD_REQUEST', { detail })
    const other = operators.of(`range ${rangeId}`)
    if (other !== undefined) {
      operators.cancel(other.operatorId)
      await operators.await(other.operatorId, PATIENCE_MS).catch(onlyCoded)
    }
    return describeOperator(await operators.start({ kind: 'recover', rangeId, after }, BY_COMMAND, RECOVERY_MS))
  }

  async #isSame(task: OperatorTask, request: OperatorRequest): Promise<boolean> {
    if (task.kind !== 'change-replicas' || request.kind !== 'change-replicas') return isSame(task, request)
    return task.rangeId === request.rangeId && (await this.#plans.isSameChange(task, request))
  }

  #planOnNode({ kind, nodeId }: NodeTask): NodeTask {
    this.#plans.assertNode(nodeId)
    const membership = this.driver.membershipOf(nodeId)
    const isGoing = membership === 'decommissioning' || membership === 'decommissioned'
    if (isGoing && (kind === 'drain' || kind === 'undrain')) {
      throw new CordilleraError('CONFLICT', { detail: `node ${nodeId} is ${membership}: recommission it first` })
    }
    if (membership === 'draining' && kind === 'recommission') {
      throw new CordilleraError('CONFLICT', { detail: `node ${nodeId} is draining, not decommissioned: undrain it` })
    }
    const obstacle = kind === 'drain' && membership === 'member' ? this.driver.drainObstacle(nodeId) : undefined
    if (obstacle !== undefined) throw new CordilleraError('CONFLICT', { detail: obstacle })
    if (kind === 'decommission' && membership !== 'decommissioned') {
      const { verdict, code, detail } = this.driver.decommissionOf(nodeId)
      if (verdict === 'blocked') throw new CordilleraError('CONFLICT', { detail: `${detail} (${code})` })
    }
    return { kind, nodeId }
  }
}

const BY_COMMAND = 'by command'
/** Below the deadline of a question to the driver, and above the try of an operator, after which it looks whether it is cancelled. */
const PATIENCE_MS = 6_000

/** Whether somebody else may do better. An operator that may have been begun is not begun again. */
function isPassing({ code }: CordilleraError, { name }: Errand): boolean {
  return (
    code === 'UNAVAILABLE' ||
    code === 'CLOSED' ||
    (code === 'OUTCOME_UNKNOWN' && name !== 'start' && name !== 'recover')
  )
}

function isOfRange(request: OperatorRequest): request is RangeRequest {
  return 'rangeId' in request
}

function isSame(task: OperatorTask, request: OperatorRequest): boolean {
  if (isNodeTask(task) || !isOfRange(request)) return task.kind === request.kind
  if (task.kind !== request.kind || task.rangeId !== request.rangeId) return false
  if (task.kind === 'split' && request.kind === 'split') return request.key === undefined || request.key === task.key
  if (task.kind === 'transfer-leader' && request.kind === 'transfer-leader') return task.nodeId === request.nodeId
  return task.kind === 'merge'
}

function timeoutOf(task: OperatorTask): number {
  return isNodeTask(task) ? nodeTaskMs(task.kind) : OPERATOR_MS
}

export function describeOperator(record: OperatorRecord): OperatorInfo {
  const { operatorId, task, state, reason, step, error, result } = record
  const nodeId = 'nodeId' in task ? task.nodeId : task.kind === 'change-replicas' ? task.add : undefined
  const rangeId = isNodeTask(task) ? null : task.rangeId
  const goal = goalOf(task)
  return {
    ...{ operatorId, kind: task.kind, rangeId, nodeId: nodeId ?? null, state, ...(goal && { goal }), reason, step },
    startedAt: isoTime(record.startedAtMs),
    deadline: isoTime(record.deadlineMs),
    endedAt: record.endedAtMs === null ? null : isoTime(record.endedAtMs),
    ...(error && { error }),
    ...(result && { result }),
  }
}

/** Of what the range and the node do not say already. */
function goalOf(task: OperatorTask): OperatorGoal | undefined {
  switch (task.kind) {
    case 'split':
      return { ...placeOf(task.key), right: task.rightId }
    case 'merge':
      return { right: task.rightId }
    case 'change-replicas': {
      const { add, from } = task
      return { ...(add !== undefined && { add }), ...(from !== undefined && { remove: from }) }
    }
    default:
      return undefined
  }
}

function placeOf(whole: Key): OperatorGoal {
  const place = splitKeyspace(whole)
  if (place === undefined) return { key: whole }
  const { keyspace, spread, key } = place
  return { keyspace, ...(spread && { spread }), key }
}

function onlyCoded(error: unknown): void {
  if (!(error instanceof CordilleraError)) throw error
}

function onlyNotFound(error: unknown): undefined {
  if (!(error instanceof CordilleraError) || error.code !== 'NOT_FOUND') throw error
  return undefined
}

/** As codes of this API are written. */
function codeOf(code: string): string {
  return code.toUpperCase().replaceAll('-', '_')
}

function noSystemRecovery(): CordilleraError {
  const detail =
    'range 1 is the system range: recoveries are decided on in it, by a majority of its replicas; bring one of their nodes back'
  return new CordilleraError('CONFLICT', { detail })
}
