import { CordilleraError, type Logger, type NodeId, type RangeId, type ReplicaId } from '@cordillera/base'
import { decideAddition, decideRemoval, type ResizingStep } from '@cordillera/placement'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { PeerLinks } from '@cordillera/wire'
import type { LeaderCalls, Undecided } from './leader-calls.js'
import { isCaughtUp } from './replica-replacement.js'

/**
 * Gives a range a replica more, or takes one away, and hands its leadership over: like `ReplicaReplacement`, each question to the
 * range's leader moves it one step further, and where it stands is in the range.
 */
export interface ReplicaResizingParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly links: Pick<PeerLinks, 'isUp'>
  readonly calls: LeaderCalls
  readonly logger: Logger
  allocateReplicaIds(count: number): Promise<ReplicaId>
}

type Answer = 'done' | 'impossible' | 'unsafe'
const ANSWERS: readonly Answer[] = ['done', 'impossible', 'unsafe']

export const RESIZING_METHODS = ['add-replica', 'remove-replica', 'transfer'] as const
export type ResizingMethod = (typeof RESIZING_METHODS)[number]

export class ReplicaResizing {
  readonly #parts: ReplicaResizingParts
  /** For which an id is being allocated. */
  readonly #adding = new Set<RangeId>()

  constructor(parts: ReplicaResizingParts) {
    this.#parts = parts
  }

  /** Resolves when the range has a voter on the node. Rejects with `UNAVAILABLE` when it has not after `timeoutMs`. */
  async add(rangeId: RangeId, nodeId: NodeId, timeoutMs: number): Promise<void> {
    await this.#ask('add-replica', rangeId, nodeId, timeoutMs)
  }

  /**
   * Resolves when the range does not have the replica. Rejects with `CONFLICT` when fewer than `votersLeft` voters would be left
   * of it, or could decide on nothing because they cannot be reached; as {@link add}.
   */
  async remove(rangeId: RangeId, replicaId: ReplicaId, votersLeft: number, timeoutMs: number): Promise<void> {
    const answer = await this.#ask('remove-replica', rangeId, replicaId, timeoutMs, votersLeft)
    if (answer === 'unsafe') {
      const detail = `without replica ${replicaId} too few voters of range ${rangeId} can be reached for it to go on: bring their nodes back, or add a replica first`
      throw new CordilleraError('CONFLICT', { detail })
    }
    if (answer === 'impossible') {
      const detail = `without replica ${replicaId} range ${rangeId} has fewer than ${votersLeft} voters`
      throw new CordilleraError('CONFLICT', { detail })
    }
  }

  /** Resolves when the range is led on the node. Rejects with `CONFLICT` when it has no voter there; as {@link add}. */
  async transfer(rangeId: RangeId, nodeId: NodeId, timeoutMs: number): Promise<void> {
    const answer = await this.#ask('transfer', rangeId, nodeId, timeoutMs)
    if (answer === 'impossible') {
      throw new CordilleraError('CONFLICT', { detail: `range ${rangeId} has no voter on node ${nodeId}` })
    }
  }

  /** Another node asks. Throws `BAD_REQUEST`. */
  async onAsked(method: ResizingMethod, body: unknown): Promise<Answer | Undecided> {
    const counts = Array.isArray(body) && body.length === 3 ? (body as unknown[]) : []
    if (counts.length === 0 || !counts.every((count) => Number.isSafeInteger(count) && (count as number) > 0)) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'a range, and a node or a replica, are named by their ids' })
    }
    const [rangeId, id, votersLeft] = counts as [number, number, number]
    return this.#step(method, rangeId, id, votersLeft)
  }

  #ask(method: ResizingMethod, rangeId: RangeId, id: number, timeoutMs: number, votersLeft = 1): Promise<Answer> {
    const question = { rangeId, method, body: [rangeId, id, votersLeft], answers: ANSWERS }
    return this.#parts.calls.ask({ ...question, here: () => this.#step(method, rangeId, id, votersLeft) }, timeoutMs)
  }

  async #step(method: ResizingMethod, rangeId: RangeId, id: number, votersLeft: number): Promise<Answer | Undecided> {
    const { replicas, links, nodeId: self } = this.#parts
    const replica = replicas.replica(rangeId)
    if (replica?.core.role !== 'leader') return 'not-leader'
    if (!replica.isUsable) return 'running'
    if (method === 'transfer') return this.#handOver(replica, id)
    const decide = (): ResizingStep => {
      const { descriptor } = replica
      return method === 'add-replica'
        ? decideAddition(descriptor, id, (peer) => isCaughtUp(replica, peer))
        : decideRemoval(descriptor, id, replica.replicaId, votersLeft, (node) => node === self || links.isUp(node))
    }
    const step = decide()
    if (step.kind === 'done' || step.kind === 'impossible' || step.kind === 'unsafe') {
      // A deposed leader may know of less.
      return (await replicas.confirm(rangeId)) && decide().kind === step.kind ? step.kind : 'running'
    }
    if (step.kind === 'add') await this.#add(replica, id, decide)
    else if (step.kind === 'change') this.#propose(replica, step.changes)
    else if (step.kind === 'hand-over') this.#handOverToAny(replica)
    return 'running'
  }

  async #add(replica: Replica, nodeId: NodeId, decide: () => ResizingStep): Promise<void> {
    const { rangeId } = replica.descriptor
    if (this.#adding.has(rangeId)) return
    this.#adding.add(rangeId)
    try {
      const replicaId = await this.#parts.allocateReplicaIds(1)
      if (decide().kind === 'add') this.#propose(replica, [{ kind: 'add-learner', replicaId, nodeId }])
    } finally {
      this.#adding.delete(rangeId)
    }
  }

  #propose(replica: Replica, changes: Parameters<Replica['proposeChanges']>[0]): void {
    const result = replica.proposeChanges(changes)
    const outcome = result.kind === 'refused' ? result.reason : `at ${result.index}`
    const { rangeId } = replica.descriptor
    this.#parts.logger.info('replicas-resized', { rangeId, changes: changes.map(({ kind }) => kind), outcome })
  }

  async #handOver(replica: Replica, nodeId: NodeId): Promise<Answer | Undecided> {
    const { replicas, nodeId: self } = this.#parts
    const { rangeId, replicas: places } = replica.descriptor
    const answer = nodeId === self ? 'done' : places.some((one) => isVoterOn(one, nodeId)) ? undefined : 'impossible'
    if (answer === undefined) replicas.transferLeadership(rangeId, nodeId)
    else if (await replicas.confirm(rangeId)) return answer
    return 'running'
  }

  #handOverToAny(replica: Replica): void {
    const { replicas, links, nodeId: self } = this.#parts
    const { rangeId, replicas: places } = replica.descriptor
    const other = places.find(({ nodeId, type }) => type === 'voter' && nodeId !== self && links.isUp(nodeId))
    if (other !== undefined) replicas.transferLeadership(rangeId, other.nodeId)
  }
}

function isVoterOn(place: { readonly nodeId: NodeId; readonly type: string }, nodeId: NodeId): boolean {
  return place.nodeId === nodeId && place.type === 'voter'
}
