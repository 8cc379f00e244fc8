import type { LogIndex, ReplicaId, Term } from '@cordillera/base'
import type { Entry } from './entry.js'
import type { Message } from './message.js'

/** What must survive a restart besides the log (paper, figure 2); `commitIndex` may be behind. */
export interface HardState {
  readonly term: Term
  /** Who got this term's vote; 0 for nobody. */
  readonly vote: ReplicaId
  readonly commitIndex: LogIndex
}

/**
 * One round of work for the host, drained with `takeReady()`.
 *
 * The host (1) hands `entries` and `hardState` to the log, in this order of readies, at once; (2) sends `messages`,
 * whenever it likes; (3) once (1) is durable, sends `messagesAfterSync` and calls `onSynced(syncToken)`; (4) applies
 * `committed` and calls `onApplied`; (5) loads what `load` names and calls `onLoaded`. Nothing here is retried.
 */
export interface Ready {
  /** The first entry replaces what is at its index and everything behind it. Empty: nothing to append. */
  readonly entries: readonly Entry[]
  /**
   * Set when it must be written: term or vote changed, or the commit index did and entries are written anyway. A change
   * of term or vote must be durable before `messagesAfterSync` leave.
   */
  readonly hardState: HardState | undefined
  /**
   * True when something is written, or when `messagesAfterSync` wait for writes of earlier readies (then a sync of those
   * is enough). False: there is nothing to write, and `messagesAfterSync` is empty.
   */
  readonly mustSync: boolean
  /** Names this ready in `onSynced`, from 1 and ascending; 0 exactly when `mustSync` is false. */
  readonly syncToken: number
  readonly messages: readonly Message[]
  readonly messagesAfterSync: readonly Message[]
  /** Committed and locally durable, contiguous after the previous ones, bounded in bytes. */
  readonly committed: readonly Entry[]
  /** Reads whose leadership is confirmed: serve each once `index` has applied. */
  readonly reads: readonly { readonly readId: number; readonly index: LogIndex }[]
  /** Reads that were given up because leadership was lost, in order of asking. They may be retried elsewhere. */
  readonly readsDropped: readonly number[]
  /** Entries that are wanted in memory: for a peer behind the cache, or to be applied after a restart. */
  readonly load: { readonly from: LogIndex; readonly to: LogIndex; readonly bytesMax: number } | undefined
  /**
   * Peers that the log cannot serve: to each the host sends a snapshot, and says `onSnapshotEnded`. Nobody is named again
   * before.
   */
  readonly snapshots: readonly ReplicaId[]
  /** Set when term, role or known leader changed since the last ready. */
  readonly roleChange: RoleView | undefined
}

export interface RoleView {
  readonly role: 'follower' | 'pre-candidate' | 'candidate' | 'leader'
  readonly term: Term
  /** The known leader of this term; 0 for none. */
  readonly leader: ReplicaId
}
