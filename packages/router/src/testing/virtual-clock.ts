import type { Clock, Timer } from '@cordillera/base'

interface Scheduled {
  readonly atMs: number
  readonly order: number
  readonly callback: () => void
}

/** Time that passes when a test says so. Timers run in order of time, then of registration; turns are explicit. */
export class VirtualClock implements Clock {
  #nowMs = 1000
  #order = 0
  #timers: Scheduled[] = []
  #deferred: (() => void)[] = []

  now(): number {
    return this.#nowMs
  }

  wallMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, order: this.#order++, callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback)
  }

  get pendingTimers(): number {
    return this.#timers.length
  }

  /** Ends the turn, and those that follow from it without time passing. */
  turn(): void {
    while (this.#deferred.length > 0) for (const callback of this.#deferred.splice(0)) callback()
  }

  /** Lets time pass, with everything that happens on the way. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    this.turn()
    for (;;) {
      const next = this.#timers
        .filter(({ atMs }) => atMs <= untilMs)
        .sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((other) => other !== next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.callback()
      this.turn()
    }
    this.#nowMs = untilMs
  }
}
