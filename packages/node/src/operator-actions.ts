import { CordilleraError } from '@cordillera/base'
import type { Operator } from '@cordillera/placement'
import { areAligned, type Descriptor } from '@cordillera/ranges'
import type { BoundaryPins, RangeActions, RangeTask } from '@cordillera/system'
import type { OperatorPlans } from './operator-plans.js'
import type { RangeFinder } from './range-finder.js'
import type { RangeUpkeep } from './range-upkeep.js'

/** Carries operators out, by asking the leaders of their ranges. Everything here may be tried again, by anyone. */
export interface NodeOperatorActionsParts {
  readonly finder: RangeFinder
  readonly upkeep: RangeUpkeep
  readonly plans: OperatorPlans
  readonly pins: Pick<BoundaryPins, 'pin' | 'unpin'>
}

export class NodeOperatorActions implements RangeActions {
  readonly #parts: NodeOperatorActionsParts

  constructor(parts: NodeOperatorActionsParts) {
    this.#parts = parts
  }

  async perform(task: RangeTask, timeoutMs: number): Promise<object | undefined> {
    try {
      return await this.#perform(task, timeoutMs)
    } catch (error) {
      if (!(error instanceof CordilleraError) || error.code !== 'UNAVAILABLE') throw error
      const by = await this.#parts.finder.absorbedBy(task.rangeId)
      if (by === undefined) throw error
      const detail = `range ${task.rangeId} has become part of range ${by}`
      throw new CordilleraError('NOT_FOUND', { detail })
    }
  }

  async #perform(task: RangeTask, timeoutMs: number): Promise<object | undefined> {
    const { upkeep, pins } = this.#parts
    switch (task.kind) {
      case 'split':
        await upkeep.split(task, timeoutMs)
        if (task.isPinned) await pins.pin(task.key)
        return { left: task.rangeId, right: task.rightId }
      case 'merge':
        await this.#merge(task, timeoutMs)
        await pins.unpin(task.key)
        return undefined
      case 'transfer-leader':
        await upkeep.transferLeader(task.rangeId, task.nodeId, timeoutMs)
        return undefined
      case 'recover':
        return upkeep.recover(task.rangeId, task.after)
      default:
        await this.#change(task, timeoutMs)
        return undefined
    }
  }

  plan(operator: Operator): Promise<RangeTask> {
    return this.#parts.plans.planDecided(operator)
  }

  /** A merge is given up. What else is half done is as good as what there was: a learner more, or one half of a joint change. */
  async abandon(task: RangeTask): Promise<void> {
    if (task.kind === 'merge') await this.#parts.upkeep.abortMerge({ leftId: task.rangeId, ...task }, ABORT_MS)
  }

  async #change(task: Extract<RangeTask, { kind: 'change-replicas' }>, timeoutMs: number): Promise<void> {
    const { upkeep } = this.#parts
    const { rangeId, add, remove, leads, votersLeft } = task
    if (add !== undefined && remove !== undefined) await upkeep.replace(rangeId, remove, add, timeoutMs)
    else if (add !== undefined) await upkeep.addReplica(rangeId, add, timeoutMs)
    else if (remove !== undefined) await upkeep.removeReplica(rangeId, remove, votersLeft ?? 1, timeoutMs)
    if (leads === true && add !== undefined) await upkeep.transferLeader(rangeId, add, timeoutMs)
  }

  /** The right's replicas are brought to where the left's are, one after the other; then the two are merged. */
  async #merge(task: Extract<RangeTask, { kind: 'merge' }>, timeoutMs: number): Promise<void> {
    const { finder, upkeep } = this.#parts
    const [left, right] = await Promise.all([finder.newest(task.rangeId), finder.newest(task.rightId)])
    // Once it has begun they are aligned, or it is given up; once it is done there is no right any more.
    const isOpen = left?.merge === undefined && right !== undefined && right.merge === undefined
    if (left !== undefined && isOpen && left.end === task.key && !areAligned(left, right)) {
      await this.#align(left, right, timeoutMs)
      throw new CordilleraError('UNAVAILABLE', { detail: 'the replicas are being brought together' })
    }
    await upkeep.merge({ leftId: task.rangeId, ...task }, timeoutMs)
  }

  async #align(left: Descriptor, right: Descriptor, timeoutMs: number): Promise<void> {
    const { upkeep } = this.#parts
    const lefts = left.replicas.map(({ nodeId }) => nodeId)
    const rights = right.replicas.map(({ nodeId }) => nodeId)
    const target = lefts.find((nodeId) => !rights.includes(nodeId))
    const stray = right.replicas.find(({ nodeId }) => !lefts.includes(nodeId))
    if (target !== undefined && stray !== undefined) {
      await upkeep.replace(right.rangeId, stray.replicaId, target, timeoutMs)
    } else if (target !== undefined) await upkeep.addReplica(right.rangeId, target, timeoutMs)
    else if (stray !== undefined) {
      await upkeep.removeReplica(right.rangeId, stray.replicaId, lefts.length, timeoutMs)
    }
  }
}

const ABORT_MS = 5_000
