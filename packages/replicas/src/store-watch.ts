import { type Clock, CordilleraError, type Logger, type NodeId, type ReplicaId } from '@cordillera/base'
import { isQuorum, type Message } from '@cordillera/raft-core'
import type { RaftLog } from '@cordillera/raft-log'
import { type Descriptor, holdsPut, SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { RangeRequest, RefusedReply } from '@cordillera/wire'
import { configurationOf } from './membership.js'
import type { Replica } from './replica.js'
import type { ReplicasOptions } from './replicas-options.js'
import { defaultStoreHealthLimits, type StoreCondition, StoreHealth, type StoreHealthLimits } from './store-health.js'
import { type SpaceLevel, StoreSpace } from './store-space.js'

/**
 * The disks behind the replicas: this store's own, as it is measured, and the others', as their nodes say.
 *
 * A store is *fit* when its disk is healthy and has room. Who is unfit should lead nothing and take no leadership, wherever
 * the range's fit stores are a quorum without it; where they are not, nothing is gained by moving: the range depends on
 * unfit stores whoever leads it, and bouncing its leadership between them would only stop it.
 *
 * Values are refused where the stores that are up and have room are no quorum of the range. A full minority does not
 * matter: the others commit, and leaderships leave it. The system range takes what it is given: it is what the cluster
 * needs to get out of this.
 */
export interface StoreLimits extends StoreHealthLimits {
  /** Room that a store keeps for itself; 256 MiB: two segments of the log, and what the state database compacts at a time. */
  readonly diskReserveBytes: number
}

export const defaultStoreLimits: StoreLimits = { ...defaultStoreHealthLimits, diskReserveBytes: 256 << 20 }

/** What other nodes should know of a store; plain data that travels between nodes. */
export interface StoreReport {
  readonly condition: StoreCondition
  readonly space: SpaceLevel
}

export interface StoreWatchParts {
  readonly nodeId: NodeId
  readonly clock: Clock
  readonly logger: Logger
  readonly log: Pick<RaftLog, 'stats' | 'probe'>
  readonly limits: StoreLimits
  isUp(node: NodeId): boolean
  /** The report is another one than before. */
  readonly onChanged: (report: StoreReport) => void
  /** The store must stop. */
  readonly onDead: (error: CordilleraError) => void
}

const FIT: StoreReport = { condition: 'healthy', space: 'ample' }
/** While a store is unfit and nobody writes, it is measured so often. */
const PROBE_MS = 1_000

export class StoreWatch {
  readonly #parts: StoreWatchParts
  readonly #health: StoreHealth
  readonly #space: StoreSpace
  #report = FIT
  /** Of other nodes, those alone that are not as one expects. */
  readonly #peers = new Map<NodeId, StoreReport>()
  /** Some store, this one or another, has little room. */
  #isAnyShort = false
  #syncedAtMs: number
  readonly fullReply: RefusedReply
  readonly counts = { writesRefused: 0, leadershipsShed: 0 }

  constructor(parts: StoreWatchParts) {
    this.#parts = parts
    this.fullReply = { kind: 'refused', reason: 'disk-full', leader: parts.nodeId, descriptors: [] }
    const nowMs = parts.clock.now()
    this.#health = new StoreHealth(parts.limits, nowMs)
    this.#space = new StoreSpace(parts.limits.diskReserveBytes)
    this.#syncedAtMs = nowMs
  }

  /** This store. */
  get report(): StoreReport {
    return this.#report
  }

  /** As last measured; infinite before that. */
  get freeBytes(): number {
    return this.#space.freeBytes
  }

  /** This store should not lead, if others can. */
  get isUnfit(): boolean {
    return this.#report !== FIT
  }

  /** Too little room for anything large. */
  get isShort(): boolean {
    return this.#report.space !== 'ample'
  }

  /** No room for what clients write, nor to flush the state database. */
  get isOut(): boolean {
    return this.#report.space === 'out'
  }

  /** A sync of the log has completed. Called for every one: allocates nothing. */
  onSync(durationMs: number): void {
    this.#health.onSync(durationMs)
    this.#syncedAtMs = this.#parts.clock.now()
  }

  /** The disk's free room was measured. */
  onFreeBytes(freeBytes: number): void {
    this.#space.onMeasured(freeBytes, this.#parts.log.stats.spaceShort)
    this.#refresh(this.#health.condition)
  }

  onTick(): void {
    const { clock, log, onDead } = this.#parts
    if (this.#health.condition === 'dead') return
    const nowMs = clock.now()
    const { writingForMs } = log.stats
    const condition = this.#health.check(nowMs, writingForMs)
    this.#refresh(condition)
    if (condition === 'dead') onDead(lost(writingForMs))
    else if (condition !== 'healthy' && writingForMs === 0 && nowMs - this.#syncedAtMs >= PROBE_MS) log.probe()
  }

  /** What another node says of its store. */
  onPeer(node: NodeId, report: StoreReport): void {
    const known = this.#peers.get(node) ?? FIT
    if (known.condition === report.condition && known.space === report.space) return
    this.#parts.logger.info('peer-store', { node, ...report })
    if (isFit(report)) this.#peers.delete(node)
    else this.#peers.set(node, report)
    this.#refreshAnyShort()
  }

  /** Nothing is known any more of the node's store; if there is something, it says so next. */
  forgetPeer(node: NodeId): void {
    if (this.#peers.delete(node)) this.#refreshAnyShort()
  }

  /** Whether the node's store is fit to lead, as far as is known. */
  isFit(node: NodeId): boolean {
    return node === this.#parts.nodeId ? !this.isUnfit : !this.#peers.has(node)
  }

  /** Whether the stores that are up and fit, this one left out, are a quorum of the range. */
  canLeave(descriptor: Descriptor): boolean {
    const { nodeId } = this.#parts
    return this.#isQuorum(descriptor, (node) => node !== nodeId && this.#parts.isUp(node) && this.isFit(node))
  }

  /**
   * False where a range led here does not take this write: too few of its stores have room. A block without values is taken
   * as long as there is a quorum that is not out of room altogether. Answer with {@link fullReply}.
   */
  hasRoomFor({ core, descriptor }: Replica, request: RangeRequest): boolean {
    if (!this.#isAnyShort || request.kind !== 'write' || core.role !== 'leader') return true
    if (descriptor.rangeId === SYSTEM_RANGE_ID) return true
    if (this.#has(descriptor, holdsPut(request.block) ? 'ample' : 'short')) return true
    this.counts.writesRefused += request.count
    return false
  }

  /**
   * False for what is to be as if it had been lost: a leadership that this store would only give away again, and entries of
   * clients while it is out of room; they come again until there is some.
   */
  takes({ descriptor }: Replica, message: Message): boolean {
    if (!this.isUnfit) return true
    if (message.kind === 'timeout-now') return !this.canLeave(descriptor)
    const isLarge = message.kind === 'append-request' && message.entries.length > 0
    return !(isLarge && this.isOut && descriptor.rangeId !== SYSTEM_RANGE_ID)
  }

  /** False only where stores with less room than `level` stand in the way of a quorum that would be there without that. */
  #has(descriptor: Descriptor, level: 'ample' | 'short'): boolean {
    const { nodeId } = this.#parts
    const isLess = (node: NodeId): boolean => {
      const { space } = node === nodeId ? this.#report : (this.#peers.get(node) ?? FIT)
      return space === 'out' || (space === 'short' && level === 'ample')
    }
    if (!descriptor.replicas.some((place) => place.type !== 'learner' && isLess(place.nodeId))) return true
    return this.#isQuorum(descriptor, (node) => (node === nodeId || this.#parts.isUp(node)) && !isLess(node))
  }

  #isQuorum(descriptor: Descriptor, holds: (node: NodeId) => boolean): boolean {
    const nodeOf = (voter: ReplicaId): NodeId =>
      descriptor.replicas.find(({ replicaId }) => replicaId === voter)?.nodeId ?? 0
    return isQuorum(configurationOf(descriptor), (voter) => holds(nodeOf(voter)))
  }

  #refresh(condition: StoreCondition): void {
    const { level: space } = this.#space
    const before = this.#report
    if (before.condition === condition && before.space === space) return
    this.#report = condition === 'healthy' && space === 'ample' ? FIT : { condition, space }
    this.#refreshAnyShort()
    const { logger, onChanged } = this.#parts
    const fields = { ...this.#report, before, freeBytes: this.freeBytes, holdMs: this.#health.holdMs }
    if (this.isUnfit) logger.warn('store-unfit', fields)
    else logger.info('store-fit', fields)
    onChanged(this.#report)
  }

  #refreshAnyShort(): void {
    this.#isAnyShort = this.isShort || [...this.#peers.values()].some(({ space }) => space !== 'ample')
  }
}

function isFit({ condition, space }: StoreReport): boolean {
  return condition === 'healthy' && space === 'ample'
}

function lost(writingForMs: number): CordilleraError {
  const seconds = Math.round(writingForMs / 1_000)
  const detail = `a sync of the Raft log has not returned for ${seconds} s; the disk does not answer`
  return new CordilleraError('DISK_FAILED', { detail, details: { isStalled: true } })
}

/** `onShort`: room is getting scarce; of these groups, all, what is durable in the state database should be forgotten. */
export function watchStores(
  options: ReplicasOptions,
  hooks: { onShort(groups: readonly ReplicaId[]): void; onDead(error: CordilleraError): void },
): StoreWatch {
  const { nodeId, clock, logger, log, limits, links, onStoreChanged } = options
  return new StoreWatch({
    ...{ nodeId, clock, logger, log, limits: limits.store },
    isUp: (node) => links.isUp(node),
    onChanged: (report) => {
      if (report.space === 'short') hooks.onShort([...log.groups.keys()])
      onStoreChanged(report)
    },
    onDead: hooks.onDead,
  })
}
