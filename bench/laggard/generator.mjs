import { randomBytes } from 'node:crypto'
import { KEY_KINDS } from '../keys.mjs'
import { Latencies } from '../latencies.mjs'
import { PutConnection } from './put-connection.mjs'

/**
 * Writes at a fixed rate, whatever the answers do, through phases that somebody else begins: the process behind
 * `steady-load.mjs`.
 *
 * A write has a time at which it is due, and its latency counts from then: what waits for a free connection, because
 * earlier answers are late, waits at the cluster's cost, and in the phase in which it was due. Timers are a millisecond
 * coarse; that is in the latencies too, of all phases alike. Without a rate the loop is closed: each connection writes
 * again as soon as it is answered.
 */
class Generator {
  #paths
  #values
  #idle = []
  #connections
  #phases = []
  /** The phase of the write that is due next: one that has ended still sends what was due in it. */
  #phaseAt = 0
  #dueMs = 0
  #busy = 0

  constructor({ addresses, connections, keys, valueBytes }, onConnected) {
    let missing = connections
    this.#paths = Array.from({ length: keys }, (_, i) => `/v1/kv/${KEY_KINDS.hex(i)}`)
    this.#values = Array.from({ length: VALUES }, () => randomBytes(valueBytes))
    this.#connections = Array.from({ length: connections }, (_, i) => {
      return new PutConnection({
        ...addresses[i % addresses.length],
        valueBytes,
        onConnected: () => --missing === 0 && onConnected(),
        onAnswer: (connection, status) => this.#onAnswer(connection, status),
      })
    })
    this.#idle.push(...this.#connections)
  }

  /** What the phases so far have been answered. */
  get acknowledged() {
    return this.#phases.map(({ latencies }) => latencies.count)
  }

  /** @param perSec undefined closes the loop */
  begin({ perSec }) {
    const nowMs = performance.now()
    const periodMs = perSec === undefined ? 0 : 1000 / perSec
    if (this.#phases.length > 0) this.#phases.at(-1).endMs = nowMs
    else this.#dueMs = nowMs
    this.#phases.push({ beginMs: nowMs, periodMs, latencies: new Latencies(), maxMs: 0, failures: {} })
    this.pump()
  }

  /** Sends what is due, as far as there are connections. */
  pump() {
    const nowMs = performance.now()
    while (this.#idle.length > 0) {
      const phase = this.#phaseOfNext(nowMs)
      if (phase === undefined || this.#dueMs > nowMs) return
      const connection = this.#idle.shift()
      connection.tag = { phase, dueMs: this.#dueMs }
      connection.put(oneOf(this.#paths), oneOf(this.#values))
      this.#busy++
      this.#dueMs += phase.periodMs
    }
  }

  /**
   * The phase of the write that is due next; undefined when there is none any more. A phase with another rate counts from its
   * own beginning; one with the same goes on in step.
   */
  #phaseOfNext(nowMs) {
    for (;;) {
      const phase = this.#phases[this.#phaseAt]
      if (phase === undefined) return undefined
      // In a closed loop a write is due when there is a connection for it.
      if (phase.periodMs === 0) this.#dueMs = nowMs
      if (phase.endMs === undefined || phase.endMs > this.#dueMs) return phase
      const next = this.#phases[++this.#phaseAt]
      if (next === undefined) return undefined
      if (next.periodMs !== phase.periodMs) this.#dueMs = next.beginMs
    }
  }

  /** Sends what was due until now and no more, waits for the answers, and says how the phases went. */
  async finish() {
    const nowMs = performance.now()
    this.#phases.at(-1).endMs = nowMs
    while (performance.now() < nowMs + FINISH_MS && (this.#busy > 0 || this.#phaseOfNext(nowMs) !== undefined)) {
      await new Promise((done) => setTimeout(done, 10))
    }
    for (const { tag } of this.#connections.filter((one) => !this.#idle.includes(one))) count(tag.phase, 'unanswered')
    for (const connection of this.#connections) connection.close()
    for (let phase = this.#phaseOfNext(nowMs); phase !== undefined; phase = this.#phaseOfNext(nowMs)) {
      count(phase, 'unsent')
      this.#dueMs += phase.periodMs
    }
    return this.#phases.map(figuresOf)
  }

  #onAnswer(connection, status) {
    const { phase, dueMs } = connection.tag
    const ms = performance.now() - dueMs
    this.#busy--
    this.#idle.push(connection)
    if (status === 204) {
      phase.latencies.record(ms)
      phase.maxMs = Math.max(phase.maxMs, ms)
    } else {
      count(phase, status === 0 ? 'broken' : `${status}`)
    }
    this.pump()
  }
}

const VALUES = 1024
/** Beyond the deadline that a node gives a request by itself. */
const FINISH_MS = 15_000
const PROGRESS_MS = 100

function count({ failures }, kind) {
  failures[kind] = (failures[kind] ?? 0) + 1
}

function oneOf(items) {
  return items[Math.floor(Math.random() * items.length)]
}

function figuresOf({ beginMs, endMs, latencies, maxMs, failures }) {
  return {
    seconds: (endMs - beginMs) / 1000,
    writes: latencies.count,
    p50Ms: latencies.percentile(50),
    p99Ms: latencies.percentile(99),
    maxMs,
    failures,
  }
}

let generator

process.on('message', async ({ kind, ...message }) => {
  switch (kind) {
    case 'open':
      generator = new Generator(message, () => process.send({ kind: 'opened' }))
      setInterval(() => generator.pump(), 1)
      setInterval(() => process.send({ kind: 'progress', acknowledged: generator.acknowledged }), PROGRESS_MS)
      break
    case 'begin':
      generator.begin(message)
      break
    case 'finish':
      process.send({ kind: 'finished', figures: await generator.finish() }, () => process.exit(0))
  }
})
process.on('disconnect', () => process.exit(0))
