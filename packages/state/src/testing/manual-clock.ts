import type { Clock, Timer } from '@cordillera/base'

/**
 * A clock for the tests of this package: time and turns pass only when the test says so. Not exported.
 *
 * Deferred callbacks run in order of registration, timers in order of time. What a callback defers runs a turn later.
 */
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

  /** One turn: what was deferred before, then every promise that follows from it. */
  async turn(): Promise<void> {
    const deferred = this.#deferred
    this.#deferred = []
    for (const callback of deferred) callback()
    await settledPromises()
  }

  /** Passes time, running the timers on the way. */
  async pass(ms: number): Promise<void> {
    const until = this.#nowMs + ms
    while (this.#timers.length > 0 && this.#timers[0]!.at <= until) {
      const timer = this.#timers.shift()!
      this.#nowMs = timer.at
      timer.callback()
      await this.turn()
    }
    this.#nowMs = until
  }

  /** Turns, and time as far as timers go, until `promise` settles; rejects when nothing is left that could settle it. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const onEnd = (): void => {
      settled = true
    }
    promise.then(onEnd, onEnd)
    await settledPromises()
    while (!settled) {
      if (this.#deferred.length > 0) await this.turn()
      else if (this.#timers.length > 0) await this.pass(this.#timers[0]!.at - this.#nowMs)
      else throw new Error('the promise would never settle')
    }
    return promise
  }
}

/** Lets chains of resolved promises run to their end, as far as a few hundred links. */
async function settledPromises(): Promise<void> {
  for (let i = 0; i < 300; i++) await undefined
}
