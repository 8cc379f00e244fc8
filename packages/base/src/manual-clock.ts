import type { Clock, Timer } from './clock.js'

interface Waiting {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

/**
 * A clock for tests: time passes only while {@link ManualClock.run} waits for something, and what is
 * due runs in a fixed order. A wait that nothing can end is an error, not a hang.
 */
export class ManualClock implements Clock {
  #now = 0
  #order = 0
  #deferred: (() => void)[] = []
  #timers: Waiting[] = []

  now(): number {
    return this.#now
  }

  wallMs(): number {
    return this.#now
  }

  after(delayMs: number, callback: () => void): Timer {
    const waiting = { at: this.#now + delayMs, order: this.#order++, callback }
    this.#timers.push(waiting)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== waiting)
      },
    }
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback)
  }

  /** Lets turns and time pass until the promise settles. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false
    const settle = (): void => {
      isSettled = true
    }
    promise.then(settle, settle)
    for (;;) {
      await microtasks()
      if (isSettled) return promise
      if (!this.step()) throw new Error('nothing is left to happen, and yet the promise is not settled')
    }
  }

  /** Lets time pass until nothing is left to happen, or for so many turns. */
  async drain(turnsMax = 1000): Promise<void> {
    for (let turn = 0; turn < turnsMax; turn++) {
      await microtasks()
      if (!this.step()) return
    }
  }

  /** Lets pending promise jobs run, and then one turn. False when nothing is left to happen. */
  async next(): Promise<boolean> {
    await microtasks()
    return this.step()
  }

  /** One turn: what was deferred, or else the next timer. False when there is nothing. */
  step(): boolean {
    if (this.#deferred.length > 0) {
      const callbacks = this.#deferred
      this.#deferred = []
      for (const callback of callbacks) callback()
      return true
    }
    const next = this.#timers.reduce<Waiting | undefined>((first, timer) => {
      return !first || timer.at < first.at || (timer.at === first.at && timer.order < first.order) ? timer : first
    }, undefined)
    if (!next) return false
    this.#timers = this.#timers.filter((timer) => timer !== next)
    this.#now = Math.max(this.#now, next.at)
    next.callback()
    return true
  }

  /** Nothing that was registered before happens any more: the process is gone. */
  clear(): void {
    this.#deferred = []
    this.#timers = []
  }
}

async function microtasks(): Promise<void> {
  for (let i = 0; i < 60; i++) await undefined
}
