import type { Clock, CordilleraError, ReplicaId, Term, Timer, Version } from '@cordillera/base'
import type { Router } from '@cordillera/router'

/**
 * A node's way to the oracle: one request under way and one queued behind it, shared by everyone who came meanwhile.
 *
 * A waiter uses only the answer to a request that was sent after it began to wait: it makes its claim as the request
 * leaves, and what it does not claim then waits for the next one. A request that failed is sent again, with everyone asked
 * anew. Every answer, and one every {@link REFRESH_MS} at least, also brings the safe point, and every request reports the
 * node's oldest snapshot.
 */
export interface TimestampWaiter {
  /** A request leaves now: what is it to bring for this waiter? Undefined: nothing any more. */
  claim(): TimestampClaim | undefined
}

export interface TimestampClaim {
  /** 0: the news alone. */
  readonly count: number
  /** The answer: so many from `first` on; for a count of 0, what is above everything given out. */
  grant(first: Version): void
  /** The request brings nothing; the waiter is asked for a new claim. */
  release(): void
}

export interface TimestampClientParts {
  readonly router: () => Pick<Router, 'askTimestamps'>
  readonly clock: Clock
  /** This node's replica of the system range, and its term; 0 and 0 without one. */
  readonly systemReplica: () => { readonly replicaId: ReplicaId; readonly term: Term }
  /** See `TimestampsRequest` of wire. */
  readonly oldestSnapshot: () => Version
  readonly onSafePoint: (safePoint: Version) => void
}

export const REFRESH_MS = 2_000
const TIMEOUT_MS = 10_000

interface Claimed {
  readonly waiter: TimestampWaiter
  readonly claim: TimestampClaim
}

export class TimestampClient {
  readonly #parts: TimestampClientParts
  #queued: TimestampWaiter[] = []
  #isUnderWay = false
  #newestKnown: Version = 0
  #timer: Timer | undefined
  #isClosed = false

  constructor(parts: TimestampClientParts) {
    this.#parts = parts
  }

  /** Begins to refresh. */
  start(): void {
    this.ask(NEWS)
    this.#timer = this.#parts.clock.after(REFRESH_MS, () => this.start())
  }

  /** The newest timestamp that is known to have been given out. */
  get newestKnown(): Version {
    return this.#newestKnown
  }

  ask(waiter: TimestampWaiter): void {
    if (this.#isClosed) return
    this.#queued.push(waiter)
    this.#tryLeave()
  }

  /** Asks nothing more. Waiters are not told. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #tryLeave(): void {
    if (this.#isUnderWay || this.#isClosed || this.#queued.length === 0) return
    this.#isUnderWay = true
    const { router, clock } = this.#parts
    let claimed: Claimed[] = []
    router().askTimestamps(
      () => {
        claimed = this.#claim(claimed)
        let count = 0
        for (const { claim } of claimed) count += claim.count
        return { ...this.#parts.systemReplica(), count, oldestSnapshot: this.#parts.oldestSnapshot() }
      },
      clock.now() + TIMEOUT_MS,
      (error, reply) => this.#onAnswer(claimed, error, reply),
    )
  }

  /** Everyone who waits now, those of an earlier sending among them, is asked anew. */
  #claim(earlier: readonly Claimed[]): Claimed[] {
    for (const { claim } of earlier) claim.release()
    const claimed: Claimed[] = []
    const waiters = earlier.length === 0 ? this.#queued : earlier.map(({ waiter }) => waiter).concat(this.#queued)
    this.#queued = []
    for (const waiter of waiters) {
      const claim = waiter.claim()
      if (claim !== undefined) claimed.push({ waiter, claim })
    }
    return claimed
  }

  #onAnswer(
    claimed: readonly Claimed[],
    error: CordilleraError | undefined,
    reply: { readonly first: Version; readonly safePoint: Version } | undefined,
  ): void {
    if (error !== undefined || reply === undefined) this.#onFailed(claimed, error)
    else this.#grant(claimed, reply)
    // Not before: the next request's report must know of the snapshots that this answer has opened.
    this.#isUnderWay = false
    this.#tryLeave()
  }

  #grant(claimed: readonly Claimed[], reply: { readonly first: Version; readonly safePoint: Version }): void {
    let next = reply.first
    for (const { claim } of claimed) next += claim.count
    if (next - 1 > this.#newestKnown) this.#newestKnown = next - 1
    this.#parts.onSafePoint(reply.safePoint)
    next = reply.first
    for (const { claim } of claimed) {
      claim.grant(next)
      next += claim.count
    }
  }

  #onFailed(claimed: readonly Claimed[], error: CordilleraError | undefined): void {
    for (const { claim } of claimed) claim.release()
    if (error?.code === 'CLOSED') this.close()
    // Never from within: a router that fails at once would be asked for ever.
    else {
      this.#parts.clock.after(RETRY_MS, () => {
        for (const { waiter } of claimed) this.ask(waiter)
      })
    }
  }
}

const RETRY_MS = 50
const NEWS: TimestampWaiter = { claim: () => ({ count: 0, grant: () => {}, release: () => {} }) }
