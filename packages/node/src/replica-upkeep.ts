import { CordilleraError, type Logger, type NodeId, type RangeId, type ReplicaId } from '@cordillera/base'
import { compareEpochs, type Descriptor, isFrozen } from '@cordillera/ranges'
import { isSurelyRemoved, type KnownDescriptor, newestOf, type Replicas } from '@cordillera/replicas'
import type { ReplicaState, StateStore } from '@cordillera/state'
import type { RangeFinder } from './range-finder.js'

/**
 * Looks after the replicas of this node that take no part, or perhaps should not: those that were silenced, because their log
 * was damaged, are replaced under new ids, and those that are in their range no more are destroyed. Nobody has to ask for it.
 *
 * Whether a replica was removed is asked of the others: its own word, or a single one's, is not enough (see
 * `isSurelyRemoved`). Asked are the nodes of the range as it is known here and, from one round to the next, of what they
 * have told; so one that was away for longer than all whom it knew were in the range finds those who are. Where nobody has the
 * range, it may have become part of another one.
 */
export interface ReplicaUpkeepParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly state: StateStore
  readonly finder: RangeFinder
  readonly logger: Logger
  /** Replaces a replica by one on the node; resolves when that is done. Rejects with a coded error when it is not (yet). */
  replace(rangeId: RangeId, replicaId: ReplicaId, nodeId: NodeId): Promise<void>
}

/** Rounds without a leader after which a replica asks whether it is still in its range. */
const LEADERLESS_ROUNDS = 3

export class ReplicaUpkeep {
  readonly #parts: ReplicaUpkeepParts
  /** What was told of ranges last, newer than what is known here. */
  readonly #told = new Map<RangeId, KnownDescriptor>()
  readonly #leaderless = new Map<RangeId, number>()
  readonly #replacing = new Set<ReplicaId>()
  #isAsking = false

  constructor(parts: ReplicaUpkeepParts) {
    this.#parts = parts
  }

  /** One round; nothing happens while the last one is under way. */
  onRound(): void {
    for (const [rangeId, replicaId] of this.#dead()) this.#replace(rangeId, replicaId)
    if (this.#isAsking) return
    const doubted = this.#doubted()
    if (doubted.length === 0) return
    this.#isAsking = true
    Promise.all(doubted.map((state) => this.#check(state)))
      .catch((error) => this.#onError(error))
      .finally(() => {
        this.#isAsking = false
      })
  }

  /**
   * Replicas here that their ranges count on, and that will never say anything again: silenced, or destroyed already, to make
   * room for a successor.
   */
  *#dead(): Generator<readonly [RangeId, ReplicaId]> {
    const { replicas, state, nodeId: self } = this.#parts
    for (const [rangeId, { state: silenced, reason }] of replicas.silenced) {
      if (reason !== 'given-up') yield [rangeId, silenced.replicaId]
    }
    for (const { descriptor, replicaId: own } of replicas.replicas()) {
      for (const { nodeId, replicaId } of descriptor.replicas) {
        const isHere = nodeId === self && replicaId !== own
        if (isHere && !state.replicas.has(replicaId) && !state.mayCreate(replicaId))
          yield [descriptor.rangeId, replicaId]
      }
    }
  }

  /** Those about whom there is something to ask. */
  #doubted(): ReplicaState[] {
    const { replicas } = this.#parts
    const doubted = [...replicas.silenced.values()].map(({ state }) => state)
    for (const { descriptor, state, core, isMember, isRestoring } of replicas.replicas()) {
      const { rangeId } = descriptor
      const rounds = core.leader === 0 ? (this.#leaderless.get(rangeId) ?? 0) + 1 : 0
      this.#leaderless.set(rangeId, rounds)
      if (!isRestoring && (!isMember || rounds >= LEADERLESS_ROUNDS)) doubted.push(state)
    }
    return doubted
  }

  async #check(state: ReplicaState): Promise<void> {
    const { replicas, logger } = this.#parts
    const { replicaId, descriptor } = state
    const { rangeId } = descriptor
    const told = this.#told.get(rangeId)?.descriptor.replicas ?? []
    const nodes = new Set([...descriptor.replicas, ...told].map(({ nodeId }) => nodeId))
    const known = await this.#parts.finder.ask(rangeId, nodes)
    const newest = newestOf(known)
    const own = { replicaId, descriptor: state.descriptor }
    if (newest !== undefined) this.#told.set(rangeId, known.find((one) => one.descriptor === newest)!)
    // Those that have missed a merge tell each other that they wait for it.
    const isForgotten = known.every((one) => isFrozen(one.descriptor))
    const isGone = isSurelyRemoved(replicaId, [own, ...known]) || (isForgotten && (await this.#isMergedAway(state)))
    if (!isGone) {
      if (newest === undefined || compareEpochs(newest.epoch, descriptor.epoch) <= 0) await this.#lookElsewhere(state)
      return
    }
    logger.info('replica-removed', { rangeId, replicaId })
    this.#told.delete(rangeId)
    await replicas.destroy(state)
  }

  /** Nobody who was in the range knows more: they may all have left it. Whoever is in it now is asked the next time. */
  async #lookElsewhere({ replicaId, descriptor: { rangeId, start, epoch } }: ReplicaState): Promise<void> {
    const holder = await this.#parts.finder.findHolder(start)
    if (holder === undefined || holder.rangeId !== rangeId || compareEpochs(holder.epoch, epoch) <= 0) return
    this.#told.set(rangeId, { replicaId, descriptor: holder })
  }

  /**
   * Whether another range has the first key of this one, in a later version: it keeps that key until it has become part of another
   * one, and is nothing any more then. While the replica here of the one that it waits for has yet to merge with it, or has yet
   * to come to be here, it is needed.
   */
  async #isMergedAway({ descriptor }: ReplicaState): Promise<boolean> {
    const { finder, replicas, state, nodeId: self } = this.#parts
    const { merge, rangeId, start, epoch } = descriptor
    const holder = await finder.findHolder(start)
    if (holder === undefined || holder.rangeId === rangeId || holder.epoch.version <= epoch.version) return false
    if (merge?.kind !== 'frozen') return true
    const left = replicas.replica(merge.leftId) ?? replicas.silenced.get(merge.leftId)?.state
    if (left !== undefined)
      return (left.descriptor.lastMerge ?? 0) >= merge.attempt && !isAt(left.descriptor, merge.attempt)
    return !holder.replicas.some((place) => place.nodeId === self && state.mayCreate(place.replicaId))
  }

  #replace(rangeId: RangeId, replicaId: ReplicaId): void {
    const { replace, nodeId, logger } = this.#parts
    if (this.#replacing.has(replicaId)) return
    this.#replacing.add(replicaId)
    replace(rangeId, replicaId, nodeId)
      .then(() => logger.info('replica-replaced', { rangeId, replicaId }))
      .catch((error) => {
        logger.debug('replica-not-replaced', { rangeId, replicaId, detail: String(error) })
        if (!(error instanceof CordilleraError)) this.#onError(error)
      })
      .finally(() => this.#replacing.delete(replicaId))
  }

  /** What the disk refuses stops the store by itself. */
  #onError(error: unknown): void {
    if (error instanceof CordilleraError) this.#parts.logger.debug('upkeep-failed', { detail: String(error) })
    else this.#parts.replicas.onFatal(error)
  }
}

/** Whether the attempt has not ended, as far as the left knows here. */
function isAt({ merge }: Descriptor, attempt: number): boolean {
  return merge !== undefined && merge.kind !== 'frozen' && merge.attempt === attempt
}
