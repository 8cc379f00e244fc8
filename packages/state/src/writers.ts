import { CordilleraError, type Logger } from '@cordillera/base'
import type { EngineBatch } from './state-engine.js'

/**
 * Whoever writes to the engine, one behind the other. A write that failed is fatal: what is unflushed can never be made
 * durable here, and everybody is refused from then on (`DISK_FAILED`); after {@link end} with `CLOSED`.
 */
export class Writers {
  readonly #logger: Logger
  #failure: CordilleraError | undefined
  #isEnded = false
  #last: Promise<unknown> = Promise.resolve()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined
  }

  /** Why nothing is served any more. */
  refusal(): CordilleraError | undefined {
    if (this.#failure !== undefined) return this.#failure
    return this.#isEnded ? new CordilleraError('CLOSED') : undefined
  }

  /** Runs the task once those before it have ended. */
  enqueue<T>(task: () => Promise<T>): Promise<T> {
    const refusal = this.refusal()
    if (refusal !== undefined) return Promise.reject(refusal)
    const writer = this.#last.then(() => {
      if (this.#failure !== undefined) throw this.#failure
      return task()
    })
    this.#last = writer.catch(() => undefined)
    return writer
  }

  /** Of a task: durable when it resolves. */
  async write(batch: EngineBatch): Promise<void> {
    try {
      await batch.write()
    } catch (error) {
      throw this.fail(error)
    }
  }

  /** Returns the error that everybody gets from now on. */
  fail(cause: unknown): CordilleraError {
    if (this.#failure === undefined) {
      this.#failure = new CordilleraError('DISK_FAILED', { detail: 'the state database could not be written', cause })
      this.#logger.error('state-write-failed', { cause })
    }
    return this.#failure
  }

  /** Nothing new is taken. */
  end(): void {
    this.#isEnded = true
  }

  /** Every task has ended, well or not. */
  async idle(): Promise<void> {
    await this.#last
  }
}
