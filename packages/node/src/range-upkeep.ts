import { type Clock, CordilleraError, type Logger, type NodeId, type RangeId, type ReplicaId } from '@cordillera/base'
import type { Replicas } from '@cordillera/replicas'
import type { Router } from '@cordillera/router'
import type { StateStore } from '@cordillera/state'
import { IdAllocator } from '@cordillera/system'
import type { PeerLinks } from '@cordillera/wire'
import type { FoundedIdentity } from './founding.js'
import { RangeFinder } from './range-finder.js'
import { ReplicaReplacement } from './replica-replacement.js'
import { ReplicaUpkeep } from './replica-upkeep.js'

/**
 * What keeps ranges whole, on one node, put together: {@link RangeFinder} finds those that have moved, {@link ReplicaReplacement}
 * moves replicas, {@link ReplicaUpkeep} has damaged ones replaced and removed ones destroyed.
 */
export interface RangeUpkeepParts {
  readonly identity: FoundedIdentity
  readonly replicas: Replicas
  readonly state: StateStore
  readonly router: Router
  readonly links: PeerLinks
  readonly clock: Clock
  readonly logger: Logger
  /** Every node of the cluster, as far as is known. */
  nodes(): Iterable<NodeId>
}

/** How long a node tries to replace a damaged replica before it looks again whether that is still wanted. */
const REPLACE_MS = 30_000

export class RangeUpkeep {
  readonly #parts: RangeUpkeepParts
  readonly #finder: RangeFinder
  readonly #replacement: ReplicaReplacement
  readonly #upkeep: ReplicaUpkeep

  constructor(parts: RangeUpkeepParts) {
    this.#parts = parts
    const { identity, router, clock } = parts
    const founded = identity.document.descriptors.flatMap(({ replicas }) => replicas.map(({ replicaId }) => replicaId))
    const ids = new IdAllocator({ router: () => router, clock, name: 'replica', first: 1 + Math.max(...founded) })
    const common = { ...parts, nodeId: identity.nodeId }
    this.#finder = new RangeFinder({ ...common, onFound: (descriptor) => router.learn([descriptor]) })
    this.#replacement = new ReplicaReplacement({
      ...common,
      allocateReplicaId: () => ids.allocate(),
      nodesOf: (rangeId) => this.#nodesOf(rangeId),
    })
    this.#upkeep = new ReplicaUpkeep({
      ...common,
      finder: this.#finder,
      replace: (rangeId, replicaId, nodeId) => this.replace(rangeId, replicaId, nodeId, REPLACE_MS),
    })
  }

  /** To be called about once a second. */
  onRound(): void {
    this.#upkeep.onRound()
  }

  close(): void {
    this.#replacement.close()
  }

  /** The range is not where this node believes. */
  onLost(rangeId: RangeId): void {
    this.#finder.onLost(rangeId)
  }

  /** See `ReplicaReplacement.replace`. */
  replace(rangeId: RangeId, replicaId: ReplicaId, nodeId: NodeId, timeoutMs: number): Promise<void> {
    return this.#replacement.replace(rangeId, { replicaId, nodeId }, timeoutMs)
  }

  /** Another node asks. */
  onAsked(method: 'range' | 'replace', body: unknown): Promise<unknown> {
    return method === 'range' ? this.#finder.onAsked(body) : this.#replacement.onAsked(body)
  }

  /** Who may lead the range: whom this node believes in first, then everyone who has it. */
  #nodesOf(rangeId: RangeId): NodeId[] {
    const { replicas, router } = this.#parts
    const replica = replicas.replica(rangeId)
    const descriptor = replica?.descriptor ?? [...router.descriptors()].find((one) => one.rangeId === rangeId)
    if (descriptor === undefined) throw new CordilleraError('NOT_FOUND', { detail: `there is no range ${rangeId}` })
    const believed = [router.leaderOf(rangeId), replica?.nodeOf(replica.core.leader) ?? 0]
    const nodes = new Set([...believed, ...descriptor.replicas.map(({ nodeId }) => nodeId)])
    nodes.delete(0)
    return [...nodes]
  }
}
