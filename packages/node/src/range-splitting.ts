import { CordilleraError, type Key, type Logger, type RangeId, type ReplicaId } from '@cordillera/base'
import { type SplitCommand, splitDescriptor } from '@cordillera/ranges'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { StateStore } from '@cordillera/state'
import type { LeaderCalls, Undecided } from './leader-calls.js'
import type { RangeFinder } from './range-finder.js'

/**
 * Cuts ranges in two. A split is named by the range, the version that it cuts, the key and the right half's id, which is used for
 * no other: however often it is asked for, it happens once at most, because it raises the version.
 */
export interface SplitGoal {
  readonly rangeId: RangeId
  /** The epoch's. */
  readonly version: number
  /** The first key of the right half. */
  readonly key: Key
  readonly rightId: RangeId
}

export interface RangeSplittingParts {
  readonly replicas: Replicas
  readonly state: StateStore
  readonly calls: LeaderCalls
  readonly finder: RangeFinder
  readonly logger: Logger
  /** The first of so many ids in a row that no replica ever had. */
  allocateReplicaIds(count: number): Promise<ReplicaId>
}

/** `changed`: the range is not of that version any more. `impossible`: the key is not inside of it. */
type Answer = 'done' | 'changed' | 'impossible'
const ANSWERS: readonly Answer[] = ['done', 'changed', 'impossible']

export class RangeSplitting {
  readonly #parts: RangeSplittingParts
  /** Being proposed. */
  readonly #splitting = new Set<RangeId>()

  constructor(parts: RangeSplittingParts) {
    this.#parts = parts
  }

  /**
   * Resolves when the range is cut. Rejects with `CONFLICT` when it is another one by now, with `BAD_REQUEST` when the key is not
   * inside of it, with `UNAVAILABLE` when it is not done after `timeoutMs`: it may be all the same, and may be asked for again.
   */
  async split(goal: SplitGoal, timeoutMs: number): Promise<void> {
    const { rangeId, version, key, rightId } = goal
    const body = [rangeId, version, key, rightId]
    const here = (): Promise<Answer | Undecided> => this.#step(goal)
    const answer = await this.#parts.calls.ask({ rangeId, method: 'split', body, answers: ANSWERS, here }, timeoutMs)
    if (answer === 'impossible') {
      throw new CordilleraError('BAD_REQUEST', {
        detail: `the key is not inside of range ${rangeId}, or its first one`,
      })
    }
    if (answer === 'done' || (await this.#parts.finder.find(rightId)) !== undefined) return
    throw new CordilleraError('CONFLICT', { detail: `range ${rangeId} has changed since: version ${version} is gone` })
  }

  /** Another node asks. Throws `BAD_REQUEST`. */
  async onAsked(body: unknown): Promise<Answer | Undecided> {
    const [rangeId, version, key, rightId] = Array.isArray(body) && body.length === 4 ? body : []
    if (![rangeId, version, rightId].every((id) => Number.isSafeInteger(id) && id > 0) || typeof key !== 'string') {
      throw new CordilleraError('BAD_REQUEST', { detail: 'a split names a range, its version, a key and an id' })
    }
    return this.#step({ rangeId, version, key, rightId })
  }

  /** A key that leaves about as many bytes on either side; null where there is none, or the range is not led here. */
  async onMiddleAsked(rangeId: unknown): Promise<Key | null> {
    const { replicas, state } = this.#parts
    const replica = replicas.replica(Number(rangeId))
    if (replica?.core.role !== 'leader') return null
    return (await state.middleKey(replica.descriptor)) ?? null
  }

  async #step(goal: SplitGoal): Promise<Answer | Undecided> {
    const replica = this.#parts.replicas.replica(goal.rangeId)
    // A leader knows its range only once it has applied what its predecessors left.
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable || this.#splitting.has(goal.rangeId)) return 'running'
    const refusal = refusalOf(replica, goal)
    if (refusal !== undefined) {
      // A deposed leader may know of less.
      return refusal !== 'running' && (await this.#parts.replicas.confirm(goal.rangeId)) ? refusal : 'running'
    }
    this.#splitting.add(goal.rangeId)
    try {
      return await this.#propose(replica, goal)
    } finally {
      this.#splitting.delete(goal.rangeId)
    }
  }

  async #propose(replica: Replica, goal: SplitGoal): Promise<Answer | Undecided> {
    const { replicas: places, epoch } = replica.descriptor
    const first = await this.#parts.allocateReplicaIds(places.length)
    if (refusalOf(replica, goal) !== undefined) return 'running'
    const replicaIds = places.map((_, i) => first + i)
    const command: SplitCommand = { kind: 'split', epoch, key: goal.key, rangeId: goal.rightId, replicaIds }
    const reply = await new Promise<{ kind: string }>((resolve) => replica.proposeAdmin(command, resolve))
    const { rangeId, rightId } = goal
    this.#parts.logger.info('split-proposed', { rangeId, rightId, outcome: reply.kind })
    return reply.kind === 'written' ? 'done' : 'running'
  }
}

function refusalOf({ descriptor }: Replica, { version, key, rightId }: SplitGoal): Answer | 'running' | undefined {
  const { epoch, replicas } = descriptor
  if (epoch.version !== version) return 'changed'
  const replicaIds = replicas.map((_, i) => i)
  const halves = splitDescriptor(descriptor, { kind: 'split', epoch, key, rangeId: rightId, replicaIds })
  if (typeof halves !== 'string') return undefined
  return halves === 'key' ? 'impossible' : 'running'
}
