import type { LogIndex } from '@cordillera/base'
import type { ReadRequest, ScanRequest } from '@cordillera/wire'
import type { ReplyTo } from './proposals.js'

/**
 * Reads of one replica on their way through ReadIndex (thesis 6.4).
 *
 * All reads that arrive while a round of confirmation is being asked for share it; a round serves only reads that
 * arrived before it was sent. Rounds are confirmed in the order in which they were asked, with indexes that never
 * fall, so both queues are first in, first out.
 */
export interface WaitingRead {
  readonly request: ReadRequest | ScanRequest
  readonly reply: ReplyTo
}

interface Round {
  readonly readId: number
  readonly reads: readonly WaitingRead[]
}

interface Confirmed {
  readonly index: LogIndex
  readonly reads: readonly WaitingRead[]
}

export class WaitingReads {
  #gathering: WaitingRead[] = []
  readonly #rounds: Round[] = []
  readonly #confirmed: Confirmed[] = []
  #size = 0

  /** Reads not yet answered. */
  get size(): number {
    return this.#size
  }

  /** Rounds asked for and not yet confirmed. */
  get roundsUnderWay(): number {
    return this.#rounds.length
  }

  get hasGathered(): boolean {
    return this.#gathering.length > 0
  }

  add(read: WaitingRead): void {
    this.#gathering.push(read)
    this.#size++
  }

  /** Everything gathered so far belongs to the round `readId`. */
  onAsked(readId: number): void {
    this.#rounds.push({ readId, reads: this.#gathering })
    this.#gathering = []
  }

  /** Rounds up to `readId` are confirmed at `index`: older ones are, because leadership held later still. */
  onConfirmed(readId: number, index: LogIndex): void {
    while (this.#rounds.length > 0 && this.#rounds[0]!.readId <= readId) {
      this.#confirmed.push({ index, reads: this.#rounds.shift()!.reads })
    }
  }

  /** The next reads that may be served from a state at `appliedIndex`. */
  tryTake(appliedIndex: LogIndex): readonly WaitingRead[] | undefined {
    const next = this.#confirmed[0]
    if (next === undefined || next.index > appliedIndex) return undefined
    this.#confirmed.shift()
    this.#size -= next.reads.length
    return next.reads
  }

  /** Every read of the given round, or gathered (undefined), which will not be confirmed. */
  takeDropped(readId: number | undefined): readonly WaitingRead[] {
    if (readId === undefined) {
      const reads = this.#gathering
      this.#gathering = []
      this.#size -= reads.length
      return reads
    }
    const at = this.#rounds.findIndex((round) => round.readId === readId)
    if (at < 0) return []
    const { reads } = this.#rounds.splice(at, 1)[0]!
    this.#size -= reads.length
    return reads
  }

  /** Every read, in no order: the replica goes away. */
  takeAll(): readonly WaitingRead[] {
    const all = [
      ...this.#gathering,
      ...this.#rounds.flatMap((r) => r.reads),
      ...this.#confirmed.flatMap((c) => c.reads),
    ]
    this.#gathering = []
    this.#rounds.length = 0
    this.#confirmed.length = 0
    this.#size = 0
    return all
  }
}
