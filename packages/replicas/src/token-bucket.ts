/**
 * Lets bytes go at a rate at most: who has a piece to send claims it, and sends it after the delay that this answers.
 *
 * Over any time, what is let go is at most the rate times that time and {@link BURST_MS} more, and one piece: a piece leaves as soon
 * as all before it are paid for, however large it is. Pieces are let go in the order of their claims. A new rate holds for the
 * claims that come after. Where a clock is needed, the caller has it.
 */
export class TokenBucket {
  bytesPerSec: number
  /** When everything claimed so far is paid for. */
  #paidAtMs = Number.NEGATIVE_INFINITY

  constructor(bytesPerSec: number) {
    this.bytesPerSec = bytesPerSec
  }

  /** The ms until the piece may leave. It counts as sent. */
  claim(bytes: number, nowMs: number): number {
    const leavesAtMs = Math.max(this.#paidAtMs, nowMs - BURST_MS)
    this.#paidAtMs = leavesAtMs + (bytes / this.bytesPerSec) * 1_000
    return Math.max(0, leavesAtMs - nowMs)
  }
}

/** What was not used for so long may be made up for at once, so that late timers cost nothing. */
export const BURST_MS = 100
