import { CordilleraError, type Logger } from '@cordillera/base'
import { createPinoLogger } from './pino-logger.js'
import { printError } from './print-error.js'
import { type StartedNode, startNode } from './start.js'
import type { StartConfig } from './start-config.js'

/**
 * `cordillera start`: one node for the life of this process.
 *
 * SIGINT, SIGTERM and the end of a parent that started it with a channel make it drain and exit with 0. A second signal,
 * or a drain that takes longer than 15 s, ends it with 1. A store that stopped itself, and any error that nobody
 * expected, end it with 1 at once: a node restarts and recovers, it does not limp on.
 *
 * A store that stopped because its disk does not answer ends it by SIGKILL instead: an exit waits for every call that is
 * under way in the thread pool, which is just what does not return then.
 */
export async function runStart(config: StartConfig): Promise<never> {
  const logger = createPinoLogger(config.logLevel)
  const exit = new ProcessExit(logger)
  let started: StartedNode
  try {
    started = await startNode(config, logger)
  } catch (error) {
    return exit.refuse(error)
  }
  exit.onStarted(started)
  void started.failed.then((error) => exit.onStoreFailed(error))
  return new Promise<never>(() => {})
}

const STOP_TIMEOUT_MS = 15_000
const SOCKETS_CLOSE_MS = 200

class ProcessExit {
  readonly #logger: Logger
  #started: StartedNode | undefined
  #stopping = false

  constructor(logger: Logger) {
    this.#logger = logger
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#stop(signal))
    process.on('disconnect', () => this.#stop('disconnect'))
    process.on('uncaughtException', (error) => this.fail('uncaught-exception', error))
    process.on('unhandledRejection', (error) => this.fail('unhandled-rejection', error))
  }

  onStarted(started: StartedNode): void {
    this.#started = started
  }

  /** The node could not start. */
  refuse(error: unknown): never {
    const isExpected = error instanceof CordilleraError
    this.#logger.error('start-failed', isExpected ? { code: error.code, detail: error.message } : { error })
    printError(error)
    process.exit(1)
  }

  onStoreFailed(error: Error): void {
    const isStalled = error instanceof CordilleraError && error.details?.isStalled === true
    if (!isStalled) this.fail('store-failed', error)
    this.#logger.error('store-failed', { error })
    printError(error)
    // The others are to see that the connections are gone.
    setTimeout(endByForce, SOCKETS_CLOSE_MS)
  }

  fail(event: string, error: unknown): never {
    this.#logger.error(event, { error })
    printError(error instanceof CordilleraError ? error : new CordilleraError('INTERNAL', { detail: String(error) }))
    process.exit(1)
  }

  #stop(cause: string): void {
    if (this.#stopping) {
      if (cause === 'disconnect') return
      this.#logger.warn('stopped-by-force', { cause })
      process.exit(1)
    }
    this.#stopping = true
    this.#logger.info('stopping', { cause })
    setTimeout(() => {
      this.#logger.error('stop-timed-out', { afterMs: STOP_TIMEOUT_MS })
      process.exit(1)
    }, STOP_TIMEOUT_MS)
    // Nothing was acknowledged before the start was complete, so there is nothing to drain.
    const stopped = this.#started?.stop() ?? Promise.resolve()
    stopped.then(
      () => {
        this.#logger.info('stopped')
        process.exit(0)
      },
      (error) => this.fail('stop-failed', error),
    )
  }
}

function endByForce(): void {
  process.kill(process.pid, 'SIGKILL')
}
