import type { LogIndex, Term } from '@cordillera/base'
import type { Entry } from './entry.js'

/**
 * What the core reads of the log that its host keeps: everything that was handed to the host in a `Ready`, whether or
 * not it is durable yet. Synchronous; what is not in memory is said to be missing, and the host loads it.
 */
export interface LogReader {
  /** The index before the first entry kept; its term is known. `firstIndex = compactedIndex + 1`. */
  readonly compactedIndex: LogIndex
  /** The index of the last entry; equals `compactedIndex` when the log is empty. */
  readonly lastIndex: LogIndex
  /** The term of the entry at `index`, from `compactedIndex` to `lastIndex`; undefined outside. Never needs the disk. */
  termAt(index: LogIndex): Term | undefined
  /**
   * The entries from `from` to at most `to`, both inclusive, at least one and then as many as fit in `bytesMax` and
   * are in memory; undefined when the entry at `from` is not in memory.
   */
  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined
}
