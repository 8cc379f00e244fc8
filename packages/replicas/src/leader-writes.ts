import type { Clock, Term, Version } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type RaftGroup } from '@cordillera/raft-core'
import { joinBlocks } from '@cordillera/ranges'
import type { RefusedReply } from '@cordillera/wire'
import type { PendingBlock, Proposals } from './proposals.js'
import type { TimestampOrder } from './timestamp-order.js'
import type { TimestampClaim, TimestampWaiter } from './timestamp-source.js'

/**
 * A leader's writes on their way into the log: they gather, are claimed when a request for timestamps leaves, and are
 * proposed with its answer, unless the answer came too late for `TimestampOrder`; then they gather again, in front.
 *
 * Blocks that share a claim become one entry, up to `entryBytesMax`. Every block ends in `proposals`, or is refused.
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
  #gathering: PendingBlock[] = []
  /** Of requests under way. */
  readonly #claims = new Set<Claim>()
  #bytes = 0
  #isAsking = false
  /** The range's age when leadership began, and when that was: what entries carry goes on from there. */
  #age = { term: 0 as Term, ageMs: 0, sinceMs: 0 }

  constructor(parts: LeaderWritesParts) {
    this.#parts = parts
  }

  get isEmpty(): boolean {
    return this.#gathering.length === 0 && this.#claims.size === 0
  }

  /** Of blocks that wait. */
  get bytes(): number {
    return this.#bytes
  }

  add(block: PendingBlock): void {
    this.#gathering.push(block)
    this.#bytes += block.block.length
    this.#ask()
  }

  claim(): TimestampClaim | undefined {
    this.#isAsking = false
    const { role, term } = this.#parts.core
    if (role !== 'leader' || this.#gathering.length === 0) return undefined
    const claim = new Claim(this, this.#gathering, term)
    this.#gathering = []
    this.#claims.add(claim)
    return claim
  }

  /** The claim's timestamps have come. */
  onGranted(claim: Claim, first: Version): void {
    if (!this.#claims.delete(claim)) return
    const { order, core } = this.#parts
    if (order.admits(first, claim.term, core.term)) {
      for (const { block } of claim.blocks) this.#bytes -= block.length
      this.#proposeFrom(first, claim.blocks)
    } else {
      this.#gatherAgain(claim)
      this.#ask()
    }
  }

  /** The claim's request brings nothing; the waiter is asked again by whoever sends it anew. */
  onReleased(claim: Claim): void {
    if (this.#claims.delete(claim)) this.#gatherAgain(claim)
  }

  /** Proposes one entry with a timestamp that the caller vouches for. */
  propose(first: Version, count: number, blocks: readonly PendingBlock[]): void {
    const { core, order, proposals, refused } = this.#parts
    const bytes = joinBlocks(
      ENTRY_HEADER_BYTES,
      { timestamp: first, ageMs: this.#ageMs() },
      blocks.map((waiting) => waiting.block),
    )
    const result = core.propose(bytes)
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
    if (this.isEmpty) return
    const blocks = [...this.#claims].flatMap((claim) => claim.blocks).concat(this.#gathering)
    this.#claims.clear()
    this.#gathering = []
    this.#bytes = 0
    const refusal = this.#parts.refused(reason)
    for (const waiting of blocks) waiting.reply(refusal)
  }

  #gatherAgain(claim: Claim): void {
    this.#gathering = claim.blocks.concat(this.#gathering)
  }

  #ask(): void {
    if (this.#isAsking || this.#gathering.length === 0) return
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
    const ageMs = this.#age.ageMs + Math.max(0, Math.floor(now - this.#age.sinceMs))
    const appliedMs = appliedAgeMs()
    if (this.#age.term === core.term && appliedMs <= ageMs) return ageMs
    // Another term, or an older range that has merged into this one.
    this.#age = { term: core.term, ageMs: appliedMs, sinceMs: now }
    return appliedMs
  }
}

/** The writes that share a request for timestamps, and the term in which it left. */
class Claim implements TimestampClaim {
  readonly count: number
  readonly #writes: LeaderWrites

  constructor(
    writes: LeaderWrites,
    readonly blocks: readonly PendingBlock[],
    readonly term: Term,
  ) {
    this.#writes = writes
    let count = 0
    for (const block of blocks) count += block.count
    this.count = count
  }

  grant(first: Version): void {
    this.#writes.onGranted(this, first)
  }

  release(): void {
    this.#writes.onReleased(this)
  }
}
