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
  /** The phase of the write that is due next. */
  #phaseAt = 0
  /** 0 when the loop is closed. */
  #periodMs = 0
  #dueMs = 0
  #isSending = false
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
    this.#phases.push({ beginMs: nowMs, latencies: new Latencies(), maxMs: 0, failures: {} })
    if (periodMs !== this.#periodMs) this.#dueMs = nowMs
    this.#periodMs = periodMs
    this.#isSending = true
    this.pump()
  }

  /** Sends what is due, as far as there are connections. */
  pump() {
    if (!this.#isSending) return
    const nowMs = performance.now()
    if (this.#periodMs === 0) this.#dueMs = nowMs
    while (this.#dueMs <= nowMs && this.#idle.length > 0) {
      while (this.#phases[this.#phaseAt].endMs <= this.#dueMs) this.#phaseAt++
      const connection = this.#idle.shift()
      connection.tag = { phase: this.#phases[this.#phaseAt], dueMs: this.#dueMs }
      connection.put(oneOf(this.#paths), oneOf(this.#values))
      this.#busy++
      this.#dueMs += this.#periodMs
    }
  }

  /** Sends no more, waits for what was sent, and says how the phases went. */
  async finish() {
    const nowMs = performance.now()
    this.#phases.at(-1).endMs = nowMs
    this.#isSending = false
    while (this.#busy > 0 && performance.now() < nowMs + FINISH_MS) await new Promise((done) => setTimeout(done, 10))
    for (const { tag } of this.#connections.filter((one) => !this.#idle.includes(one))) count(tag.phase, 'unanswered')
    for (const connection of this.#connections) connection.close()
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
