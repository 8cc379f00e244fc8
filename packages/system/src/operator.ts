import type { Key, NodeId, RangeId, ReplicaId } from '@cordillera/base'

/**
 * One running placement change, and its record under `operator/<id>` in the system range. What it is to do is fixed when it begins,
 * so that whoever goes on with it, after the driver has died, does the same and no other thing, once.
 */
export type OperatorTask =
  | {
      readonly kind: 'split'
      readonly rangeId: RangeId
      readonly version: number
      readonly key: Key
      readonly rightId: RangeId
      /** A person has asked for it: the boundary stays until a person takes it away. */
      readonly isPinned?: true
    }
  | {
      readonly kind: 'merge'
      readonly rangeId: RangeId
      readonly rightId: RangeId
      readonly key: Key
      readonly attempt: number
    }
  | { readonly kind: 'transfer-leader'; readonly rangeId: RangeId; readonly nodeId: NodeId }
  /**
   * `add`: a node; `remove`: a replica, `from`, for people, the node that it is on. Both: the one takes the place of the other, and
   * with `leads` its leadership as well.
   * `votersLeft`: so many voters, at least, are left by a removal; 1 where it is not there.
   */
  | {
      readonly kind: 'change-replicas'
      readonly rangeId: RangeId
      readonly add?: NodeId
      readonly remove?: ReplicaId
      readonly from?: NodeId
      readonly leads?: boolean
      readonly votersLeft?: number
    }
  /** See `RangeRecovery`. `after`: the version of the range's last recovery when this was asked for; 0 for none. */
  | { readonly kind: 'recover'; readonly rangeId: RangeId; readonly after: number }
  | NodeTask

/** What is asked of a node. `drain`: it leads nothing; `decommission`: it has nothing; the others take that back. */
export interface NodeTask {
  readonly kind: 'drain' | 'undrain' | 'decommission' | 'recommission'
  readonly nodeId: NodeId
}

export type RangeTask = Exclude<OperatorTask, NodeTask>

export function isNodeTask(task: OperatorTask): task is NodeTask {
  return NODE_TASKS.includes(task.kind)
}

const NODE_TASKS: readonly string[] = ['drain', 'undrain', 'decommission', 'recommission'] satisfies NodeTask['kind'][]

export type OperatorState = 'running' | 'done' | 'failed' | 'cancelled'

export interface OperatorRecord {
  readonly operatorId: number
  readonly state: OperatorState
  readonly task: OperatorTask
  /** Why it was begun. */
  readonly reason: string
  /** What it is doing, or did last; for people. */
  readonly step: string
  /** By the wall clock, in ms. */
  readonly startedAtMs: number
  readonly deadlineMs: number
  readonly endedAtMs: number | null
  readonly error?: { readonly code: string; readonly detail: string }
  readonly result?: object
}

/** What an operator changes; for people. */
export type Subject = `range ${RangeId}` | `node ${NodeId}`

/** Nothing else is done to them meanwhile. */
export function subjectsOf(task: OperatorTask): readonly Subject[] {
  if (isNodeTask(task)) return [`node ${task.nodeId}`]
  return task.kind === 'merge' ? [`range ${task.rangeId}`, `range ${task.rightId}`] : [`range ${task.rangeId}`]
}

/** Undefined: not a record of this version. */
export function tryReadOperator(value: unknown): OperatorRecord | undefined {
  const record = value as Partial<OperatorRecord> | null | undefined
  if (typeof record !== 'object' || record === null || !isCount(record.operatorId)) return undefined
  const { state, task, startedAtMs, deadlineMs } = record
  if (state !== 'running' && state !== 'done' && state !== 'failed' && state !== 'cancelled') return undefined
  if (typeof startedAtMs !== 'number' || typeof deadlineMs !== 'number' || !isTask(task)) return undefined
  return record as OperatorRecord
}

function isTask(value: unknown): value is OperatorTask {
  const task = value as Partial<Record<string, unknown>> | null | undefined
  if (typeof task !== 'object' || task === null) return false
  if (NODE_TASKS.includes(task.kind as string)) return isCount(task.nodeId)
  if (!isCount(task.rangeId)) return false
  switch (task.kind) {
    case 'split':
      return isCount(task.version) && typeof task.key === 'string' && isCount(task.rightId)
    case 'merge':
      return isCount(task.rightId) && typeof task.key === 'string' && isCount(task.attempt)
    case 'transfer-leader':
      return isCount(task.nodeId)
    case 'recover':
      return task.after === 0 || isCount(task.after)
    case 'change-replicas':
      return [task.add, task.remove, task.from, task.votersLeft].every((id) => id === undefined || isCount(id))
    default:
      return false
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1
}
