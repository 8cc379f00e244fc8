import type { Clock, CordilleraError, Term, Timer, Version } from '@cordillera/base'
import type { Router } from '@cordillera/router'

/**
 * A node's way to the oracle: one request under way and one queued behind it, shared by everyone who came meanwhile.
 *
 * A waiter uses only the answer to a request that was sent after it began to wait: it is asked how much it needs as the
 * request leaves, and what it does not count then waits for the next one. A request that failed is sent again, with
 * everyone asked anew. Every answer, and one every {@link REFRESH_MS} at least, also brings the safe point, and every
 * request reports the node's oldest snapshot.
 */
export interface TimestampWaiter {
  /** The request leaves now: for how many timestamps? Called again when it is sent anew. */
  onAsking(): number
  /** So many from `first` on. Not called for a count of 0. */
  onTimestamps(first: Version): void
}

export interface TimestampClientParts {
  readonly router: () => Pick<Router, 'askTimestamps'>
  readonly clock: Clock
  /** The term of this node's replica of the system range; 0 without one. */
  readonly systemTerm: () => Term
  /** See `TimestampsRequest` of wire. */
  readonly oldestSnapshot: () => Version
  readonly onSafePoint: (safePoint: Version) => void
}

export const REFRESH_MS = 2_000
const TIMEOUT_MS = 10_000

export class TimestampClient {
  readonly #parts: TimestampClientParts
  #queued: TimestampWaiter[] = []
  /** Whom the request under way is for, and how much each of them wanted when it was last sent. */
  #leaving: TimestampWaiter[] = []
  #counts: number[] = []
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
    if (this.#isUnderWay || this.#isClosed || this.#queued.length + this.#leaving.length === 0) return
    this.#isUnderWay = true
    const { router, clock } = this.#parts
    router().askTimestamps(
      () => this.#prepare(),
      clock.now() + TIMEOUT_MS,
      (error, reply) => this.#onAnswer(error, reply),
    )
  }

  #prepare(): { term: Term; count: number; oldestSnapshot: Version } {
    for (const waiter of this.#queued) this.#leaving.push(waiter)
    this.#queued = []
    let count = 0
    this.#counts = []
    for (const waiter of this.#leaving) {
      const wanted = waiter.onAsking()
      this.#counts.push(wanted)
      count += wanted
    }
    return { term: this.#parts.systemTerm(), count, oldestSnapshot: this.#parts.oldestSnapshot() }
  }

  #onAnswer(
    error: CordilleraError | undefined,
    reply: { readonly first: Version; readonly safePoint: Version } | undefined,
  ): void {
    if (error !== undefined || reply === undefined) {
      this.#isUnderWay = false
      if (error?.code === 'CLOSED') this.close()
      // Never from within: a router that fails at once would be asked for ever.
      else this.#parts.clock.after(RETRY_MS, () => this.#tryLeave())
      return
    }
    const waiters = this.#leaving
    const counts = this.#counts
    this.#leaving = []
    this.#counts = []
    let next = reply.first
    for (let i = 0; i < waiters.length; i++) next += counts[i]!
    if (next - 1 > this.#newestKnown) this.#newestKnown = next - 1
    this.#parts.onSafePoint(reply.safePoint)
    next = reply.first
    for (let i = 0; i < waiters.length; i++) {
      if (counts[i]! > 0) waiters[i]!.onTimestamps(next)
      next += counts[i]!
    }
    // Not before: the next request's report must know of the snapshots that this answer has opened.
    this.#isUnderWay = false
    this.#tryLeave()
  }
}

const RETRY_MS = 50
const NEWS: TimestampWaiter = { onAsking: () => 0, onTimestamps: () => {} }
