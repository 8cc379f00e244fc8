import type { Clock, Timer } from '@cordillera/base'

/**
 * The platform's clock, timers and turns.
 *
 * A timer never runs early: Node rounds delays to whole milliseconds and may fire a fraction before, in which case it
 * is set again for the rest.
 */
export class SystemClock implements Clock {
  readonly #holdsProcess: boolean

  /** `holdsProcess` false: a process may end while timers are set. */
  constructor({ holdsProcess = true }: { readonly holdsProcess?: boolean } = {}) {
    this.#holdsProcess = holdsProcess
  }

  now(): number {
    return performance.now()
  }

  wallMs(): number {
    return Date.now()
  }

  after(delayMs: number, callback: () => void): Timer {
    const dueMs = performance.now() + delayMs
    let timer: NodeJS.Timeout
    const onTimeout = (): void => {
      const leftMs = dueMs - performance.now()
      if (leftMs > 0) timer = this.#set(onTimeout, leftMs)
      else callback()
    }
    timer = this.#set(onTimeout, delayMs)
    return { cancel: () => clearTimeout(timer) }
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }

  #set(callback: () => void, delayMs: number): NodeJS.Timeout {
    const timer = setTimeout(callback, Math.ceil(delayMs))
    return this.#holdsProcess ? timer : timer.unref()
  }
}
