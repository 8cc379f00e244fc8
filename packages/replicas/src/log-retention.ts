import type { Clock, Logger, LogIndex, NodeId, RangeId, ReplicaId } from '@cordillera/base'
import type { RaftLog } from '@cordillera/raft-log'
import type { StateStore } from '@cordillera/state'
import type { Replica } from './replica.js'

/**
 * Decides when the state database is flushed and how much of each log is forgotten.
 *
 * A log is never compacted past the durably flushed index of this store, nor past what every replica of the range is
 * known to hold: while there are no snapshots to catch up by, a laggard needs the entries. The leader knows the
 * latter and says it to the others now and then, again until it is heard; it only ever rises, so a late word does no
 * harm. Groups that rest are no exception: their entries would pin the log's segments for all.
 */
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

  constructor(parts: LogRetentionParts, byRange: ReadonlyMap<RangeId, Replica>) {
    this.#parts = parts
    this.#byRange = byRange
    this.#lastFlushAt = parts.clock.now()
  }

  onTick(): void {
    const { state, limits, clock } = this.#parts
    if (this.#flushing || state.unflushedBytes === 0) return
    const old = clock.now() - this.#lastFlushAt >= limits.stateFlushMs
    if (old || state.unflushedBytes >= limits.stateFlushBytes) this.#flush()
  }

  onReplicated(rangeId: RangeId, index: LogIndex): void {
    if (index > (this.#replicated.get(rangeId) ?? 0)) this.#replicated.set(rangeId, index)
    this.#compact(rangeId)
  }

  /** What each node has not been told yet of the ranges led here. */
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
      if (index !== undefined) replica.log.recordFlushed(index)
    }
    for (const rangeId of this.#byRange.keys()) this.#compact(rangeId)
  }

  #compact(rangeId: RangeId): void {
    const replica = this.#byRange.get(rangeId)
    if (replica === undefined) return
    const flushed = this.#flushed.get(replica.replicaId) ?? 0
    const index = Math.min(flushed, this.#replicated.get(rangeId) ?? 0)
    // Everyone has these entries, so only a few are kept: a replica that restarts reads them from its own log.
    if (index <= replica.log.compactedIndex) return
    try {
      replica.log.compactTo(index)
    } catch (error) {
      // The disk may have failed with nothing under way that would have told: the caller is a timer, or a peer.
      this.#parts.onFatal(error)
    }
  }
}

interface LogRetentionParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly log: RaftLog
  readonly state: StateStore
  readonly limits: { readonly stateFlushBytes: number; readonly stateFlushMs: number }
  readonly onFatal: (error: unknown) => void
}
