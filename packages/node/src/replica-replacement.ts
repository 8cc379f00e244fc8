import { CordilleraError, type Logger, type NodeId, type RangeId, type ReplicaId } from '@cordillera/base'
import { decideReplacement, type ReplacementGoal, type ReplacementStep } from '@cordillera/placement'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { PeerLinks } from '@cordillera/wire'
import type { LeaderCalls, Undecided } from './leader-calls.js'

/**
 * Replaces a replica of a range by one on another node, or on the same, step by step (see `decideReplacement`).
 *
 * Whoever wants it asks the range's leader, again and again, until it is done; each question moves it one step further. The
 * leader keeps nothing: where it stands is in the range's descriptor, so it goes on under any leader, and who asks may be
 * someone else as well. That it stops half-way when nobody asks any more is the price; the range is none the worse.
 */
export interface ReplicaReplacementParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly links: Pick<PeerLinks, 'isUp'>
  readonly calls: LeaderCalls
  readonly logger: Logger
  /** The first of so many ids in a row that no replica ever had. */
  allocateReplicaIds(count: number): Promise<ReplicaId>
}

/** `impossible`: another voter of the range is there. */
type Answer = 'done' | 'impossible'
const ANSWERS: readonly Answer[] = ['done', 'impossible']

/** So often a leader that is to be replaced tries to hand over first. One that is removed as it leads may cost an election timeout. */
const HAND_OVERS_MAX = 5
const HAND_OVERS_KEPT_MAX = 1_000

/** A successor that lacks no more than this is swapped in. */
const LAG_ENTRIES_MAX = 1_024

export class ReplicaReplacement {
  readonly #parts: ReplicaReplacementParts
  /** Ranges for which an id is being allocated. */
  readonly #adding = new Set<RangeId>()
  readonly #handOvers = new Map<ReplicaId, number>()

  constructor(parts: ReplicaReplacementParts) {
    this.#parts = parts
  }

  /**
   * Resolves when the range does not have the replica any more. Rejects with `CONFLICT` when another voter of the range is on
   * the node, and with `UNAVAILABLE` when it is not done after `timeoutMs`: it may go on all the same.
   */
  async replace(rangeId: RangeId, goal: ReplacementGoal, timeoutMs: number): Promise<void> {
    const body = [rangeId, goal.replicaId, goal.nodeId]
    const here = (): Promise<Answer | Undecided> => this.#step(rangeId, goal)
    const answer = await this.#parts.calls.ask({ rangeId, method: 'replace', body, answers: ANSWERS, here }, timeoutMs)
    if (answer === 'done') return
    throw new CordilleraError('CONFLICT', { detail: `node ${goal.nodeId} has a voter of range ${rangeId} already` })
  }

  /** Moves one step further, if the range is led here. Throws `BAD_REQUEST`. */
  async onAsked(body: unknown): Promise<Answer | Undecided> {
    if (!Array.isArray(body) || body.length !== 3 || !body.every((id) => Number.isSafeInteger(id) && id > 0)) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'a replacement names a range, a replica and a node' })
    }
    const [rangeId, replicaId, nodeId] = body as [number, number, number]
    return this.#step(rangeId, { replicaId, nodeId })
  }

  async #step(rangeId: RangeId, goal: ReplacementGoal): Promise<Answer | Undecided> {
    const replica = this.#parts.replicas.replica(rangeId)
    // A leader knows its range only once it has applied what its predecessors left.
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable) return 'running'
    if (isHealthyHere(replica, goal)) return 'impossible'
    const step = decide(replica, goal)
    if (step.kind === 'done' || step.kind === 'impossible') {
      // A deposed leader may know of less: who still leads has applied what was committed when it was asked.
      if (!(await this.#parts.replicas.confirm(rangeId)) || decide(replica, goal).kind !== step.kind) return 'running'
      return step.kind
    }
    if (step.kind === 'add') await this.#add(replica, goal)
    if (step.kind === 'swap' && !this.#tryHandOver(replica, goal))
      this.#propose(replica, 'replica-swapped', step.changes)
    return 'running'
  }

  /** False: it is not this replica that goes, or nobody takes over. */
  #tryHandOver({ replicaId, descriptor }: Replica, goal: ReplacementGoal): boolean {
    if (goal.replicaId !== replicaId) return false
    const { replicas, links, nodeId: self } = this.#parts
    const tries = (this.#handOvers.get(replicaId) ?? 0) + 1
    const heirs = descriptor.replicas.filter(
      ({ type, nodeId }) => type === 'voter' && nodeId !== self && links.isUp(nodeId) && replicas.stores.isFit(nodeId),
    )
    const heir = tries > HAND_OVERS_MAX ? undefined : heirs[tries % Math.max(1, heirs.length)]
    if (heir === undefined) {
      this.#handOvers.delete(replicaId)
      return false
    }
    if (this.#handOvers.size >= HAND_OVERS_KEPT_MAX) this.#handOvers.clear()
    this.#handOvers.set(replicaId, tries)
    replicas.transferLeadership(descriptor.rangeId, heir.nodeId)
    return true
  }

  async #add(replica: Replica, goal: ReplacementGoal): Promise<void> {
    const { rangeId } = replica.descriptor
    if (this.#adding.has(rangeId)) return
    this.#adding.add(rangeId)
    try {
      const replicaId = await this.#parts.allocateReplicaIds(1)
      // Meanwhile another leader may have been asked, and have added one: that is applied here, or this is refused.
      if (decide(replica, goal).kind !== 'add') return
      this.#propose(replica, 'replica-added', [{ kind: 'add-learner', replicaId, nodeId: goal.nodeId }])
    } finally {
      this.#adding.delete(rangeId)
    }
  }

  #propose(replica: Replica, event: string, changes: Parameters<Replica['proposeChanges']>[0]): void {
    const { rangeId } = replica.descriptor
    const result = replica.proposeChanges(changes)
    const outcome = result.kind === 'refused' ? result.reason : `at ${result.index}`
    this.#parts.logger.info(event, {
      rangeId,
      changes: changes.map(({ kind, replicaId }) => `${kind} ${replicaId}`),
      outcome,
    })
  }
}

/** What takes part leaves no room for a successor on its own node. */
function isHealthyHere(replica: Replica, { replicaId, nodeId }: ReplacementGoal): boolean {
  const isHere = replica.descriptor.replicas.some((place) => place.replicaId === replicaId && place.nodeId === nodeId)
  return isHere && (replicaId === replica.replicaId || replica.core.progressOf(replicaId)?.recentlyActive === true)
}

function decide(replica: Replica, goal: ReplacementGoal): ReplacementStep {
  return decideReplacement(replica.descriptor, goal, (peer) => isCaughtUp(replica, peer))
}

/** Whether the peer lacks no more than what it gets while it is swapped in. */
export function isCaughtUp({ core, replicaId }: Replica, peer: ReplicaId): boolean {
  if (peer === replicaId) return true
  const progress = core.progressOf(peer)
  return progress?.state === 'replicate' && core.lastIndex - progress.matchIndex <= LAG_ENTRIES_MAX
}
