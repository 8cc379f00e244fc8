import type { CordilleraError, Key } from '@cordillera/base'
import type { RouterLimits } from './limits.js'
import { refuseKey, refuseLoad, routerClosed } from './refusals.js'
import type { RouterStats } from './router-stats.js'

/**
 * Which operations a router takes, and how many wait: bounded in number and bytes, none once it drains.
 */
export class Admission {
  readonly #limits: RouterLimits
  readonly #stats: RouterStats
  #phase: 'open' | 'draining' | 'closed' = 'open'
  #onDrained: (() => void)[] = []

  constructor(limits: RouterLimits, stats: RouterStats) {
    this.#limits = limits
    this.#stats = stats
  }

  get isClosed(): boolean {
    return this.#phase === 'closed'
  }

  /** Counts the operation in, or says why not. */
  tryAdmit(key: Key, valueBytes: number): CordilleraError | undefined {
    if (this.#phase !== 'open') return routerClosed()
    const refusal = refuseKey(key.length)
    if (refusal !== undefined) return refusal
    const stats = this.#stats
    const { operationsMax, operationBytesMax } = this.#limits
    const bytes = stats.operationBytesWaiting + key.length + valueBytes
    if (stats.operationsWaiting >= operationsMax || bytes > operationBytesMax) {
      stats.overloaded++
      return refuseLoad(stats)
    }
    stats.operationsWaiting++
    return undefined
  }

  /** Counts in what an operation that was admitted is made of. */
  admitPart(): void {
    this.#stats.operationsWaiting++
  }

  onAnswered(operations: number): void {
    this.#stats.operationsWaiting -= operations
    if (this.#stats.operationsWaiting > 0 || this.#onDrained.length === 0) return
    const waiters = this.#onDrained
    this.#onDrained = []
    for (const resolve of waiters) resolve()
  }

  /** Admits nothing from now on; resolves once everything admitted is answered. */
  drain(): Promise<void> {
    if (this.#phase === 'open') this.#phase = 'draining'
    if (this.#stats.operationsWaiting === 0) return Promise.resolve()
    return new Promise((resolve) => this.#onDrained.push(resolve))
  }

  close(): void {
    this.#phase = 'closed'
  }
}
