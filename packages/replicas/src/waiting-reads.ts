import type { LogIndex } from '@cordillera/base'
import type { IndexRequest, OutcomeRequest, ReadRequest, ScanRequest, TimestampsRequest } from '@cordillera/wire'
import type { LockDecisions } from './lock-decisions.js'
import type { ReplyTo } from './proposals.js'

/**
 * Reads of one replica on their way through ReadIndex (thesis 6.4).
 *
 * All reads that arrive while a round of confirmation is being asked for share it; a round serves only reads that
 * arrived before it was sent, once its index, and what the reads themselves wait for, has applied. Rounds are confirmed
 * and served in the order in which they were asked.
 */
export interface WaitingRead {
  readonly request: ReadRequest | ScanRequest | TimestampsRequest | IndexRequest | OutcomeRequest
  readonly reply: ReplyTo
  /** Must have applied as well: what was proposed before a read at a timestamp began. 0 for reads of the newest. */
  readonly indexMin: LogIndex
  /** What it has found out about the locks in its way, when it comes a second time. */
  readonly decisions?: LockDecisions
}

interface Round {
  readonly readId: number
  readonly reads: readonly WaitingRead[]
  readonly indexMin: LogIndex
}

interface Confirmed {
  readonly index: LogIndex
  readonly reads: readonly WaitingRead[]
}

export class WaitingReads {
  #gathering: WaitingRead[] = []
  #indexMin: LogIndex = 0
  readonly #rounds: Round[] = []
  readonly #confirmed: Confirmed[] = []
  /** Confirmed reads that wait for more than their round's index. */
  readonly #later: Confirmed[] = []
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
    if (read.indexMin > this.#indexMin) this.#indexMin = read.indexMin
    this.#size++
  }

  /** Everything gathered so far belongs to the round `readId`. */
  onAsked(readId: number): void {
    this.#rounds.push({ readId, reads: this.#gathering, indexMin: this.#indexMin })
    this.#gathering = []
    this.#indexMin = 0
  }

  /** Rounds up to `readId` are confirmed at `index`: older ones are, because leadership held later still. */
  onConfirmed(readId: number, index: LogIndex): void {
    while (this.#rounds.length > 0 && this.#rounds[0]!.readId <= readId) {
      const { reads, indexMin } = this.#rounds.shift()!
      if (indexMin <= index) {
        this.#confirmed.push({ index, reads })
        continue
      }
      this.#confirmed.push({ index, reads: reads.filter((read) => read.indexMin <= index) })
      this.#later.push({ index: indexMin, reads: reads.filter((read) => read.indexMin > index) })
    }
  }

  /** Reads that a leader elsewhere has confirmed. */
  addConfirmed(index: LogIndex, reads: readonly WaitingRead[]): void {
    this.#size += reads.length
    this.#confirmed.push({ index, reads })
  }

  /** The next reads that may be served from a state at `appliedIndex`. */
  tryTake(appliedIndex: LogIndex): readonly WaitingRead[] | undefined {
    return this.#tryTakeOf(this.#confirmed, appliedIndex) ?? this.#tryTakeOf(this.#later, appliedIndex)
  }

  #tryTakeOf(queue: Confirmed[], appliedIndex: LogIndex): readonly WaitingRead[] | undefined {
    const next = queue[0]
    if (next === undefined || next.index > appliedIndex) return undefined
    queue.shift()
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

  /** Every read: leadership is lost. What a confirmed one waits for may never come. */
  takeAll(): readonly WaitingRead[] {
    const all = [
      ...this.#gathering,
      ...this.#rounds.flatMap((r) => r.reads),
      ...this.#confirmed.flatMap((c) => c.reads),
      ...this.#later.flatMap((c) => c.reads),
    ]
    this.#gathering = []
    this.#rounds.length = 0
    this.#confirmed.length = 0
    this.#later.length = 0
    this.#size = 0
    return all
  }
}
