import { type Clock, CordilleraError, type Version } from '@cordillera/base'
import type { TimestampClient } from './timestamp-client.js'

/**
 * The snapshots that are open on this node: what it reports as its oldest one keeps their versions from being collected.
 *
 * A snapshot is a fresh timestamp. It stays open while it is used, and for {@link IDLE_MS} after a use that may go on (a
 * scan whose cursor somebody holds). At most {@link IDLE_MAX} idle ones are kept; beyond it the least recently used is
 * given up. What is given up, or was reported by nobody, can still be read until the safe point has passed it.
 */
export const IDLE_MS = 300_000
export const IDLE_MAX = 100_000

type Done = (error: CordilleraError | undefined, at: Version) => void

export interface SnapshotsParts {
  readonly clock: Clock
  readonly client: () => Pick<TimestampClient, 'ask' | 'newestKnown'>
}

export class Snapshots {
  readonly #parts: SnapshotsParts
  readonly #uses = new Map<Version, number>()
  /** When each idle one was last used; the least recent first. */
  readonly #idle = new Map<Version, number>()
  /** At or below every open one. */
  #oldest: Version = Number.POSITIVE_INFINITY
  #oldestAtMs = Number.NEGATIVE_INFINITY

  constructor(parts: SnapshotsParts) {
    this.#parts = parts
  }

  get size(): number {
    return this.#uses.size + this.#idle.size
  }

  /** No snapshot that is open here, or will ever be opened new, is below. */
  oldestSnapshot(): Version {
    const { clock, client } = this.#parts
    const nowMs = clock.now()
    if (nowMs - this.#oldestAtMs >= 1_000) {
      this.#oldestAtMs = nowMs
      this.#recount(nowMs)
    }
    return Math.min(this.#oldest, client().newestKnown + 1)
  }

  /**
   * Opens a new snapshot (`at` 0), above everything that was acknowledged anywhere before this call, or one that was
   * given out before. UNAVAILABLE when no timestamp came in time, BAD_REQUEST when `at` was never given out.
   */
  open(at: Version, deadlineMs: number, done: Done): void {
    const { clock, client } = this.#parts
    if (at > 0 && at <= client().newestKnown) {
      this.#use(at)
      done(undefined, at)
      return
    }
    let isAnswered = false
    const answer = (error: CordilleraError | undefined, opened: Version): void => {
      if (isAnswered) return
      isAnswered = true
      timer.cancel()
      if (error === undefined) this.#use(opened)
      done(error, opened)
    }
    // For a snapshot that is named, the answer is only the proof that it was given out, or was not.
    const grant = (first: Version): void => {
      if (at === 0) answer(undefined, first)
      else if (at < first) answer(undefined, at)
      else answer(neverGivenOut(), 0)
    }
    const timer = clock.after(Math.max(0, deadlineMs - clock.now()), () => answer(noTimestamp(), 0))
    client().ask({
      claim: () => (isAnswered ? undefined : { count: 1, grant, release: () => {} }),
    })
  }

  close(at: Version, mayGoOn: boolean): void {
    const uses = this.#uses.get(at) ?? 0
    if (uses > 1) {
      this.#uses.set(at, uses - 1)
      return
    }
    this.#uses.delete(at)
    if (!mayGoOn) return
    this.#idle.delete(at)
    this.#idle.set(at, this.#parts.clock.now())
    if (this.#idle.size <= IDLE_MAX) return
    for (const leastRecent of this.#idle.keys()) {
      this.#idle.delete(leastRecent)
      return
    }
  }

  #use(at: Version): void {
    this.#uses.set(at, (this.#uses.get(at) ?? 0) + 1)
    if (at < this.#oldest) this.#oldest = at
  }

  #recount(nowMs: number): void {
    for (const [at, sinceMs] of this.#idle) {
      if (nowMs - sinceMs < IDLE_MS) break
      this.#idle.delete(at)
    }
    this.#oldest = Number.POSITIVE_INFINITY
    for (const at of this.#uses.keys()) if (at < this.#oldest) this.#oldest = at
    for (const at of this.#idle.keys()) if (at < this.#oldest) this.#oldest = at
  }
}

function noTimestamp(): CordilleraError {
  return new CordilleraError('UNAVAILABLE', { detail: 'the oracle gave out no timestamp in time' })
}

function neverGivenOut(): CordilleraError {
  return new CordilleraError('BAD_REQUEST', {
    detail: 'the snapshot is in the future: no such timestamp was given out',
  })
}
