import { CordilleraError, type NodeId, type RangeId } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { Router } from '@cordillera/router'
import type { PeerLinks } from '@cordillera/wire'

/**
 * Whether this node can have a range served: whether its leader is here, or can be reached from here.
 *
 * Of a range that has a replica here, the replica knows its leader. Of another one, whoever answered for it last is believed while
 * he can be reached. Once he cannot, or where nobody was asked yet, a member that can be reached is asked whom it follows: that a
 * member can be reached says nothing by itself, it may be cut off from the leader, or the leader from this node. So a node is
 * unready while a leader is away, and ready soon after there is another one, whether or not clients come and find out.
 */
export interface ServedRangesParts {
  readonly nodeId: NodeId
  readonly replicas: Pick<Replicas, 'replica'>
  readonly router: Pick<Router, 'descriptors' | 'leaderOf'>
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  /** Nobody who can be reached has the range, as far as it is known here. */
  onLost(rangeId: RangeId): void
}

const ASK_TIMEOUT_MS = 2_000

export class ServedRanges {
  readonly #parts: ServedRangesParts
  /** Who leads what is not here, as members said when they were asked last; 0: nobody, as far as they know. */
  readonly #told = new Map<RangeId, NodeId>()
  #rounds = 0
  #isAsking = false

  constructor(parts: ServedRangesParts) {
    this.#parts = parts
  }

  /** Of every range that is known here. */
  get areAll(): boolean {
    for (const descriptor of this.#parts.router.descriptors()) if (!this.#isServed(descriptor)) return false
    return true
  }

  /** To be called about once a second: asks about what is not here and has no leader that can be reached. */
  onSecond(): void {
    if (this.#isAsking) return
    const unserved = this.#unservedElsewhere()
    for (const rangeId of this.#told.keys()) if (!unserved.known.has(rangeId)) this.#told.delete(rangeId)
    if (unserved.askable.size === 0) return
    this.#isAsking = true
    const asked = Array.from(unserved.askable, ([node, rangeIds]) => this.#ask(node, rangeIds))
    void Promise.all(asked).finally(() => {
      this.#isAsking = false
    })
  }

  /** Answers another node: whom the replicas here follow, 0 for nobody; null: there is none that takes part. Throws `BAD_REQUEST`. */
  onAsked(body: unknown): (NodeId | null)[] {
    if (!Array.isArray(body))
      throw new CordilleraError('BAD_REQUEST', { detail: 'a question about leaders names ranges' })
    return body.map((rangeId) => {
      const replica = this.#parts.replicas.replica(Number(rangeId))
      return replica?.isMember ? this.#leaderAt(replica) : null
    })
  }

  #isServed(descriptor: Descriptor): boolean {
    const { nodeId: self, replicas, links } = this.#parts
    const replica = this.#isHere(descriptor) ? replicas.replica(descriptor.rangeId) : undefined
    if (replica === undefined) return this.#isReached(descriptor.rangeId)
    const leader = this.#leaderAt(replica)
    return leader === self || (leader !== 0 && links.isUp(leader))
  }

  /** What was left here of a replica that is in the range no more knows nothing of its leader. */
  #isHere({ rangeId, replicas }: Descriptor): boolean {
    const { nodeId: self } = this.#parts
    return this.#parts.replicas.replica(rangeId) !== undefined && replicas.some(({ nodeId }) => nodeId === self)
  }

  #leaderAt(replica: Replica): NodeId {
    return replica.core.role === 'leader' ? this.#parts.nodeId : replica.nodeOf(replica.core.leader)
  }

  #isReached(rangeId: RangeId): boolean {
    const { router, links } = this.#parts
    return [router.leaderOf(rangeId), this.#told.get(rangeId) ?? 0].some((node) => node !== 0 && links.isUp(node))
  }

  #unservedElsewhere(): { readonly known: ReadonlySet<RangeId>; readonly askable: ReadonlyMap<NodeId, RangeId[]> } {
    const { router, links, onLost } = this.#parts
    const known = new Set<RangeId>()
    const askable = new Map<NodeId, RangeId[]>()
    const round = this.#rounds++
    for (const descriptor of [...router.descriptors()]) {
      const { rangeId, replicas } = descriptor
      known.add(rangeId)
      if (this.#isHere(descriptor) || this.#isReached(rangeId)) continue
      const up = replicas.filter(({ nodeId }) => links.isUp(nodeId))
      const one = up[round % Math.max(1, up.length)]
      if (one === undefined) {
        onLost(rangeId)
        continue
      }
      const asked = askable.get(one.nodeId) ?? []
      askable.set(one.nodeId, asked)
      asked.push(rangeId)
    }
    return { known, askable }
  }

  /** Never rejects. */
  async #ask(node: NodeId, rangeIds: readonly RangeId[]): Promise<void> {
    const { links, onLost } = this.#parts
    const answer = await links.ask(node, 'leaders', rangeIds, ASK_TIMEOUT_MS).catch(() => undefined)
    if (!Array.isArray(answer)) return
    for (const [i, rangeId] of rangeIds.entries()) {
      const leader: unknown = answer[i]
      if (Number.isSafeInteger(leader)) this.#told.set(rangeId, leader as NodeId)
      else onLost(rangeId)
    }
  }
}
