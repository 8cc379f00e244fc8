import { type Clock, CordilleraError, NONE, type Timer } from '@cordillera/base'

interface PendingAsk {
  readonly resolve: (body: Uint8Array) => void
  readonly reject: (error: Error) => void
  readonly timer: Timer
}

/**
 * Calls of open shape of one connection that wait for their answers, bounded in number and each in time.
 *
 * Every promise is settled: by the answer, by its timeout or by {@link failAll}; in the last two cases with
 * `OUTCOME_UNKNOWN`, because the question was sent.
 */
export class PendingAsks {
  readonly #clock: Clock
  readonly #countMax: number
  readonly #asks = new Map<number, PendingAsk>()
  #lastId = NONE

  constructor(clock: Clock, countMax: number) {
    this.#clock = clock
    this.#countMax = countMax
  }

  get isFull(): boolean {
    return this.#asks.size >= this.#countMax
  }

  /** Runs `send` with the new call's id, then waits for its answer. */
  add(timeoutMs: number, send: (id: number) => void): Promise<Uint8Array> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(timeoutMs, () => this.fail(id, unknown(`no answer within ${timeoutMs} ms`)))
      this.#asks.set(id, { resolve, reject, timer })
      send(id)
    })
  }

  /** Without effect when nobody waits for the answer. */
  answer(id: number, body: Uint8Array): void {
    this.#take(id)?.resolve(body)
  }

  fail(id: number, error: Error): void {
    this.#take(id)?.reject(error)
  }

  failAll(): void {
    for (const id of [...this.#asks.keys()]) this.fail(id, unknown('the connection was lost before the answer came'))
  }

  #take(id: number): PendingAsk | undefined {
    const ask = this.#asks.get(id)
    if (ask === undefined) return undefined
    this.#asks.delete(id)
    ask.timer.cancel()
    return ask
  }
}

function unknown(detail: string): CordilleraError {
  return new CordilleraError('OUTCOME_UNKNOWN', { detail })
}
