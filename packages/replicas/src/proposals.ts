import type { LogIndex, Term } from '@cordillera/base'
import type { RangeReply } from '@cordillera/wire'

/**
 * Write blocks of one replica on their way: waiting to be proposed, and proposed but not yet applied.
 *
 * Every block is answered exactly once. What was proposed as the entry (index, term) is answered when the entry that
 * commits at that index is applied: with its result if it is that very entry, with `lost` if another leader's entry
 * took the place, because then the proposal can never commit (Log Matching; paper 5.3). An applied entry of a later term
 * also rules out every earlier term's proposal behind it, because terms never fall along a log. Losing leadership alone
 * tells nothing, so the block waits; its caller has a deadline of its own.
 */

export type ReplyTo = (reply: RangeReply) => void

/** One block of one request. */
export interface PendingBlock {
  readonly block: Uint8Array
  readonly count: number
  readonly reply: ReplyTo
}

interface Proposed {
  readonly index: LogIndex
  readonly term: Term
  readonly blocks: readonly PendingBlock[]
}

const LOST: RangeReply = { kind: 'refused', reason: 'lost', leader: 0, descriptors: [] }
const UNKNOWN: RangeReply = { kind: 'unknown' }

export class Proposals {
  readonly #proposed: Proposed[] = []
  #head = 0
  /** No open proposal is of an earlier term; may be too low. */
  #termMin: Term = 0

  /** Entries proposed here whose outcome is open. */
  get size(): number {
    return this.#proposed.length - this.#head
  }

  /** Remembers who waits for the entry; indexes come in rising order within a term. */
  add(index: LogIndex, term: Term, blocks: readonly PendingBlock[]): void {
    if (this.size === 0) this.#termMin = term
    // A later term may propose at an index that an earlier term's lost proposal still waits for: keep both, in order.
    this.#proposed.push({ index, term, blocks })
    let at = this.#proposed.length - 1
    while (at > this.#head && this.#proposed[at - 1]!.index > index) {
      this.#proposed[at] = this.#proposed[at - 1]!
      this.#proposed[--at] = { index, term, blocks }
    }
  }

  /**
   * Takes who waits for the entry that was just applied, if it was proposed here, after answering `lost` to everyone
   * whose proposal was replaced at or below this index, or can never commit above it.
   */
  takeApplied(index: LogIndex, term: Term): readonly PendingBlock[] | undefined {
    let found: readonly PendingBlock[] | undefined
    while (this.#head < this.#proposed.length) {
      const next = this.#proposed[this.#head]!
      if (next.index > index) break
      this.#head++
      if (next.index === index && next.term === term) found = next.blocks
      else for (const waiting of next.blocks) waiting.reply(LOST)
    }
    if (this.#termMin < term && this.size > 0) this.#loseEarlierThan(term)
    if (this.#head > 64 && this.#head * 2 > this.#proposed.length) {
      this.#proposed.splice(0, this.#head)
      this.#head = 0
    }
    return found
  }

  #loseEarlierThan(term: Term): void {
    const open = this.#proposed.splice(this.#head)
    for (const proposed of open) {
      if (proposed.term >= term) this.#proposed.push(proposed)
      else for (const waiting of proposed.blocks) waiting.reply(LOST)
    }
    this.#termMin = term
  }

  /**
   * A snapshot took the place of the log up to `index`, and with it of the entries that would have told: what was proposed
   * there may have committed or not.
   */
  onRestored(index: LogIndex): void {
    while (this.#head < this.#proposed.length && this.#proposed[this.#head]!.index <= index) {
      for (const waiting of this.#proposed[this.#head++]!.blocks) waiting.reply(UNKNOWN)
    }
  }

  /** Answers everything with "outcome unknown": the replica goes away. */
  abandon(): void {
    const rest = this.#proposed.splice(this.#head)
    this.#proposed.length = 0
    this.#head = 0
    for (const { blocks } of rest) for (const waiting of blocks) waiting.reply(UNKNOWN)
  }
}
