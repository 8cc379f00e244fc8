import { fork } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** A load that goes on in a process of its own (`generator.mjs`) while its owner does things to the cluster. */
const GENERATOR = fileURLToPath(new URL('generator.mjs', import.meta.url))

export class SteadyLoad {
  #child
  #phases = []
  #acknowledged = []
  #failure
  #finished

  /** @param options `addresses` of the nodes to write through, `connections`, `keys`, `valueBytes` */
  static async open(options) {
    const load = new SteadyLoad()
    await load.#open(options)
    return load
  }

  /** From now on writes that are due count for this phase. @param perSec as many as can be, when undefined */
  begin(phase, perSec) {
    this.#phases.push(phase)
    this.#child.send({ kind: 'begin', perSec })
  }

  /** Writes acknowledged that were due in the phase under way. */
  get acknowledged() {
    return this.#acknowledged[this.#phases.length - 1] ?? 0
  }

  /** Rejects when the phase does not get there in time. */
  async untilAcknowledged(writes, timeoutSeconds) {
    const deadlineMs = performance.now() + timeoutSeconds * 1000
    while (this.acknowledged < writes) {
      if (this.#failure !== undefined) throw this.#failure
      if (performance.now() > deadlineMs) {
        throw new Error(`${this.acknowledged} of ${writes} writes are acknowledged after ${timeoutSeconds} s`)
      }
      await pause(20)
    }
  }

  /** Ends the load. The figures of every phase, by name. */
  async finish() {
    this.#child.send({ kind: 'finish' })
    const figures = await this.#finished
    return new Map(this.#phases.map((phase, i) => [phase, figures[i]]))
  }

  kill() {
    this.#child.kill('SIGKILL')
  }

  #open(options) {
    const child = fork(GENERATOR)
    this.#child = child
    return new Promise((resolve, reject) => {
      this.#finished = new Promise((done, failed) => {
        child.on('message', ({ kind, acknowledged, figures }) => {
          if (kind === 'opened') resolve()
          else if (kind === 'progress') this.#acknowledged = acknowledged
          else done(figures)
        })
        child.once('exit', (code) => {
          this.#failure = new Error(`the load generator ended with ${code}`)
          reject(this.#failure)
          failed(this.#failure)
        })
      })
      this.#finished.catch(() => {}) // Whoever waits hears of it.
      child.send({ kind: 'open', ...options })
    })
  }
}
