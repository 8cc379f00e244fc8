import type { Clock, Term, Version } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, EntryType, type RaftGroup } from '@cordillera/raft-core'
import { joinBlocks } from '@cordillera/ranges'
import type { RefusedReply } from '@cordillera/wire'
import { PendingWrites } from './pending-writes.js'
import type { PendingBlock, Proposals } from './proposals.js'
import type { TimestampOrder } from './timestamp-order.js'
import type { TimestampWaiter } from './timestamp-source.js'

/**
 * A leader's writes on their way into the log: they gather, are frozen when a request for timestamps leaves, and are
 * proposed with its answer, unless the answer came too late for `TimestampOrder`; then they gather again.
 *
 * Blocks that share a request become one entry, up to `entryBytesMax`. Every block ends in `proposals`, or is refused.
 */
export interface LeaderWritesParts {
  readonly core: RaftGroup
  readonly order: TimestampOrder
  readonly proposals: Proposals
  readonly clock: Clock
  readonly entryBytesMax: number
  /** The range's age as far as it was applied. */
  readonly appliedAgeMs: () => number
  readonly ask: (waiter: TimestampWaiter) => void
  /** Something was proposed. */
  readonly onProposed: () => void
  readonly refused: (reason: RefusedReply['reason']) => RefusedReply
}

export class LeaderWrites implements TimestampWaiter {
  readonly #parts: LeaderWritesParts
  readonly #pending = new PendingWrites()
  #isAsking = false
  #isClosed = false
  /** The range's age when leadership began, and when that was: what entries carry goes on from there. */
  #age = { term: 0 as Term, ageMs: 0, sinceMs: 0 }

  constructor(parts: LeaderWritesParts) {
    this.#parts = parts
  }

  get isEmpty(): boolean {
    return this.#pending.isEmpty
  }

  /** Of blocks that wait. */
  get bytes(): number {
    return this.#pending.bytes
  }

  add(block: PendingBlock): void {
    this.#pending.add(block)
    this.#ask()
  }

  onAsking(): number {
    this.#isAsking = false
    const { core, order } = this.#parts
    if (this.#isClosed || core.role !== 'leader') return 0
    order.onAsking(core.term)
    return this.#pending.freeze()
  }

  onTimestamps(first: Version): void {
    if (this.#isClosed) return
    const { order, core } = this.#parts
    if (order.admits(first, core.term)) {
      this.#proposeFrom(first, this.#pending.takeFrozen())
    } else {
      this.#pending.thaw()
      this.#ask()
    }
  }

  /** Proposes one entry with a timestamp that the caller vouches for. */
  propose(first: Version, count: number, blocks: readonly PendingBlock[]): void {
    const { core, order, proposals, refused } = this.#parts
    const bytes = joinBlocks(
      ENTRY_HEADER_BYTES,
      { timestamp: first, ageMs: this.#ageMs() },
      blocks.map((waiting) => waiting.block),
    )
    const result = core.propose(EntryType.command, bytes)
    if (result.kind === 'proposed') {
      order.onProposed(first, first + count - 1)
      proposals.add(result.index, result.term, blocks)
      this.#parts.onProposed()
      return
    }
    const refusal = refused(result.reason === 'overloaded' ? 'overloaded' : 'not-leader')
    for (const waiting of blocks) waiting.reply(refusal)
  }

  /** What was not proposed has no effect: it is refused. */
  refuseAll(reason: RefusedReply['reason']): void {
    if (this.#pending.isEmpty) return
    const refusal = this.#parts.refused(reason)
    for (const waiting of this.#pending.takeAll()) waiting.reply(refusal)
  }

  close(): void {
    this.#isClosed = true
    this.refuseAll('closing')
  }

  #ask(): void {
    if (this.#isAsking || this.#pending.isEmpty) return
    this.#isAsking = true
    this.#parts.ask(this)
  }

  #proposeFrom(timestamp: Version, blocks: readonly PendingBlock[]): void {
    const { entryBytesMax } = this.#parts
    let first = timestamp
    let from = 0
    while (from < blocks.length) {
      let to = from
      let bytes = 0
      let count = 0
      while (to < blocks.length && (to === from || bytes + blocks[to]!.block.length <= entryBytesMax)) {
        count += blocks[to]!.count
        bytes += blocks[to++]!.block.length
      }
      this.propose(first, count, from === 0 && to === blocks.length ? blocks : blocks.slice(from, to))
      first += count
      from = to
    }
  }

  #ageMs(): number {
    const { core, clock, appliedAgeMs } = this.#parts
    const now = clock.now()
    if (this.#age.term !== core.term) this.#age = { term: core.term, ageMs: appliedAgeMs(), sinceMs: now }
    return this.#age.ageMs + Math.max(0, Math.floor(now - this.#age.sinceMs))
  }
}
