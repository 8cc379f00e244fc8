import type { LogIndex, ReplicaId, Term } from '@cordillera/base'
import type { Entry, HardState, LogReader } from '@cordillera/raft-core'

/**
 * The log of one Raft group in the store's shared log.
 *
 * What is appended shows at once in memory and is durable once a `RaftLog.flush()` called afterwards resolves. Every
 * method that writes throws `DISK_FAILED` after a failure of the disk and `CLOSED` after closing.
 */
export interface GroupLog extends LogReader {
  readonly replicaId: ReplicaId
  /** The newest one appended; all zero before. As recovered, `commitIndex` is within the log. */
  readonly hardState: HardState
  /** The index up to which the state database was known to be durable when the log was opened; 0 for unknown. */
  readonly recoveredFlushedIndex: LogIndex
  /**
   * Records of this group were lost. Its vote and entries must not count: no vote, no counted append, and the replica is
   * replaced under a new id. The mark is durable before `RaftLog.open` resolves.
   */
  readonly damaged: boolean
  /**
   * Enqueues hard state and entries. The entries are contiguous; the first one's index is at most `lastIndex + 1` and
   * above `compactedIndex`, and replaces what is there and behind it. Neither the array nor their bytes ever change.
   */
  append(entries: readonly Entry[], hardState: HardState | undefined): void
  /** Entries up to `index` may be forgotten; the term at `index` is kept. Only for what the state durably holds. */
  compactTo(index: LogIndex): void
  /** The least index such that what is behind it has so many entries, and takes so many bytes of the log, at most. */
  keepingIndex(entriesMax: number, bytesMax: number): LogIndex
  /** The state database durably holds everything up to `index`. Rides in the next batch. */
  recordFlushed(index: LogIndex): void
  /** Empties the log and goes on behind `(index, term)`: a snapshot was installed, or the state is ahead of the log. */
  reset(index: LogIndex, term: Term): void
  /** Marks the group as damaged, durably with the next flush. */
  markDamaged(): void
  /**
   * Reads entries from disk, such that `entries(from, …)` finds them at least until the turn after this resolves. Reads
   * about as many as fit in `bytesMax`. Resolves without effect when they are in memory or the log has changed
   * meanwhile. Rejects with `LOG_DAMAGED` when the bytes on disk are not what was written; the group is then damaged.
   */
  load(from: LogIndex, to: LogIndex, bytesMax: number): Promise<void>
}
