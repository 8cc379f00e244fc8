import { Agent } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { LocalCluster } from '../tools/local-cluster.mjs'
import { type Answer, type Sending, send } from './http-client.js'

/**
 * Clients whose promises are checked without a search, over HTTP, through nodes that are killed (those of the simulator
 * do the same in virtual time):
 *
 * - a *writer* writes n to keys of different ranges, one after the other, before it begins with n + 1, so that a
 *   snapshot shows n … n, n-1 … n-1,
 * - *scanners* follow cursors, slowly, each page through another node, and must see such a moment, not before what was
 *   acknowledged when they began,
 * - *counters* increment one key with If-Match under an Idempotency-Key, and repeat what got no answer until it gets one.
 *
 * A part of the answers is thrown away, with its connection. Whatever the API does not promise is a violation.
 */
const KEYS = 8
const COUNTERS = 4
const COUNTER = '5-counter'
const LOST = 0.1

export class PromiseClients {
  readonly violations: string[] = []
  readonly counts = { rounds: 0, snapshots: 0, increments: 0, mismatches: 0, repeated: 0 }
  readonly #urls: readonly string[]
  readonly #agent = new Agent({ keepAlive: true })
  readonly #keys = Array.from({ length: KEYS }, (_, i) => `${(i * (16 / KEYS)).toString(16)}-round`)
  readonly #acknowledged = this.#keys.map(() => 0)
  #begun = 0
  #ids = 0
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(cluster: LocalCluster) {
    this.#urls = cluster.nodes.map(({ url }) => url)
  }

  start(): void {
    const acts = [() => this.#writeRound(), () => this.#scan(), () => this.#scan()]
    for (let i = 0; i < COUNTERS; i++) acts.push(() => this.#increment())
    this.#running = Promise.all(acts.map((act) => this.#run(act)))
  }

  /** Every client finishes what it began. Then the counter must stand at the number of acknowledged increments. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
    const { value } = await this.#read(COUNTER)
    if (Number(value) !== this.counts.increments) {
      this.violations.push(`the counter is at ${value} after ${this.counts.increments} acknowledged increments`)
    }
    this.#agent.destroy()
  }

  async #run(act: () => Promise<void>): Promise<void> {
    try {
      while (!this.#isStopping) await act()
    } catch (error) {
      this.violations.push(error instanceof Error ? error.message : String(error))
    }
  }

  async #writeRound(): Promise<void> {
    const round = ++this.#begun
    for (const [i, key] of this.#keys.entries()) {
      const headers = { 'idempotency-key': this.#newId() }
      await this.#untilAnswered(key, { method: 'PUT', body: `${round}`, headers }, [204])
      this.#acknowledged[i] = round
    }
    this.counts.rounds++
  }

  async #increment(): Promise<void> {
    const { value, etag } = await this.#read(COUNTER)
    const headers = {
      'idempotency-key': this.#newId(),
      ...(etag === undefined ? { 'if-none-match': '*' } : { 'if-match': etag }),
    }
    const body = `${Number(value) + 1}`
    const { status } = await this.#untilAnswered(COUNTER, { method: 'PUT', body, headers }, [204, 412])
    if (status === 204) this.counts.increments++
    else this.counts.mismatches++
  }

  async #read(key: string): Promise<{ value: string; etag: string | undefined }> {
    const { status, body, headers } = await this.#untilAnswered(key, {}, [200, 404])
    return status === 404 ? { value: '0', etag: undefined } : { value: body.toString(), etag: headers.etag }
  }

  async #scan(): Promise<void> {
    const before = [...this.#acknowledged]
    const seen = new Map<string, number>()
    for (let query = 'limit=3'; ; ) {
      const { body } = await this.#untilAnswered(undefined, {}, [200], query)
      const page = JSON.parse(body.toString()) as { entries: { key: string; value: string }[]; cursor?: string }
      for (const { key, value } of page.entries) seen.set(key, Number(value))
      if (page.cursor === undefined) break
      query = `limit=3&cursor=${page.cursor}`
      await pause(Math.random() * 200)
    }
    this.counts.snapshots++
    const cut = this.#keys.map((key) => seen.get(key) ?? 0)
    const isOrdered = cut.every((value, i) => i === 0 || value <= cut[i - 1]!)
    const isWhole = cut[0]! - cut.at(-1)! <= 1
    const isRecent = cut.every((value, i) => value >= before[i]!)
    if (!isOrdered || !isWhole || !isRecent) {
      this.violations.push(`a snapshot shows ${cut}, after ${before} was acknowledged: it is torn, or old`)
    }
  }

  /** The same request, through any node, until its outcome is known. Without a key: the scan. */
  async #untilAnswered(
    key: string | undefined,
    sending: Sending,
    expected: readonly number[],
    query = 'timeoutMs=1000',
  ): Promise<Answer> {
    for (let tries = 0; ; tries++) {
      const base = this.#urls[Math.floor(Math.random() * this.#urls.length)]!
      const target = key === undefined ? `/v1/kv?${query}&timeoutMs=1000` : `/v1/kv/${key}?${query}`
      const answer = await this.#try(base, target, sending)
      if (answer === undefined || [429, 503, 504].includes(answer.status)) {
        await pause(10)
        continue
      }
      if (!expected.includes(answer.status)) throw new Error(`${target}: ${answer.status} ${answer.body}`)
      if (tries > 0 && sending.method === 'PUT') this.counts.repeated++
      return answer
    }
  }

  /** Undefined when the connection was lost, or the answer thrown away. */
  async #try(base: string, target: string, sending: Sending): Promise<Answer | undefined> {
    const isLost = Math.random() < LOST
    try {
      if (!isLost) return await send(base, target, { ...sending, agent: this.#agent })
      await send(base, target, { ...sending, signal: AbortSignal.timeout(Math.floor(Math.random() * 20)) })
    } catch {}
    return undefined
  }

  #newId(): string {
    return `operation-${++this.#ids}`
  }
}
