import { type Clock, CordilleraError, type Logger, type NodeId, type RangeId, type ReplicaId } from '@cordillera/base'
import { decideReplacement, type ReplacementGoal, type ReplacementStep } from '@cordillera/placement'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { PeerLinks } from '@cordillera/wire'

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
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly clock: Clock
  readonly logger: Logger
  /** An id that no replica ever had. */
  allocateReplicaId(): Promise<ReplicaId>
  /** Where the range may be, the believed leader first. */
  nodesOf(rangeId: RangeId): readonly NodeId[]
}

/** What the leader says: `running` also when nothing could be done at the moment. */
type Progress = 'done' | 'running' | 'impossible' | 'not-leader'
const ANSWERS: readonly unknown[] = ['done', 'running', 'impossible'] satisfies readonly Progress[]

const ASK_TIMEOUT_MS = 5_000
const PAUSE_MS = 200
/** A successor that lacks no more than this is swapped in. */
const LAG_ENTRIES_MAX = 1_024

export class ReplicaReplacement {
  readonly #parts: ReplicaReplacementParts
  /** Ranges for which an id is being allocated. */
  readonly #adding = new Set<RangeId>()
  #isClosed = false

  constructor(parts: ReplicaReplacementParts) {
    this.#parts = parts
  }

  /**
   * Resolves when the range does not have the replica any more. Rejects with `CONFLICT` when another voter of the range is on
   * the node, and with `UNAVAILABLE` when it is not done after `timeoutMs`: it may go on all the same.
   */
  async replace(rangeId: RangeId, goal: ReplacementGoal, timeoutMs: number): Promise<void> {
    const { clock } = this.#parts
    const deadlineMs = clock.now() + timeoutMs
    for (;;) {
      for (const nodeId of this.#parts.nodesOf(rangeId)) {
        const progress = await this.#askOne(nodeId, rangeId, goal)
        if (progress === 'done') return
        if (progress === 'impossible') {
          throw new CordilleraError('CONFLICT', {
            detail: `node ${goal.nodeId} has a voter of range ${rangeId} already`,
          })
        }
        if (progress === 'running') break
      }
      if (this.#isClosed) throw new CordilleraError('CLOSED')
      if (clock.now() >= deadlineMs) {
        const detail = `replica ${goal.replicaId} of range ${rangeId} is not replaced yet`
        throw new CordilleraError('UNAVAILABLE', { detail })
      }
      await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve))
    }
  }

  /** Whoever waits is refused with `CLOSED` before long. */
  close(): void {
    this.#isClosed = true
  }

  /** Moves one step further, if the range is led here. Throws `BAD_REQUEST`. */
  async onAsked(body: unknown): Promise<Progress> {
    if (!Array.isArray(body) || body.length !== 3 || !body.every((id) => Number.isSafeInteger(id) && id > 0)) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'a replacement names a range, a replica and a node' })
    }
    const [rangeId, replicaId, nodeId] = body as [number, number, number]
    return this.#step(rangeId, { replicaId, nodeId })
  }

  async #askOne(nodeId: NodeId, rangeId: RangeId, goal: ReplacementGoal): Promise<Progress> {
    const { links, nodeId: self } = this.#parts
    if (nodeId === self) return this.#step(rangeId, goal)
    if (!links.isUp(nodeId)) return 'not-leader'
    try {
      const answer = await links.ask(nodeId, 'replace', [rangeId, goal.replicaId, goal.nodeId], ASK_TIMEOUT_MS)
      return ANSWERS.includes(answer) ? (answer as Progress) : 'not-leader'
    } catch (error) {
      if (error instanceof CordilleraError) return 'not-leader'
      throw error
    }
  }

  async #step(rangeId: RangeId, goal: ReplacementGoal): Promise<Progress> {
    const replica = this.#parts.replicas.replica(rangeId)
    // A leader knows its range only once it has applied what its predecessors left.
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable) return 'running'
    if (isHealthyHere(replica, goal)) return 'impossible'
    const step = decide(replica, goal)
    if (step.kind === 'done' || step.kind === 'impossible') {
      // A deposed leader may know of less: who still leads has applied what was committed when it was asked.
      if (!(await this.#isConfirmed(rangeId)) || decide(replica, goal).kind !== step.kind) return 'running'
      return step.kind
    }
    if (step.kind === 'add') await this.#add(replica, goal)
    if (step.kind === 'swap') this.#propose(replica, 'replica-swapped', step.changes)
    return 'running'
  }

  /** Whether the replica here led the range after this was called, and has applied what was committed then (thesis 6.4). */
  #isConfirmed(rangeId: RangeId): Promise<boolean> {
    return new Promise((resolve) => {
      const request = { kind: 'index', rangeId, at: 0 } as const
      this.#parts.replicas.execute(request, (reply) => resolve(reply.kind === 'indexed'))
    })
  }

  async #add(replica: Replica, goal: ReplacementGoal): Promise<void> {
    const { rangeId } = replica.descriptor
    if (this.#adding.has(rangeId)) return
    this.#adding.add(rangeId)
    try {
      const replicaId = await this.#parts.allocateReplicaId()
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

function isCaughtUp({ core, replicaId }: Replica, peer: ReplicaId): boolean {
  if (peer === replicaId) return true
  const progress = core.progressOf(peer)
  return progress?.state === 'replicate' && core.lastIndex - progress.matchIndex <= LAG_ENTRIES_MAX
}
