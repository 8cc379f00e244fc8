import { CordilleraError, type Key, type Logger, type NodeId, type RangeId } from '@cordillera/base'
import {
  type AdminCommand,
  areAligned,
  type Descriptor,
  decodeDescriptor,
  encodeDescriptor,
  type FrozenState,
  isFrozenBy,
  spanContains,
} from '@cordillera/ranges'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { StateStore } from '@cordillera/state'
import type { PeerLinks } from '@cordillera/wire'
import type { LeaderCalls, Undecided } from './leader-calls.js'
import type { RangeFinder } from './range-finder.js'

/**
 * Merges a range with its right neighbour, step by step (see `merge.ts` of ranges, which also says why there is one outcome).
 *
 * Whoever wants it asks the left's leader, again and again; each question moves it one step further, and where it stands is in
 * the two ranges. The left's leader has the right frozen, makes sure that it is frozen durably on all of its stores, which are the
 * left's as well, and only then commits the merge. It gives an attempt up that takes too long, whoever began it, and thaws the
 * right. So an attempt that nobody asks for any more ends by itself.
 */
export interface MergeGoal {
  readonly leftId: RangeId
  readonly rightId: RangeId
  /** The first of the right: where the two meet. */
  readonly key: Key
  /** Higher than all before; for one merge alone. */
  readonly attempt: number
}

export interface RangeMergingParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly state: StateStore
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly calls: LeaderCalls
  readonly finder: RangeFinder
  readonly logger: Logger
}

/**
 * `impossible`: they are no neighbours on the same stores. `busy`: with another merge. `unreachable`: a store of the right, and all
 * of them are needed.
 */
type MergeAnswer = 'done' | 'aborted' | 'impossible' | 'busy' | 'unreachable'
const MERGE_ANSWERS: readonly MergeAnswer[] = ['done', 'aborted', 'impossible', 'busy', 'unreachable']
type FreezeAnswer = 'frozen' | 'refused'
const FREEZE_ANSWERS: readonly FreezeAnswer[] = ['frozen', 'refused']
type ThawAnswer = 'thawed' | 'refused'
const THAW_ANSWERS: readonly ThawAnswer[] = ['thawed', 'refused']
type StateAnswer = 'absorbing' | 'aborted' | 'ended'
const STATE_ANSWERS: readonly StateAnswer[] = ['absorbing', 'aborted', 'ended']

/** What one range's leader asks of another's, within a step. */
const STEP_MS = 1_500
const ASK_TIMEOUT_MS = 3_000
/** So many rounds an attempt may take, a second each, before the left's leader gives it up: clients of the right wait meanwhile. */
const ROUNDS_MAX = 4
/** After so many, a right that is still frozen asks whether its left has ever heard of the attempt. */
const FROZEN_ROUNDS_MAX = 8

export class RangeMerging {
  readonly #parts: RangeMergingParts
  /** Lefts whose step is under way here. */
  readonly #busy = new Set<RangeId>()
  /** For how many rounds a range that is led here has been at its attempt. */
  readonly #rounds = new Map<RangeId, { readonly attempt: number; count: number }>()

  constructor(parts: RangeMergingParts) {
    this.#parts = parts
  }

  /**
   * Resolves when the two are one. Rejects with `CONFLICT` when that cannot be, or was given up, in which case both are as they were;
   * with `UNAVAILABLE` when it is not done after `timeoutMs`: it may be all the same, and may be asked for again.
   */
  async merge(goal: MergeGoal, timeoutMs: number): Promise<void> {
    const { leftId, rightId, key, attempt } = goal
    const question = { rangeId: leftId, method: 'merge', body: [leftId, rightId, key, attempt], answers: MERGE_ANSWERS }
    const answer = await this.#parts.calls.ask({ ...question, here: () => this.#step(goal) }, timeoutMs)
    if (answer === 'done') return
    throw new CordilleraError(answer === 'unreachable' ? 'UNAVAILABLE' : 'CONFLICT', { detail: DETAILS[answer](goal) })
  }

  /** Gives the attempt up, if it is not too late; resolves when that has been said to its left. As {@link merge} otherwise. */
  async abort({ leftId, attempt }: MergeGoal, timeoutMs: number): Promise<void> {
    const question = { rangeId: leftId, method: 'abort-merge', body: [leftId, attempt], answers: STATE_ANSWERS }
    await this.#parts.calls.ask({ ...question, here: () => this.#abort(leftId, attempt) }, timeoutMs)
  }

  /** Another node asks. Throws `BAD_REQUEST`. */
  async onAsked(method: MergeMethod, body: unknown): Promise<unknown> {
    const [first, second, third, fourth] = Array.isArray(body) ? body : []
    if (method === 'merge') {
      if (![first, second, fourth].every(isId) || typeof third !== 'string') throw badRequest()
      return this.#step({ leftId: first, rightId: second, key: third, attempt: fourth })
    }
    if (![first, second].every(isId)) throw badRequest()
    if (method === 'merge-state') return this.#stateOf(first, second)
    if (method === 'abort-merge') return this.#abort(first, second)
    if (!isId(third)) throw badRequest()
    if (method === 'freeze') return this.#freeze(first, second, third)
    if (method === 'refuse-merge') return this.#refuse(first, second, third)
    return method === 'thaw' ? this.#thaw(first, second, third) : this.#frozenHere(first, second, third)
  }

  /** To be called about once a second: attempts of ranges that are led here come to an end. */
  onRound(): void {
    for (const replica of this.#parts.replicas.replicas()) {
      const { rangeId, merge } = replica.descriptor
      if (merge === undefined || !replica.isUsable) {
        this.#rounds.delete(rangeId)
        continue
      }
      const known = this.#rounds.get(rangeId)
      const rounds = known?.attempt === merge.attempt ? known : { attempt: merge.attempt, count: 0 }
      this.#rounds.set(rangeId, rounds)
      const isLate = ++rounds.count > (merge.kind === 'frozen' ? FROZEN_ROUNDS_MAX : ROUNDS_MAX)
      if (merge.kind === 'frozen') {
        if (isLate) this.#askRefusal(rangeId, merge).catch(ignoreCoded)
      } else if (merge.kind === 'aborted')
        this.#exclusively(replica, () => this.#finishAbort(replica)).catch(ignoreCoded)
      else if (isLate) this.#abort(rangeId, merge.attempt).catch(ignoreCoded)
    }
  }

  async #step(goal: MergeGoal): Promise<MergeAnswer | Undecided> {
    const replica = this.#parts.replicas.replica(goal.leftId)
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable || this.#busy.has(goal.leftId)) return 'running'
    return this.#exclusively(replica, () => this.#stepOf(replica, goal))
  }

  async #exclusively<T>(replica: Replica, action: () => Promise<T>): Promise<T | 'running'> {
    const { rangeId } = replica.descriptor
    if (this.#busy.has(rangeId)) return 'running'
    this.#busy.add(rangeId)
    try {
      return await action()
    } finally {
      this.#busy.delete(rangeId)
    }
  }

  async #stepOf(replica: Replica, goal: MergeGoal): Promise<MergeAnswer | Undecided> {
    const { merge, lastMerge = 0 } = replica.descriptor
    if (merge !== undefined && merge.attempt !== goal.attempt) {
      return lastMerge > goal.attempt ? this.#confirmed(replica, endOf(replica.descriptor, goal)) : 'busy'
    }
    if (merge === undefined) {
      if (lastMerge >= goal.attempt) return this.#confirmed(replica, endOf(replica.descriptor, goal))
      return this.#begin(replica, goal)
    }
    if (merge.kind === 'absorbing') await this.#absorb(replica, goal)
    else if (merge.kind === 'aborted') await this.#finishAbort(replica)
    return 'running'
  }

  async #begin(replica: Replica, { leftId, rightId, key, attempt }: MergeGoal): Promise<MergeAnswer | Undecided> {
    const { finder, state } = this.#parts
    const { descriptor } = replica
    if (descriptor.end !== key) return this.#confirmed(replica, 'impossible')
    const right = await finder.find(rightId)
    if (right === undefined || right.start !== key || right.merge !== undefined) return 'impossible'
    if (!areAligned(descriptor, right)) return 'impossible'
    if (!this.#areReachable(right)) return 'unreachable'
    // What is flushed now need not be while the right is frozen.
    await Promise.all([state.flush(), ...right.replicas.map(({ nodeId }) => this.#askFlush(nodeId, leftId))])
    await this.#propose(replica, { kind: 'begin', version: descriptor.epoch.version, rightId, attempt })
    return 'running'
  }

  async #absorb(replica: Replica, { leftId, rightId, attempt }: MergeGoal): Promise<void> {
    const { calls, logger } = this.#parts
    // On the same stores as the right: one that is gone will not say that it is frozen there.
    if (!this.#areReachable(replica.descriptor)) {
      await this.#propose(replica, { kind: 'abort', attempt })
      return
    }
    const ids = [rightId, leftId, attempt]
    const question = { rangeId: rightId, method: 'freeze', body: ids, answers: FREEZE_ANSWERS }
    const answer = await calls.ask({ ...question, here: () => this.#freeze(rightId, leftId, attempt) }, STEP_MS)
    if (answer === 'refused') {
      await this.#propose(replica, { kind: 'abort', attempt })
      return
    }
    const right = await this.#frozenEverywhere(rightId, leftId, attempt)
    if (right === undefined) return
    if (areAligned(replica.descriptor, right)) {
      await this.#propose(replica, { kind: 'merge', epoch: replica.descriptor.epoch, attempt, right })
    } else {
      logger.info('merge-of-unlike', { leftId, rightId })
      await this.#propose(replica, { kind: 'abort', attempt })
    }
  }

  #areReachable({ replicas }: Descriptor): boolean {
    const { nodeId: self, links } = this.#parts
    return replicas.every(({ nodeId }) => nodeId === self || links.isUp(nodeId))
  }

  /** As all of its stores have it durably; undefined while not all of them say so. */
  async #frozenEverywhere(rightId: RangeId, leftId: RangeId, attempt: number): Promise<Descriptor | undefined> {
    const { finder, nodeId: self, links } = this.#parts
    const known = await finder.find(rightId)
    if (known === undefined) return undefined
    const said = await Promise.all(
      known.replicas.map(({ nodeId }) => {
        const body = [rightId, leftId, attempt]
        if (nodeId === self) return this.#frozenHere(rightId, leftId, attempt)
        return links.isUp(nodeId) ? links.ask(nodeId, 'frozen', body, ASK_TIMEOUT_MS) : null
      }),
    )
    const frozen = said.flatMap((bytes) => (bytes instanceof Uint8Array ? [decodeDescriptor(bytes)] : []))
    const [right] = frozen
    if (right === undefined || frozen.length < said.length) return undefined
    // The replicas that were asked are those that it has: it has not changed since it was frozen.
    const isSame = ({ epoch, replicas }: Descriptor): boolean =>
      epoch.version === right.epoch.version &&
      epoch.confVersion === right.epoch.confVersion &&
      replicas.length === said.length
    return frozen.every((one) => isSame(one) && isFrozenBy(one, leftId, attempt)) ? right : undefined
  }

  /** Answers the left's leader: the right as it is frozen here, durably; null while it is not. */
  async #frozenHere(rightId: RangeId, leftId: RangeId, attempt: number): Promise<Uint8Array | null> {
    const { replicas, state } = this.#parts
    // One that is silenced is damaged, differs from the others, or was given up: it is to be replaced, and not merged.
    const held = replicas.replica(rightId)?.state
    if (held === undefined || !isFrozenBy(held.descriptor, leftId, attempt)) return null
    const { descriptor, appliedIndex } = held
    if (held.flushedIndex < appliedIndex) await state.flush()
    return encodeDescriptor(descriptor)
  }

  /** At the right's leader. The version is read before the left is asked: what was thawed since then is of another one. */
  async #freeze(rightId: RangeId, leftId: RangeId, attempt: number): Promise<FreezeAnswer | Undecided> {
    const replica = this.#parts.replicas.replica(rightId)
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable) return 'running'
    if (isFrozenBy(replica.descriptor, leftId, attempt)) return this.#confirmed(replica, 'frozen')
    if (replica.descriptor.merge !== undefined) return 'refused'
    const { version } = replica.descriptor.epoch
    const state = await this.#askState(leftId, attempt)
    if (state !== 'absorbing') return 'refused'
    await this.#propose(replica, { kind: 'freeze', version, leftId, attempt })
    return 'running'
  }

  /** At the right's leader, as {@link #freeze}. */
  async #thaw(rightId: RangeId, leftId: RangeId, attempt: number): Promise<ThawAnswer | Undecided> {
    const replica = this.#parts.replicas.replica(rightId)
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable) return 'running'
    const { epoch, merge } = replica.descriptor
    if ((await this.#askState(leftId, attempt)) !== 'aborted') return 'refused'
    // A merge of its own does not raise its version before it ends: what may still freeze it would find it as it was.
    if (merge !== undefined && !isFrozenBy(replica.descriptor, leftId, attempt)) return 'running'
    const isThawed = await this.#propose(replica, { kind: 'thaw', version: epoch.version, leftId, attempt })
    return isThawed ? 'thawed' : 'running'
  }

  /** At the left's leader: what the attempt has come to. */
  async #stateOf(leftId: RangeId, attempt: number): Promise<StateAnswer | Undecided> {
    const replica = this.#parts.replicas.replica(leftId)
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable || !(await this.#parts.replicas.confirm(leftId))) return 'running'
    return stateOf(replica.descriptor, attempt)
  }

  #askState(leftId: RangeId, attempt: number): Promise<StateAnswer> {
    const question = { rangeId: leftId, method: 'merge-state', body: [leftId, attempt], answers: STATE_ANSWERS }
    return this.#parts.calls.ask({ ...question, here: () => this.#stateOf(leftId, attempt) }, STEP_MS)
  }

  /** At the left's leader. */
  async #abort(leftId: RangeId, attempt: number): Promise<StateAnswer | Undecided> {
    const replica = this.#parts.replicas.replica(leftId)
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable) return 'running'
    const state = stateOf(replica.descriptor, attempt)
    if (state !== 'absorbing') return this.#confirmed(replica, state)
    await this.#propose(replica, { kind: 'abort', attempt })
    return 'running'
  }

  /** At the leader of a right that has been frozen for long: see `refuseMerge`. What comes of it, the left's leader sees to. */
  #askRefusal(rightId: RangeId, { leftId, attempt }: FrozenState): Promise<StateAnswer> {
    const body = [leftId, rightId, attempt]
    const question = { rangeId: leftId, method: 'refuse-merge', body, answers: STATE_ANSWERS }
    return this.#parts.calls.ask({ ...question, here: () => this.#refuse(leftId, rightId, attempt) }, STEP_MS)
  }

  /** At the left's leader. Without effect on an attempt that it knows of. */
  async #refuse(leftId: RangeId, rightId: RangeId, attempt: number): Promise<StateAnswer | Undecided> {
    const replica = this.#parts.replicas.replica(leftId)
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable) return 'running'
    const { merge, lastMerge = 0 } = replica.descriptor
    if (merge !== undefined || lastMerge >= attempt) {
      return this.#confirmed(replica, stateOf(replica.descriptor, attempt))
    }
    await this.#propose(replica, { kind: 'refuse', rightId, attempt })
    return 'running'
  }

  /** The attempt is aborted: the right is thawed, and then the left forgets it. Nobody else can have merged with it meanwhile. */
  async #finishAbort(replica: Replica): Promise<void> {
    const { calls, finder } = this.#parts
    const { merge, rangeId: leftId } = replica.descriptor
    if (merge?.kind !== 'aborted') return
    const { rightId, attempt } = merge
    const question = { rangeId: rightId, method: 'thaw', body: [rightId, leftId, attempt], answers: THAW_ANSWERS }
    const here = (): Promise<ThawAnswer | Undecided> => this.#thaw(rightId, leftId, attempt)
    const answer = await calls.ask({ ...question, here }, STEP_MS).catch(async (error) => {
      // It may have moved to where this node does not know of it.
      await finder.find(rightId)
      throw error
    })
    if (answer === 'thawed') await this.#propose(replica, { kind: 'end', attempt })
  }

  /** So that what is to be flushed while the right is frozen is little. It does no harm when it is not. */
  async #askFlush(nodeId: NodeId, rangeId: RangeId): Promise<void> {
    const { nodeId: self, links } = this.#parts
    if (nodeId !== self && links.isUp(nodeId))
      await links.ask(nodeId, 'range', rangeId, ASK_TIMEOUT_MS).catch(ignoreCoded)
  }

  async #confirmed<Answer extends string>(replica: Replica, answer: Answer): Promise<Answer | Undecided> {
    return (await this.#parts.replicas.confirm(replica.descriptor.rangeId)) ? answer : 'running'
  }

  #propose(replica: Replica, command: AdminCommand): Promise<boolean> {
    return new Promise((resolve) => replica.proposeAdmin(command, ({ kind }) => resolve(kind === 'written')))
  }
}

/** What nodes ask each other for merges. */
export const MERGE_METHODS = [
  'merge',
  'merge-state',
  'abort-merge',
  'refuse-merge',
  'freeze',
  'thaw',
  'frozen',
] as const
export type MergeMethod = (typeof MERGE_METHODS)[number]

function stateOf({ merge }: Descriptor, attempt: number): StateAnswer {
  return merge === undefined || merge.kind === 'frozen' || merge.attempt !== attempt ? 'ended' : merge.kind
}

/** Of an attempt that is over. */
function endOf(left: Descriptor, { key, attempt }: MergeGoal): 'done' | 'aborted' {
  return left.lastMerged === attempt || spanContains(left, key) ? 'done' : 'aborted'
}

const DETAILS = {
  aborted: ({ leftId, rightId }) => `the merge of range ${leftId} with range ${rightId} was given up`,
  impossible: ({ leftId, rightId }) =>
    `range ${rightId} is not the right neighbour of range ${leftId}, or their replicas are not on the same nodes`,
  unreachable: ({ rightId }) => `a node that has range ${rightId} cannot be reached, and all of them are needed`,
  busy: ({ leftId }) => `range ${leftId} is merging already`,
} satisfies Record<Exclude<MergeAnswer, 'done'>, (goal: MergeGoal) => string>

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function badRequest(): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail: 'a merge names its ranges and its attempt' })
}

function ignoreCoded(error: unknown): void {
  if (!(error instanceof CordilleraError)) throw error
}
