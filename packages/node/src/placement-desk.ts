import { type Clock, CordilleraError, type Logger, type NodeId, type RangeId } from '@cordillera/base'
import { SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { Router } from '@cordillera/router'
import {
  type ClusterSettings,
  IdAllocator,
  type OperatorRecord,
  type OperatorTask,
  PlacementDriver,
  SettingsTable,
  SystemTable,
} from '@cordillera/system'
import type { PeerLinks } from '@cordillera/wire'
import type { OperatorInfo, OperatorRequest, RangeExplanation, RangeHashes } from './admin.js'
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
  router(): Router
  /** Every node of the cluster, as far as is known. */
  nodes(): Iterable<NodeId>
}

type Errand =
  | { readonly name: 'start'; readonly request: OperatorRequest }
  | { readonly name: 'list' }
  | { readonly name: 'await'; readonly operatorId: number; readonly timeoutMs: number }
  | { readonly name: 'cancel'; readonly operatorId: number }

const DEADLINE_MS = 8_000
const PAUSE_MS = 200
const OPERATOR_MS = 600_000

export class PlacementDesk {
  /** To be told when this node begins, and ceases, to lead the system range. */
  readonly driver: PlacementDriver
  readonly #parts: PlacementDeskParts
  readonly #plans: OperatorPlans
  readonly #settings: SettingsTable

  constructor(parts: PlacementDeskParts) {
    const { upkeep, clock, logger, router, nodes } = parts
    const { finder } = upkeep
    const table = new SystemTable({ router, clock })
    const ids = new IdAllocator({ router, clock, name: 'operator', first: 1 })
    const actions = new NodeOperatorActions({ finder, upkeep })
    this.#parts = parts
    this.driver = new PlacementDriver({ table, ids, actions, clock, logger })
    this.#plans = new OperatorPlans({ finder, upkeep, nodes })
    this.#settings = new SettingsTable(table)
  }

  startOperator(request: OperatorRequest): Promise<OperatorInfo> {
    return this.#run({ name: 'start', request }, DEADLINE_MS) as Promise<OperatorInfo>
  }

  operators(): Promise<readonly OperatorInfo[]> {
    return this.#run({ name: 'list' }, DEADLINE_MS) as Promise<readonly OperatorInfo[]>
  }

  awaitOperator(operatorId: number, timeoutMs: number): Promise<OperatorInfo> {
    return this.#run({ name: 'await', operatorId, timeoutMs }, DEADLINE_MS, timeoutMs) as Promise<OperatorInfo>
  }

  cancelOperator(operatorId: number): Promise<OperatorInfo> {
    return this.#run({ name: 'cancel', operatorId }, DEADLINE_MS) as Promise<OperatorInfo>
  }

  /** What the operators of the range came to, the newest first. Rejects with `NOT_FOUND`. */
  async explain(rangeId: RangeId): Promise<RangeExplanation> {
    await this.#plans.assertRange(rangeId)
    const all = await this.operators()
    const decisions = all
      .filter((one) => one.rangeId === rangeId)
      .map(({ startedAt, kind, state, reason, step, error }) => ({
        ...{ at: startedAt, kind, verdict: 'yes' as const, code: state.toUpperCase() },
        detail: `${reason}: ${error?.detail ?? step}`,
      }))
    return { rangeId, decisions }
  }

  settings(): Promise<ClusterSettings> {
    return this.#settings.read()
  }

  setSettings(patch: Partial<ClusterSettings>): Promise<ClusterSettings> {
    return this.#settings.change(patch)
  }

  hashes(_rangeId: RangeId | undefined): Promise<readonly RangeHashes[]> {
    return notYet('hashes of ranges')
  }

  recoverRange(_rangeId: RangeId, _acceptDataLoss: boolean): Promise<OperatorInfo> {
    return notYet('the recovery of a range without its majority')
  }

  /** Another node's errand. */
  onAsked(body: unknown): Promise<unknown> {
    return this.#here(body as Errand)
  }

  /** `restMs`: how long the driver may take for it once it has it. */
  async #run(errand: Errand, timeoutMs: number, restMs = 0): Promise<unknown> {
    const { clock, links, nodeId: self, upkeep } = this.#parts
    const deadlineMs = clock.now() + timeoutMs
    for (;;) {
      for (const nodeId of upkeep.nodesOf(SYSTEM_RANGE_ID)) {
        if (nodeId !== self && !links.isUp(nodeId)) continue
        try {
          if (nodeId === self) return await this.#here(errand)
          return await links.ask(nodeId, 'driver', errand, timeoutMs + restMs)
        } catch (error) {
          if (!(error instanceof CordilleraError) || !isPassing(error, errand)) throw error
        }
      }
      if (clock.now() >= deadlineMs) {
        throw new CordilleraError('UNAVAILABLE', { detail: 'nobody who places ranges could be reached in time' })
      }
      await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve))
    }
  }

  async #here(errand: Errand): Promise<unknown> {
    const { operators } = this.driver
    switch (errand.name) {
      case 'start':
        return this.#start(errand.request)
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

  async #start(request: OperatorRequest): Promise<OperatorInfo> {
    if (!isOfRange(request)) {
      throw new CordilleraError('UNAVAILABLE', { detail: `"${request.kind}" is not available yet; nothing was begun` })
    }
    const running = this.driver.operators.of(request.rangeId)
    if (running !== undefined && isSame(running.task, request)) return describeOperator(running)
    const task = await this.#plans.plan(request)
    return describeOperator(await this.driver.operators.start(task, 'by command', OPERATOR_MS))
  }
}

/** Whether somebody else may do better. An operator that may have been begun is not begun again. */
function isPassing({ code }: CordilleraError, { name }: Errand): boolean {
  return code === 'UNAVAILABLE' || code === 'CLOSED' || (code === 'OUTCOME_UNKNOWN' && name !== 'start')
}

function isOfRange(request: OperatorRequest): request is RangeRequest {
  return 'rangeId' in request
}

function isSame(task: OperatorTask, request: RangeRequest): boolean {
  if (task.kind !== request.kind || task.rangeId !== request.rangeId) return false
  if (task.kind === 'split' && request.kind === 'split') return request.key === undefined || request.key === task.key
  if (task.kind === 'transfer-leader' && request.kind === 'transfer-leader') return task.nodeId === request.nodeId
  if (task.kind === 'change-replicas' && request.kind === 'change-replicas') {
    return task.add === request.add && (task.remove !== undefined) === (request.remove !== undefined)
  }
  return task.kind === 'merge'
}

export function describeOperator(record: OperatorRecord): OperatorInfo {
  const { operatorId, task, state, reason, step, error, result } = record
  const nodeId = task.kind === 'transfer-leader' ? task.nodeId : task.kind === 'change-replicas' ? task.add : undefined
  return {
    ...{ operatorId, kind: task.kind, rangeId: task.rangeId, nodeId: nodeId ?? null, state, reason, step },
    startedAt: isoOf(record.startedAtMs),
    deadline: isoOf(record.deadlineMs),
    endedAt: record.endedAtMs === null ? null : isoOf(record.endedAtMs),
    ...(error && { error }),
    ...(result && { result }),
  }
}

function isoOf(ms: number): string {
  // biome-ignore lint/style/noRestrictedGlobals: a number in, its text out; no clock is read.
  return new Date(ms).toISOString()
}

function notYet(what: string): Promise<never> {
  return Promise.reject(new CordilleraError('UNAVAILABLE', { detail: `${what}: not available yet; nothing was begun` }))
}
