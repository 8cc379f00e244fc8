import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CordilleraError, type ErrorCode, errorKinds } from '@cordillera/base'

/**
 * One node of the demo: a child process that runs `cordillera start`, its log appended to a file.
 *
 * A node that dies after it served is started again once; one that dies right after its start stays down, with the
 * reason. The child is in a process group of its own, so that Ctrl-C reaches it through this process alone, and has a
 * channel to it, whose end tells it to stop.
 */
export interface DemoNodeOptions {
  readonly number: number
  /** The demo's directory. */
  readonly root: string
  readonly http: string
  /** Of `start`, besides its directory and HTTP address. */
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string | undefined>>
  say(text: string): void
}

const RESTART_DELAY_MS = 1_000
/** Dying sooner than this is a failed start. */
const STARTED_AFTER_MS = 5_000
const STOP_TIMEOUT_MS = 20_000

export class DemoNode {
  readonly number: number
  readonly http: string
  readonly logPath: string
  /** Resolves when the node is down for good. */
  readonly ended: Promise<void>
  readonly #options: DemoNodeOptions
  #child: ChildProcess | undefined
  #failure: CordilleraError | undefined
  #stopping = false
  #wasReady = false
  #startedMs = 0
  #onEnded: () => void = () => {}

  constructor(options: DemoNodeOptions) {
    this.number = options.number
    this.http = options.http
    this.logPath = join(options.root, `node-${options.number}.log`)
    this.#options = options
    this.ended = new Promise((resolve) => {
      this.#onEnded = resolve
    })
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  /** Why it is down, when it could not start. */
  get failure(): CordilleraError | undefined {
    return this.#failure
  }

  start(): void {
    const { root, args, environment } = this.#options
    const log = openSync(this.logPath, 'a')
    const data = join(root, `node-${this.number}`)
    this.#startedMs = performance.now()
    this.#child = spawn(process.execPath, [BIN, 'start', '--data', data, '--http', this.http, ...args], {
      detached: true,
      stdio: ['ignore', log, log, 'ipc'],
      // The settings of the demo are not those of its nodes.
      env: Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('CORDILLERA_'))),
    })
    closeSync(log)
    this.#child.on('error', (error) => this.#onExit(error.message))
    this.#child.on('exit', (code, signal) => this.#onExit(signal ?? `exit status ${code}`))
  }

  onReady(): void {
    this.#wasReady = true
  }

  /** Asks it to drain and waits until it is gone; kills it when that takes too long. */
  async stop(): Promise<void> {
    this.#stopping = true
    const child = this.#child
    if (child === undefined) return this.#onEnded()
    const timer = setTimeout(() => this.kill(), STOP_TIMEOUT_MS)
    child.kill('SIGTERM')
    await this.ended
    clearTimeout(timer)
  }

  kill(): void {
    this.#child?.kill('SIGKILL')
  }

  #onExit(reason: string): void {
    this.#child = undefined
    if (this.#stopping) {
      this.#onEnded()
      return
    }
    if (this.#wasReady && performance.now() - this.#startedMs > STARTED_AFTER_MS) {
      this.#options.say(`node ${this.number} ended (${reason}); starting it again`)
      setTimeout(() => {
        if (!this.#stopping) this.start()
      }, RESTART_DELAY_MS)
      return
    }
    this.#failure = failureOf(this.number, this.logPath, reason)
    if (this.#wasReady) this.#options.say(`${this.#failure.message}; it stays down`)
    this.#onEnded()
  }
}

const BIN = fileURLToPath(new URL('./bin.js', import.meta.url))

/** The node's own last words, when it had any. */
function failureOf(number: number, logPath: string, reason: string): CordilleraError {
  const lines = readFileSync(logPath, 'utf8').trimEnd().split('\n').slice(-LAST_LINES)
  const words = lines.reverse().find((line) => line.startsWith('cordillera: '))
  const match = /^cordillera: ([A-Z_]+): (.*)$/.exec(words ?? '')
  const code = match?.[1]
  if (code === undefined || !Object.hasOwn(errorKinds, code)) {
    return new CordilleraError('UNAVAILABLE', { detail: `node ${number} ended (${reason}); see ${logPath}` })
  }
  return new CordilleraError(code as ErrorCode, { detail: `node ${number}: ${match![2]}` })
}

const LAST_LINES = 5
