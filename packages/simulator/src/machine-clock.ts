import type { Clock, Timer } from '@cordillera/base'

/**
 * The clock of one machine. It can stand still with everything on it (a stopped process, a virtual machine that is
 * moved), go too fast or too slow, and show a wrong time of day.
 *
 * What falls due while it is paused runs after {@link resume}, in its order, a turn each.
 */
export class MachineClock implements Clock {
  readonly #clock: Clock
  #rate = 1
  #sinceMs = 0
  #nowAtSinceMs = 0
  #wallOffsetMs = 0
  #isPaused = false
  #held: (() => void)[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#nowAtSinceMs + (this.#clock.now() - this.#sinceMs) * this.#rate
  }

  wallMs(): number {
    return this.#clock.wallMs() + this.#wallOffsetMs
  }

  after(delayMs: number, callback: () => void): Timer {
    let isCancelled = false
    const timer = this.#clock.after(delayMs / this.#rate, () =>
      this.#run(() => {
        if (!isCancelled) callback()
      }),
    )
    return {
      cancel: () => {
        isCancelled = true
        timer.cancel()
      },
    }
  }

  defer(callback: () => void): void {
    this.#clock.defer(() => this.#run(callback))
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    for (const callback of this.#held.splice(0)) this.defer(callback)
  }

  /** Seconds of this clock in a true one, from now on. Timers that run keep their length. */
  drift(rate: number): void {
    const nowMs = this.now()
    this.#sinceMs = this.#clock.now()
    this.#nowAtSinceMs = nowMs
    this.#rate = rate
  }

  /** Sets the time of day wrong by so much. */
  jump(offsetMs: number): void {
    this.#wallOffsetMs = offsetMs
  }

  #run(callback: () => void): void {
    if (this.#isPaused) this.#held.push(callback)
    else callback()
  }
}
