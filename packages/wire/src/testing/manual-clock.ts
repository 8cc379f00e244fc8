import type { Clock, Timer } from '@cordillera/base'

/** A clock for tests: time and turns pass only when the test says so. What a callback defers runs a turn later. */
export class ManualClock implements Clock {
  #nowMs = 0
  #deferred: (() => void)[] = []
  #timers: { readonly at: number; readonly callback: () => void }[] = []

  now(): number {
    return this.#nowMs
  }

  wallMs(): number {
    return this.#nowMs
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback)
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { at: this.#nowMs + delayMs, callback }
    this.#timers.push(timer)
    this.#timers.sort((a, b) => a.at - b.at)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  /** Turns until nothing is deferred any more. */
  settle(): void {
    while (this.#deferred.length > 0) {
      const deferred = this.#deferred
      this.#deferred = []
      for (const callback of deferred) callback()
    }
  }

  /** Passes time, running the timers and the turns on the way. */
  pass(ms: number): void {
    const until = this.#nowMs + ms
    this.settle()
    while (this.#timers.length > 0 && this.#timers[0]!.at <= until) {
      const timer = this.#timers.shift()!
      this.#nowMs = timer.at
      timer.callback()
      this.settle()
    }
    this.#nowMs = until
  }

  /** Time passes without anything running, as while a process is stopped: due timers run once, late. */
  stall(ms: number): void {
    this.#nowMs += ms
  }
}
