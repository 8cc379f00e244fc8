import type { Clock, Version } from '@cordillera/base'
import type { SystemLeadership, SystemSeat, TimestampSource, TimestampWaiter } from '../timestamp-source.js'

/** An oracle outside of the cluster: it gives out numbers when the test lets it, and never one twice. */
export class ManualOracle {
  next: Version = 1
  /** While true, answers that were given out are on their way until {@link deliver}. */
  isHolding = false
  readonly #clock: Clock
  #onTheWay: (() => void)[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get onTheWay(): number {
    return this.#onTheWay.length
  }

  /** A number for the test itself. */
  take(): Version {
    return this.next++
  }

  /** What has been held arrives, and later answers do at once. */
  deliver(): void {
    this.isHolding = false
    for (const arrive of this.#onTheWay.splice(0)) arrive()
  }

  /** A node's way to this oracle: one request under way, and one queued behind it. */
  source(): TimestampSource {
    const queued: TimestampWaiter[] = []
    let isUnderWay = false
    const leave = (): void => {
      const claims = queued.splice(0).flatMap((waiter) => waiter.claim() ?? [])
      let first = this.next
      for (const { count } of claims) this.next += count
      const arrive = (): void => {
        for (const claim of claims) {
          claim.grant(first)
          first += claim.count
        }
        isUnderWay = false
        if (queued.length > 0) ask()
      }
      if (this.isHolding) this.#onTheWay.push(arrive)
      else this.#clock.defer(arrive)
    }
    const ask = (): void => {
      if (isUnderWay) return
      isUnderWay = true
      this.#clock.defer(leave)
    }
    return {
      ask: (waiter) => {
        queued.push(waiter)
        ask()
      },
    }
  }
}

/** Notes what it is told, and gives out 1000, 1001, … once it leads. */
export class RecordedSeat implements SystemSeat {
  leadership: SystemLeadership | undefined
  ended = 0
  next: Version = 1000

  onLeading(leadership: SystemLeadership): void {
    this.leadership = leadership
  }

  onLeadingEnded(): void {
    this.leadership = undefined
    this.ended++
  }

  issue({ count }: { readonly count: number }): { first: Version; safePoint: Version } | undefined {
    if (this.leadership === undefined) return undefined
    const first = this.next
    this.next += count
    return { first, safePoint: 7 }
  }
}
