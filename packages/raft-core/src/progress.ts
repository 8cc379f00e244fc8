import type { LogIndex, ReplicaId } from '@cordillera/base'
import { Inflights } from './inflights.js'

/**
 * What a leader knows of one peer (figure 2's nextIndex and matchIndex), and how it may send to it.
 *
 * - `probe`: where the logs meet is not known, or messages may have been lost: one append at a time, and none while
 *   `paused`; an answer, or the answer to a heartbeat, lifts the pause.
 * - `replicate`: the logs meet at `matchIndex`; appends are sent ahead optimistically, within the window.
 * - `snapshot`: the log no longer keeps what the peer needs, or the peer has nothing at all. No append is sent until it has
 *   installed a snapshot, or that has failed.
 *
 * `0 <= matchIndex < nextIndex <= lastIndex + 1`. `matchIndex` never falls: the peer said that it is durable there.
 */
export class PeerProgress {
  readonly id: ReplicaId
  matchIndex: LogIndex = 0
  nextIndex: LogIndex
  state: ProgressState = 'probe'
  /** A probe is under way. */
  paused = false
  /** The peer answered a heartbeat while behind: send at least an empty append, so that lost messages are noticed. */
  prodded = false
  /** Heard from since the last check of the quorum (thesis 6.2). */
  recentlyActive = false
  /** The newest round of reads that the peer confirmed; 0 again when it may be out of reach. */
  readRound = 0
  /** The newest round of reads that was meant for this peer before all others. */
  askedRound = 0
  readonly inflights = new Inflights()

  constructor(id: ReplicaId, nextIndex: LogIndex) {
    this.id = id
    this.nextIndex = nextIndex
  }

  /** The peer is durable up to `index`. Returns whether that was news. */
  onAccepted(index: LogIndex): boolean {
    const isNews = index > this.matchIndex
    if (isNews) {
      this.matchIndex = index
      this.paused = false
    }
    if (index >= this.nextIndex) this.nextIndex = index + 1
    if (this.state === 'replicate') this.inflights.freeTo(index)
    else if (index >= this.matchIndex) this.becomeReplicate()
    return isNews
  }

  /**
   * The peer refused an append at `rejectedIndex`; the logs may agree at `hintIndex` at most. Returns whether to try
   * again from the new `nextIndex`; false when the refusal is of an earlier time.
   */
  onRejected(rejectedIndex: LogIndex, hintIndex: LogIndex): boolean {
    if (this.state === 'replicate') {
      if (rejectedIndex <= this.matchIndex) return false
      this.becomeProbe()
      return true
    }
    if (this.state === 'snapshot' || rejectedIndex !== this.nextIndex - 1) return false
    this.nextIndex = Math.max(Math.min(rejectedIndex, hintIndex + 1), this.matchIndex + 1)
    this.paused = false
    return true
  }

  becomeProbe(): void {
    this.state = 'probe'
    this.nextIndex = this.matchIndex + 1
    this.paused = false
    this.inflights.clear()
  }

  becomeSnapshot(): void {
    this.state = 'snapshot'
    this.nextIndex = this.matchIndex + 1
    this.paused = false
    this.inflights.clear()
  }

  becomeReplicate(): void {
    this.state = 'replicate'
    this.nextIndex = this.matchIndex + 1
    this.paused = false
    this.inflights.clear()
  }
}

export type ProgressState = 'probe' | 'replicate' | 'snapshot'

/** A peer's progress as a host may see it. */
export interface ProgressView {
  readonly matchIndex: LogIndex
  readonly nextIndex: LogIndex
  readonly state: ProgressState
  /** It has answered since the quorum was last checked, at most an election timeout ago; of a resting group, before. */
  readonly recentlyActive: boolean
}
