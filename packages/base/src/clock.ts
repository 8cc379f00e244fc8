/**
 * Time and turns of the event loop, handed in so that the simulator can own both.
 *
 * No package but the composition root reads a clock or starts a timer of the platform.
 */
export interface Clock {
  /** Milliseconds, monotonic, from an arbitrary origin; fractions are kept. */
  now(): number
  /** Milliseconds since the Unix epoch: for people and logs, never for decisions. */
  wallMs(): number
  /** Runs `callback` once, not before `delayMs` have passed. */
  after(delayMs: number, callback: () => void): Timer
  /** Runs `callback` once this turn's I/O callbacks have run (`setImmediate`). Runs in order of registration. */
  defer(callback: () => void): void
}

export interface Timer {
  /** Idempotent; after it the callback does not run. */
  cancel(): void
}
