import type { Clock, Timer } from '@cordillera/base'

/**
 * The platform's clock, timers and turns.
 *
 * A timer never runs early: Node rounds delays to whole milliseconds and may fire a fraction before, in which case it
 * is set again for the rest.
 */
export class SystemClock implements Clock {
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
      if (leftMs > 0) timer = setTimeout(onTimeout, Math.ceil(leftMs))
      else callback()
    }
    timer = setTimeout(onTimeout, Math.ceil(delayMs))
    return { cancel: () => clearTimeout(timer) }
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }
}
