import { CordilleraError, type Key, type NodeId, type RangeId } from '@cordillera/base'
import type { Membership, Operator } from '@cordillera/placement'
import { type Descriptor, SYSTEM_RANGE_ID, spanContains } from '@cordillera/ranges'
import type { RangeTask } from '@cordillera/system'
import type { OperatorRequest } from './admin.js'
import type { RangeFinder } from './range-finder.js'
import type { RangeUpkeep } from './range-upkeep.js'

/**
 * From what somebody asks for to what an operator is to do, with everything fixed that must be the same at every try: keys, ids,
 * versions. What is wrong with a request is said here, and nothing is changed.
 */
export interface OperatorPlansParts {
  readonly finder: RangeFinder
  readonly upkeep: RangeUpkeep
  /** Every node of the cluster, as far as is known. */
  nodes(): Iterable<NodeId>
  /** What people have asked of it. Throws `UNAVAILABLE` where nobody knows. */
  membershipOf(nodeId: NodeId): Membership
}

export type RangeRequest = Extract<OperatorRequest, { readonly rangeId: RangeId }>

export class OperatorPlans {
  readonly #parts: OperatorPlansParts

  constructor(parts: OperatorPlansParts) {
    this.#parts = parts
  }

  /** Rejects with `NOT_FOUND`, `BAD_REQUEST` or `CONFLICT`; with `UNAVAILABLE` when the cluster could not be asked. */
  async plan(request: RangeRequest): Promise<RangeTask> {
    const range = await this.#range(request.rangeId)
    if (range.rangeId === SYSTEM_RANGE_ID && (request.kind === 'split' || request.kind === 'merge')) {
      throw conflict('the system range is neither cut nor merged')
    }
    const wanted = request.kind === 'split' || request.kind === 'merge' ? request.version : undefined
    if (wanted !== undefined && wanted !== range.epoch.version) {
      throw conflict(
        `range ${range.rangeId} is at version ${range.epoch.version}, not ${wanted}: it was cut or merged since`,
      )
    }
    switch (request.kind) {
      case 'split':
        return this.#planSplit(range, request.key)
      case 'merge':
        return this.#planMerge(range)
      case 'transfer-leader':
        return this.#planTransfer(range, request.nodeId)
      default:
        return this.#planChange(range, request.add, request.remove)
    }
  }

  /** Whether the task does just what is asked for: the replica that goes is named by its node. */
  async isSameChange(
    task: Extract<RangeTask, { readonly kind: 'change-replicas' }>,
    { rangeId, add, remove }: Extract<RangeRequest, { readonly kind: 'change-replicas' }>,
  ): Promise<boolean> {
    const { replicas } = await this.#range(rangeId)
    const going = remove === undefined ? undefined : replicas.find(({ nodeId }) => nodeId === remove)
    const isSameGoing = remove === undefined ? task.remove === undefined : task.remove === going?.replicaId
    return task.add === add && isSameGoing && (remove === undefined || going !== undefined)
  }

  /** For what placement has decided on. */
  async planDecided(operator: Operator): Promise<RangeTask> {
    const { rangeId } = operator
    switch (operator.kind) {
      case 'split':
        return this.plan({ kind: 'split', rangeId, ...(operator.key !== undefined && { key: operator.key }) })
      case 'merge':
        return this.plan({ kind: 'merge', rangeId })
      case 'transfer-leader':
        return { kind: 'transfer-leader', rangeId, nodeId: operator.to }
      case 'add-replica':
        return { kind: 'change-replicas', rangeId, add: operator.to }
      case 'remove-replica':
        return {
          ...{ kind: 'change-replicas', rangeId, remove: operator.replicaId },
          ...{ from: operator.from, votersLeft: operator.votersLeft },
        }
      default: {
        const { replicaId, from, to, leads } = operator
        return { kind: 'change-replicas', rangeId, add: to, remove: replicaId, from, ...(leads && { leads }) }
      }
    }
  }

  /** Rejects with `NOT_FOUND`. */
  assertNode(nodeId: NodeId): void {
    this.#assertNode(nodeId)
  }

  /** Rejects with `NOT_FOUND`. */
  async assertRange(rangeId: RangeId): Promise<void> {
    await this.#range(rangeId)
  }

  async #planSplit(range: Descriptor, wanted: string | undefined): Promise<RangeTask> {
    const { rangeId, epoch, start } = range
    const key = wanted ?? (await this.#parts.upkeep.middleKey(rangeId))
    if (key === undefined) throw conflict(`range ${rangeId} holds too little to be cut; name a key`)
    if (key === start) throw conflict(`the key is the first one of range ${rangeId} already`)
    if (!spanContains(range, key)) {
      throw await this.#outside(rangeId, key)
    }
    const rightId = await this.#parts.upkeep.allocateRangeId()
    return { kind: 'split', rangeId, version: epoch.version, key, rightId }
  }

  async #planMerge({ rangeId, end }: Descriptor): Promise<RangeTask> {
    if (end === null) throw conflict(`range ${rangeId} is the last one and has no right neighbour`)
    const right = await this.#parts.finder.findHolder(end)
    if (right === undefined || right.start !== end) {
      throw new CordilleraError('UNAVAILABLE', { detail: `the right neighbour of range ${rangeId} could not be found` })
    }
    const attempt = await this.#parts.upkeep.allocateMergeAttempt()
    return { kind: 'merge', rangeId, rightId: right.rangeId, key: end, attempt }
  }

  #planTransfer({ rangeId, replicas }: Descriptor, nodeId: NodeId): RangeTask {
    this.#assertNode(nodeId)
    if (!replicas.some((place) => place.nodeId === nodeId && place.type === 'voter')) {
      throw conflict(`range ${rangeId} has no voter on node ${nodeId}`)
    }
    this.#assertTakes(nodeId)
    return { kind: 'transfer-leader', rangeId, nodeId }
  }

  #planChange({ rangeId, replicas }: Descriptor, add: NodeId | undefined, from: NodeId | undefined): RangeTask {
    if (add === undefined && from === undefined) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'name a node to add, a node to remove, or both' })
    }
    if (add !== undefined) this.#assertNode(add)
    const isThere = replicas.some(({ nodeId, type }) => nodeId === add && type === 'voter')
    if (isThere) throw conflict(`range ${rangeId} has a replica on node ${add} already`)
    if (add !== undefined) this.#assertTakes(add)
    const going = replicas.find(({ nodeId }) => nodeId === from)
    if (from !== undefined && going === undefined) throw conflict(`range ${rangeId} has no replica on node ${from}`)
    if (add === undefined && replicas.filter(({ type }) => type === 'voter').length === 1) {
      throw conflict(`range ${rangeId} has no other replica than that on node ${from}`)
    }
    return {
      ...{ kind: 'change-replicas', rangeId },
      ...(add !== undefined && { add }),
      ...(going !== undefined && { remove: going.replicaId, from: going.nodeId }),
    }
  }

  /** The range may have been cut just there since somebody looked: by the same command, given at the same time. */
  async #outside(rangeId: RangeId, key: Key): Promise<CordilleraError> {
    const holder = await this.#parts.finder.findHolder(key)
    if (holder?.start === key) return conflict(`the key is a boundary already: range ${holder.rangeId} begins there`)
    const elsewhere = holder === undefined ? '' : `; range ${holder.rangeId} holds it`
    return new CordilleraError('BAD_REQUEST', { detail: `the key is outside of range ${rangeId}${elsewhere}` })
  }

  /** Placement would take it away again from a node that is to have less, not more. */
  #assertTakes(nodeId: NodeId): void {
    const membership = this.#parts.membershipOf(nodeId)
    if (membership === 'member') return
    throw conflict(
      `node ${nodeId} is ${membership}: ${membership === 'draining' ? 'undrain' : 'recommission'} it first`,
    )
  }

  async #range(rangeId: RangeId): Promise<Descriptor> {
    const range = await this.#parts.finder.newest(rangeId)
    if (range === undefined) throw new CordilleraError('NOT_FOUND', { detail: `there is no range ${rangeId}` })
    return range
  }

  #assertNode(nodeId: NodeId): void {
    for (const known of this.#parts.nodes()) if (known === nodeId) return
    throw new CordilleraError('NOT_FOUND', { detail: `there is no node ${nodeId}` })
  }
}

function conflict(detail: string): CordilleraError {
  return new CordilleraError('CONFLICT', { detail })
}
