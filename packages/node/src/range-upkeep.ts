import type { Clock, Key, Logger, NodeId, Random, RangeId, ReplicaId } from '@cordillera/base'
import type { Replicas } from '@cordillera/replicas'
import type { Router, SnapshotSource } from '@cordillera/router'
import type { StateStore } from '@cordillera/state'
import { IdAllocator, RecoveriesTable, SystemTable } from '@cordillera/system'
import type { PeerLinks } from '@cordillera/wire'
import { AbandonedTransactions } from './abandoned-transactions.js'
import type { FoundedIdentity } from './founding.js'
import { LeaderCalls } from './leader-calls.js'
import { RangeFinder } from './range-finder.js'
import { MERGE_METHODS, type MergeGoal, RangeMerging } from './range-merging.js'
import { RangeRecovering } from './range-recovering.js'
import { RangeScrub, SCRUB_METHODS } from './range-scrub.js'
import { RangeSplitting, type SplitGoal } from './range-splitting.js'
import { RecoveryWatch } from './recovery-watch.js'
import { ReplicaReplacement } from './replica-replacement.js'
import { RESIZING_METHODS, ReplicaResizing } from './replica-resizing.js'
import { ReplicaUpkeep } from './replica-upkeep.js'

/**
 * What keeps ranges whole, on one node, put together: {@link RangeFinder} finds those that have moved, {@link ReplicaReplacement}
 * moves replicas, {@link RangeSplitting} cuts ranges in two, {@link RangeMerging} makes one of two, {@link ReplicaUpkeep} has
 * damaged ones replaced and removed ones destroyed, {@link RangeScrub} finds those that hold something else,
 * {@link RangeRecovering} has a range go on whose majority is lost.
 */
export interface RangeUpkeepParts {
  readonly identity: FoundedIdentity
  readonly replicas: Replicas
  readonly state: StateStore
  readonly router: Router
  readonly links: PeerLinks
  readonly snapshots: SnapshotSource
  /** See `NodeConfig.scrubMs`. */
  readonly scrubMs: number
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Every node of the cluster, as far as is known. */
  nodes(): Iterable<NodeId>
}

/** What nodes ask each other about ranges. */
const UPKEEP_METHODS = [
  'range',
  'absorbed',
  'route',
  'believed',
  'replace',
  'split',
  'middle',
  'recoveries',
  'survey',
  ...RESIZING_METHODS,
  ...MERGE_METHODS,
  ...SCRUB_METHODS,
] as const
export type UpkeepMethod = (typeof UPKEEP_METHODS)[number]

export function isUpkeepMethod(method: string): method is UpkeepMethod {
  return (UPKEEP_METHODS as readonly string[]).includes(method)
}

const MIDDLE_MS = 10_000
/** How long a node tries to replace a damaged replica before it looks again whether that is still wanted. */
const REPLACE_MS = 30_000

export class RangeUpkeep {
  readonly #parts: RangeUpkeepParts
  readonly finder: RangeFinder
  readonly #calls: LeaderCalls
  readonly #rangeIds: IdAllocator
  readonly #replacement: ReplicaReplacement
  readonly #splitting: RangeSplitting
  readonly #resizing: ReplicaResizing
  readonly #merging: RangeMerging
  readonly #attempts: IdAllocator
  readonly #upkeep: ReplicaUpkeep
  readonly scrub: RangeScrub
  readonly transactions: AbandonedTransactions
  readonly #recovering: RangeRecovering
  readonly #recoveries: RecoveryWatch

  constructor(parts: RangeUpkeepParts) {
    this.#parts = parts
    const { identity, router, clock } = parts
    const founded = identity.document.descriptors.flatMap(({ replicas }) => replicas.map(({ replicaId }) => replicaId))
    const replicaIds = new IdAllocator({
      router: () => router,
      clock,
      name: 'replica',
      first: 1 + Math.max(...founded),
    })
    const firstRange = 1 + Math.max(...identity.document.descriptors.map(({ rangeId }) => rangeId))
    this.#rangeIds = new IdAllocator({ router: () => router, clock, name: 'range', first: firstRange })
    const common = { ...parts, nodeId: identity.nodeId }
    this.#calls = new LeaderCalls({
      ...common,
      nodesOf: (rangeId) => this.nodesOf(rangeId),
      onLost: (rangeId) => this.onLost(rangeId),
    })
    this.finder = new RangeFinder({
      ...common,
      startOf: (rangeId) => [...router.descriptors()].find((one) => one.rangeId === rangeId)?.start,
      onFound: (descriptor) => router.learn([descriptor]),
      believed: () => router.descriptors(),
    })
    const asking = { ...common, calls: this.#calls, allocateReplicaIds: (count: number) => replicaIds.allocate(count) }
    this.#replacement = new ReplicaReplacement(asking)
    this.#splitting = new RangeSplitting({ ...asking, finder: this.finder })
    this.#resizing = new ReplicaResizing(asking)
    this.#merging = new RangeMerging({ ...asking, finder: this.finder })
    const firstAttempt = { router: () => router, clock, name: 'merge', first: 1 }
    this.#attempts = new IdAllocator(firstAttempt)
    this.#recoveries = new RecoveryWatch({ ...common, finder: this.finder })
    const table = new RecoveriesTable(new SystemTable({ router: () => router, clock }))
    this.#recovering = new RangeRecovering({ ...asking, table, watch: this.#recoveries })
    this.#upkeep = new ReplicaUpkeep({
      ...common,
      finder: this.finder,
      replace: (rangeId, replicaId, nodeId) => this.replace(rangeId, replicaId, nodeId, REPLACE_MS),
    })
    this.scrub = new RangeScrub({ ...common, finder: this.finder })
    this.transactions = new AbandonedTransactions(parts)
  }

  /** To be called about once a second. */
  onRound(): void {
    this.#recoveries.onRound()
    this.#upkeep.onRound()
    this.#merging.onRound()
    this.scrub.onRound()
    this.transactions.onRound()
  }

  /** Before anything else is said over the link. */
  onLinkUp(node: NodeId): void {
    this.#recoveries.onLinkUp(node)
  }

  /** This node is about to give out timestamps. */
  onSystemLed(): void {
    this.#recoveries.onRound()
  }

  close(): void {
    this.#calls.close()
  }

  /** The range is not where this node believes. */
  onLost(rangeId: RangeId): void {
    this.finder.onLost(rangeId)
  }

  /** See `ReplicaReplacement.replace`. */
  replace(rangeId: RangeId, replicaId: ReplicaId, nodeId: NodeId, timeoutMs: number): Promise<void> {
    return this.#replacement.replace(rangeId, { replicaId, nodeId }, timeoutMs)
  }

  /** An id for a range that is to be; used for no other. */
  allocateRangeId(): Promise<RangeId> {
    return this.#rangeIds.allocate(1)
  }

  /** See `ReplicaResizing`. */
  addReplica(rangeId: RangeId, nodeId: NodeId, timeoutMs: number): Promise<void> {
    return this.#resizing.add(rangeId, nodeId, timeoutMs)
  }

  removeReplica(rangeId: RangeId, replicaId: ReplicaId, votersLeft: number, timeoutMs: number): Promise<void> {
    return this.#resizing.remove(rangeId, replicaId, votersLeft, timeoutMs)
  }

  transferLeader(rangeId: RangeId, nodeId: NodeId, timeoutMs: number): Promise<void> {
    return this.#resizing.transfer(rangeId, nodeId, timeoutMs)
  }

  /** See `RangeSplitting.split`. */
  split(goal: SplitGoal, timeoutMs: number): Promise<void> {
    return this.#splitting.split(goal, timeoutMs)
  }

  /** A number for an attempt to merge; higher than all before. */
  allocateMergeAttempt(): Promise<number> {
    return this.#attempts.allocate()
  }

  /** See `RangeMerging.merge`. */
  merge(goal: MergeGoal, timeoutMs: number): Promise<void> {
    return this.#merging.merge(goal, timeoutMs)
  }

  /** See `RangeMerging.abort`. */
  abortMerge(goal: MergeGoal, timeoutMs: number): Promise<void> {
    return this.#merging.abort(goal, timeoutMs)
  }

  /** See `RangeRecovering.assess`. */
  assessRecovery(rangeId: RangeId): Promise<{ readonly detail: string; readonly after: number }> {
    return this.#recovering.assess(rangeId)
  }

  /** See `RangeRecovering.recover`. */
  recover(rangeId: RangeId, after: number): Promise<object> {
    return this.#recovering.recover(rangeId, after)
  }

  /** Nobody here knows which range has the key. */
  onMissing(key: Key): void {
    this.finder.onMissing(key)
  }

  /** Another node asks. */
  onAsked(method: UpkeepMethod, body: unknown): Promise<unknown> {
    switch (method) {
      case 'range':
        return this.finder.onAsked(body)
      case 'absorbed':
        return this.finder.onAbsorbedAsked(body)
      case 'route':
        return this.finder.onRouteAsked(body)
      case 'believed':
        return this.finder.onSurveyed(body)
      case 'replace':
        return this.#replacement.onAsked(body)
      case 'split':
        return this.#splitting.onAsked(body)
      case 'middle':
        return this.#splitting.onMiddleAsked(body)
      case 'recoveries':
        return this.#recoveries.onTold(body)
      case 'survey':
        return this.#recovering.onAsked(body)
      case 'add-replica':
      case 'remove-replica':
      case 'transfer':
        return this.#resizing.onAsked(method, body)
      case 'hash':
      case 'quarantine':
        return this.scrub.onAsked(method, body)
      default:
        return this.#merging.onAsked(method, body)
    }
  }

  /** A key that leaves about as much on either side, as the range's leader has it; undefined: nobody could say. */
  async middleKey(rangeId: RangeId): Promise<Key | undefined> {
    const { links, identity } = this.#parts
    for (const nodeId of this.nodesOf(rangeId)) {
      const isHere = nodeId === identity.nodeId
      if (!isHere && !links.isUp(nodeId)) continue
      const asked = isHere ? this.#splitting.onMiddleAsked(rangeId) : links.ask(nodeId, 'middle', rangeId, MIDDLE_MS)
      const key = await asked.catch(() => null)
      if (typeof key === 'string') return key
    }
    return undefined
  }

  /** Who may lead the range: whom this node believes in first, then everyone who has it; nobody when nothing is known of it. */
  nodesOf(rangeId: RangeId): NodeId[] {
    const { replicas, router } = this.#parts
    const replica = replicas.replica(rangeId)
    const descriptor = replica?.descriptor ?? [...router.descriptors()].find((one) => one.rangeId === rangeId)
    if (descriptor === undefined) return []
    const believed = [router.leaderOf(rangeId), replica?.nodeOf(replica.core.leader) ?? 0]
    const nodes = new Set([...believed, ...descriptor.replicas.map(({ nodeId }) => nodeId)])
    nodes.delete(0)
    return [...nodes]
  }
}
