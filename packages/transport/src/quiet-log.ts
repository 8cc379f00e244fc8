import type { Clock, LogFields, Logger } from '@cordillera/base'

const REPEAT_MS = 60_000
const KEYS_MAX = 256

/** Warnings that strangers can cause as often as they like: each (event, key) is logged at most once a minute. */
export class QuietLog {
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #loggedAt = new Map<string, number>()

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger
    this.#clock = clock
  }

  debug(event: string, fields: LogFields): void {
    this.#logger.debug(event, fields)
  }

  warn(event: string, key: string, fields: LogFields): void {
    const id = `${event} ${key}`
    const nowMs = this.#clock.now()
    const loggedAt = this.#loggedAt.get(id)
    if (loggedAt !== undefined && nowMs - loggedAt < REPEAT_MS) {
      this.#logger.debug(event, fields)
      return
    }
    if (this.#loggedAt.size >= KEYS_MAX) this.#loggedAt.clear()
    this.#loggedAt.set(id, nowMs)
    this.#logger.warn(event, fields)
  }
}
