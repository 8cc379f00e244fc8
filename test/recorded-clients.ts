import { Agent } from 'node:http'
import type { Operation } from '@cordillera/simulator'
import type { LocalCluster } from '../tools/local-cluster.mjs'
import { type Answer, NotSent, send } from './http-client.js'

/**
 * Clients that read and write a few keys through all nodes, and write down what they asked and were told.
 *
 * An operation that was surely not done is left out of the history. A write whose outcome is unknown stays in it without
 * an end, and its client goes on under another number, because a client has one operation at a time. Beside the shared
 * keys every client writes keys of its own, once each: their acknowledged values must be there at the end, whatever the
 * shared keys show. Any other answer than the API promises ends the clients with an error.
 */
const SHARED_KEYS = 48
/** A request to a node that is down or without a majority gives up soon, so that clients move on. */
const TIMEOUT_MS = 2_000

export class RecordedClients {
  readonly history: Operation[] = []
  /** Keys that were written once, with the acknowledged values. */
  readonly kept = new Map<string, string>()
  /** How long each answered write took, since {@link takeWriteMs}. */
  #writeMs: number[] = []
  readonly #urls: readonly string[]
  readonly #count: number
  readonly #agent = new Agent({ keepAlive: true })
  #acknowledgedWrites = 0
  #unknownWrites = 0
  /** Operations that were refused, or not sent at all: what was said, and when. */
  readonly unserved: string[] = []
  #clients = 0
  #values = 0
  #stopping = false
  #running: Promise<unknown> = Promise.resolve()
  #failure: Error | undefined

  constructor(cluster: Pick<LocalCluster, 'nodes'>, count = 8) {
    this.#urls = cluster.nodes.map(({ url }) => url)
    this.#count = count
  }

  get acknowledgedWrites(): number {
    this.#throwFailure()
    return this.#acknowledgedWrites
  }

  get unknownWrites(): number {
    return this.#unknownWrites
  }

  /** In ascending order. */
  takeWriteMs(): number[] {
    const taken = this.#writeMs.sort((a, b) => a - b)
    this.#writeMs = []
    return taken
  }

  /** The shared keys, spread over all ranges. */
  get keys(): readonly string[] {
    return Array.from({ length: SHARED_KEYS }, (_, i) => sharedKey(i))
  }

  start(): void {
    this.#running = Promise.all(
      Array.from({ length: this.#count }, () =>
        this.#run().catch((error: Error) => {
          this.#failure ??= error
        }),
      ),
    )
  }

  /** Resolves when every client has had its last answer. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#running
    this.#agent.destroy()
    this.#throwFailure()
  }

  /** Reads a shared key through a node into the history, as a client of its own; the answer must be a certain one. */
  async readBack(base: string, key: string): Promise<void> {
    const invokedAt = performance.now()
    const answer = await send(base, `/v1/kv/${key}`)
    const value = valueTold(answer)
    this.#record({ client: ++this.#clients, key, kind: 'get', value, invokedAt, returnedAt: performance.now() })
  }

  async #run(): Promise<void> {
    let client = ++this.#clients
    while (!this.#stopping) {
      const url = oneOf(this.#urls)
      const isCertain = Math.random() < 0.2 ? await this.#keep(url) : await this.#operate(client, url)
      if (!isCertain) client = ++this.#clients
    }
  }

  /** Writes a key that is never written again. */
  async #keep(url: string): Promise<boolean> {
    const value = this.#nextValue()
    const key = `${sharedKey(this.#values % SHARED_KEYS)}-${value}`
    const outcome = await this.#ask(url, key, { method: 'PUT', body: value })
    if (outcome.kind === 'done') {
      this.kept.set(key, value)
      this.#acknowledgedWrites++
    }
    return outcome.kind !== 'unknown'
  }

  /** One operation on a shared key. False when its outcome is unknown. */
  async #operate(client: number, url: string): Promise<boolean> {
    const key = sharedKey(Math.floor(Math.random() * SHARED_KEYS))
    const kind = oneOf(['put', 'put', 'put', 'delete', 'get', 'get'] as const)
    const value = kind === 'put' ? this.#nextValue() : null
    const invokedAt = performance.now()
    const outcome = await this.#ask(url, key, { method: METHODS[kind], ...(value !== null && { body: value }) })
    if (outcome.kind === 'nothing') return true
    if (outcome.kind === 'unknown') {
      if (kind === 'get') return true
      this.#unknownWrites++
      this.#record({ client, key, kind, value, invokedAt, returnedAt: Number.POSITIVE_INFINITY })
      return false
    }
    const told = kind === 'get' ? valueTold(outcome.answer) : value
    this.#record({ client, key, kind, value: told, invokedAt, returnedAt: performance.now() })
    if (kind !== 'get') this.#acknowledgedWrites++
    return true
  }

  async #ask(url: string, key: string, sending: { method: string; body?: string }): Promise<Outcome> {
    let answer: Answer
    const invokedAt = performance.now()
    try {
      answer = await send(url, `/v1/kv/${key}?timeoutMs=${TIMEOUT_MS}`, { ...sending, agent: this.#agent })
    } catch (error) {
      if (!(error instanceof NotSent)) return { kind: 'unknown' }
      this.#onUnserved(key, String(error))
      return { kind: 'nothing' }
    }
    if (answer.status === 503 || answer.status === 429) {
      this.#onUnserved(key, answer.body.toString('utf8'))
      return { kind: 'nothing' }
    }
    if (answer.status === 504 && answer.code === 'OUTCOME_UNKNOWN') return { kind: 'unknown' }
    const isExpected = sending.method === 'GET' ? [200, 404].includes(answer.status) : answer.status === 204
    if (!isExpected) throw new Error(`${sending.method} ${key}: ${answer.status} ${answer.body}`)
    if (sending.method !== 'GET') this.#writeMs.push(performance.now() - invokedAt)
    return { kind: 'done', answer }
  }

  #onUnserved(key: string, why: string): void {
    this.unserved.push(`${new Date().toISOString()} ${key}: ${why}`)
  }

  #nextValue(): string {
    return `${++this.#values}`
  }

  #record(operation: Operation): void {
    this.history.push(operation)
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure
  }
}

/** `nothing`: it surely had no effect. */
type Outcome = { kind: 'done'; answer: Answer } | { kind: 'nothing' } | { kind: 'unknown' }

const METHODS = { put: 'PUT', delete: 'DELETE', get: 'GET' } as const

function valueTold(answer: Answer): string | null {
  if (answer.status === 404) return null
  if (answer.status !== 200) throw new Error(`GET: ${answer.status} ${answer.body}`)
  return answer.body.toString('utf8')
}

/** Keys begin with every hex digit in turn, and so fall into every initial range. */
function sharedKey(i: number): string {
  return `${(i % 16).toString(16)}-${i}`
}

function oneOf<T>(items: readonly T[]): T {
  return items[Math.floor(Math.random() * items.length)]!
}
