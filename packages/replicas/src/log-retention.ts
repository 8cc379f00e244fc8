import type { Clock, Logger, LogIndex, NodeId, RangeId, ReplicaId } from '@cordillera/base'
import type { RaftLog } from '@cordillera/raft-log'
import type { StateStore } from '@cordillera/state'
import type { Replica } from './replica.js'

/**
 * Decides when the state database is flushed and how much of each log is forgotten.
 *
 * A log is never compacted past the durably flushed index of this store. What every replica of the range is known to hold is
 * forgotten; beyond that entries are kept for laggards, up to {@link RetentionLimits} a range, and what still lags then is
 * sent a snapshot. Everyone keeps to the limits on its own: it only matters that a peer can be told what its log lacks, by
 * entries or by a snapshot. While a snapshot is on its way, all that follows it is kept, so that its receiver does not need
 * another one, and so on, however fast is written. And whatever pins the oldest segment of a log that has outgrown its bound is forgotten as far as
 * it is flushed, laggards or not.
 *
 * The leader knows what every replica holds and says it to the others now and then, again until it is heard; it only ever
 * rises, so a late word does no harm. Groups that rest are no exception: their entries would pin the log's segments for all.
 */
export interface RetentionLimits {
  readonly stateFlushBytes: number
  readonly stateFlushMs: number
  readonly laggardEntriesMax: number
  readonly laggardBytesMax: number
}

export class LogRetention {
  readonly #parts: LogRetentionParts
  readonly #byRange: ReadonlyMap<RangeId, Replica>
  /** What every replica of a range led elsewhere holds, as its leader said. */
  readonly #replicated = new Map<RangeId, LogIndex>()
  /** What a node was told, by range, since its link came up. */
  readonly #said = new Map<NodeId, Map<RangeId, LogIndex>>()
  /** Durable in the state database. */
  #flushed: ReadonlyMap<ReplicaId, LogIndex> = new Map()
  #flushing = false
  #lastFlushAt: number
  /** Their entries keep a log that is too large from shrinking. */
  #overfull: ReadonlySet<ReplicaId> = new Set()

  constructor(parts: LogRetentionParts, byRange: ReadonlyMap<RangeId, Replica>) {
    this.#parts = parts
    this.#byRange = byRange
    this.#lastFlushAt = parts.clock.now()
  }

  onTick(): void {
    const { state, limits, clock } = this.#parts
    if (this.#flushing || !this.#parts.mayFlush()) return
    const old = state.unflushedBytes > 0 && clock.now() - this.#lastFlushAt >= limits.stateFlushMs
    if (old || state.unflushedBytes >= limits.stateFlushBytes || this.#overfull.size > 0) this.#flush()
  }

  /** The log has outgrown its bound, and these groups keep its oldest segment. */
  onLogBytesMax(groups: readonly ReplicaId[]): void {
    this.#overfull = new Set(groups)
  }

  /** What every replica of these ranges is known to hold, said by their leaders. */
  onSaidReplicated(indexes: Iterable<readonly [RangeId, LogIndex]>): void {
    for (const [rangeId, index] of indexes) this.onReplicated(rangeId, index)
  }

  onReplicated(rangeId: RangeId, index: LogIndex): void {
    if (index > (this.#replicated.get(rangeId) ?? 0)) this.#replicated.set(rangeId, index)
    this.#compact(rangeId)
  }

  /** What each node has not been told yet of the ranges led here; again until {@link onSaid}. */
  replicatedIndexes(): Map<NodeId, [RangeId, LogIndex][]> {
    const byNode = new Map<NodeId, [RangeId, LogIndex][]>()
    for (const [rangeId, replica] of this.#byRange) {
      if (replica.core.role !== 'leader') continue
      const index = this.#leastMatch(replica)
      if (index > (this.#replicated.get(rangeId) ?? 0)) this.onReplicated(rangeId, index)
      for (const { nodeId, replicaId } of replica.descriptor.replicas) {
        if (replicaId === replica.replicaId || index <= (this.#said.get(nodeId)?.get(rangeId) ?? 0)) continue
        const list = byNode.get(nodeId)
        if (list === undefined) byNode.set(nodeId, [[rangeId, index]])
        else list.push([rangeId, index])
      }
    }
    return byNode
  }

  /** The node has answered that it took these in. */
  onSaid(node: NodeId, indexes: readonly (readonly [RangeId, LogIndex])[]): void {
    let said = this.#said.get(node)
    if (said === undefined) {
      said = new Map()
      this.#said.set(node, said)
    }
    for (const [rangeId, index] of indexes) said.set(rangeId, index)
  }

  /** A node that was away may have forgotten what it was told. */
  onLinkUp(node: NodeId): void {
    this.#said.delete(node)
  }

  #leastMatch(leader: Replica): LogIndex {
    // A commit can be the followers' alone: what this disk does not hold yet may be gone after a loss of power.
    let least = Math.min(leader.core.commitIndex, leader.core.durableIndex)
    for (const place of leader.descriptor.replicas) {
      if (place.replicaId === leader.replicaId) continue
      least = Math.min(least, leader.core.progressOf(place.replicaId)?.matchIndex ?? 0)
    }
    return least
  }

  #flush(): void {
    const { state, clock, onFatal } = this.#parts
    this.#flushing = true
    this.#lastFlushAt = clock.now()
    state
      .flush()
      .then((flushed) => this.#onFlushed(flushed))
      // The log may have failed in the meantime as well.
      .catch((error) => onFatal(error))
  }

  #onFlushed(flushed: ReadonlyMap<ReplicaId, LogIndex>): void {
    const { clock, logger } = this.#parts
    this.#flushing = false
    this.#flushed = flushed
    logger.debug('state-flushed', { ms: Math.round(clock.now() - this.#lastFlushAt) })
    for (const replica of this.#byRange.values()) {
      const index = flushed.get(replica.replicaId)
      if (index !== undefined && index <= replica.log.lastIndex) replica.log.recordFlushed(index)
    }
    for (const rangeId of this.#byRange.keys()) this.#compact(rangeId)
    this.#overfull = new Set()
  }

  #compact(rangeId: RangeId): void {
    const replica = this.#byRange.get(rangeId)
    if (replica === undefined || replica.isRestoring) return
    const { log, replicaId } = replica
    const index = Math.min(this.#flushed.get(replicaId) ?? 0, this.#forgettable(replica))
    if (index <= log.compactedIndex) return
    try {
      log.compactTo(index)
    } catch (error) {
      // The disk may have failed with nothing under way that would have told: the caller is a timer, or a peer.
      this.#parts.onFatal(error)
    }
  }

  /** What laggards do not need, or must not have any more. */
  #forgettable(replica: Replica): LogIndex {
    if (this.#overfull.has(replica.replicaId)) return replica.log.lastIndex
    const { laggardEntriesMax, laggardBytesMax } = this.#parts.limits
    // Everyone has these entries, so only a few are kept: a replica that restarts reads them from its own log.
    const replicated = this.#replicated.get(replica.descriptor.rangeId) ?? 0
    const index = Math.max(replicated, replica.log.keepingIndex(laggardEntriesMax, laggardBytesMax))
    return Math.min(index, this.#parts.pinnedIndex(replica) ?? index)
  }
}

interface LogRetentionParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly log: RaftLog
  readonly state: StateStore
  readonly limits: RetentionLimits
  /** What follows a snapshot that is on its way to a peer; undefined when none is. */
  pinnedIndex(replica: Replica): LogIndex | undefined
  /** False while the disk has no room for it: a flush that fails stops the store. */
  mayFlush(): boolean
  readonly onFatal: (error: unknown) => void
}
