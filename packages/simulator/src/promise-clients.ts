import { Buffer } from 'node:buffer'
import { CordilleraError, type Key, type Random, type Version } from '@cordillera/base'
import type { CordilleraNode } from '@cordillera/node'
import { keyspacePrefix } from '@cordillera/ranges'
import type { SimulatedCluster } from './simulated-cluster.js'
import { hexFraction } from './workload.js'

/**
 * Clients whose promises can be checked without a search, while things go wrong:
 *
 * - a *writer* goes round keys of different ranges and writes n to each, one after the other, before it begins with
 *   n + 1. At any moment the keys are n … n, n-1 … n-1 in that order: a torn snapshot shows something else.
 * - *scanners* read those keys, in one go or as slow cursors, page by page through any node, and see one such moment,
 *   not before what was acknowledged when the snapshot was opened.
 * - *counters* increment one key by conditional writes under an idempotency id, send the same write again until they
 *   know its outcome, and in the end have counted exactly as often as they were told that they had.
 */
export class PromiseClients {
  readonly violations: string[] = []
  readonly counts = { rounds: 0, scans: 0, cursors: 0, expired: 0, increments: 0, repeated: 0, mismatches: 0 }
  readonly #cluster: SimulatedCluster
  readonly #random: Random
  readonly #keys: readonly Key[]
  readonly #counterKey: Key
  /** Of the writer: what each key surely is, at least, and may be, at most. */
  readonly #acknowledged: number[]
  #begun = 0
  #ids = 0
  #operations = 0
  #isStopped = false
  #busy = 0

  constructor(cluster: SimulatedCluster, ranges: number) {
    this.#cluster = cluster
    this.#random = cluster.fork()
    const prefix = keyspacePrefix('default')
    this.#keys = Array.from({ length: ranges }, (_, i) => `${prefix}${hexFraction((i + 0.5) / ranges)}round`)
    this.#counterKey = `${prefix}${hexFraction(0.7)}counter`
    this.#acknowledged = this.#keys.map(() => 0)
  }

  get isIdle(): boolean {
    return this.#busy === 0
  }

  /** Writes, pages and reads that were answered. */
  get operations(): number {
    return this.#operations
  }

  start(): void {
    void this.#run(() => this.#writeRound())
    void this.#run(() => this.#scan(false))
    void this.#run(() => this.#scan(true))
    for (let i = 0; i < 3; i++) void this.#run(() => this.#increment())
  }

  /** What is under way is finished: operations are tried until their outcome is known. */
  stop(): void {
    this.#isStopped = true
  }

  /** When everything is idle and healed. */
  async check(): Promise<void> {
    const { value } = await this.#read(this.#counterKey)
    const counted = value === '' ? 0 : Number(value)
    if (counted !== this.counts.increments) {
      this.violations.push(`the counter is at ${counted} after ${this.counts.increments} acknowledged increments`)
    }
  }

  async #run(act: () => Promise<void>): Promise<void> {
    this.#busy++
    while (!this.#isStopped) {
      await act()
      await this.#pause(this.#random.below(40))
    }
    this.#busy--
  }

  async #writeRound(): Promise<void> {
    const round = ++this.#begun
    for (const [i, key] of this.#keys.entries()) {
      // Under one id: a try of unknown outcome must not take effect when a later round has been written.
      const idempotency = this.#newId()
      for (;;) {
        const answer = await this.#put(key, `${round}`, { idempotency })
        if (!(answer instanceof Error)) break
        await this.#pause(20)
      }
      this.#acknowledged[i] = round
    }
    this.counts.rounds++
  }

  async #scan(isSlow: boolean): Promise<void> {
    const before = [...this.#acknowledged]
    const seen = new Map<Key, number>()
    const [prefix, end] = [keyspacePrefix('default'), `${keyspacePrefix('default')}\xff`]
    let at: Version = 0
    for (let start = prefix; ; ) {
      const deadlineMs = this.#cluster.clock.now() + 2_000
      const plan = { start, end, reverse: false, limit: isSlow ? 2 : 100, bytesMax: 1 << 20, values: true, at }
      const page = await this.#attempt((node) => node.router.scan(plan, deadlineMs))
      if (page === 'lost' || page instanceof Error) {
        // A new snapshot may simply be begun again; one that is open is still there, or has expired.
        if (page instanceof CordilleraError && page.code === 'SNAPSHOT_EXPIRED') {
          this.counts.expired++
          return
        }
        if (this.#isStopped) return
        await this.#pause(30)
        continue
      }
      at = page.at
      for (const { key, value } of page.entries) {
        if (this.#keys.includes(key)) seen.set(key, Number(Buffer.from(value).toString()))
      }
      if (!page.more) break
      start = `${page.entries.at(-1)!.key}\x00`
      if (isSlow) await this.#pause(this.#random.below(300))
    }
    this.counts[isSlow ? 'cursors' : 'scans']++
    this.#checkCut(at, before, seen)
  }

  #checkCut(at: Version, before: readonly number[], seen: ReadonlyMap<Key, number>): void {
    const cut = this.#keys.map((key) => seen.get(key) ?? 0)
    const isOrdered = cut.every((value, i) => i === 0 || value <= cut[i - 1]!)
    const isWhole = cut[0]! - cut.at(-1)! <= 1
    const isRecent = cut.every((value, i) => value >= before[i]!)
    if (isOrdered && isWhole && isRecent) return
    this.violations.push(`a snapshot at ${at} shows ${cut}, after ${before} was acknowledged: it is torn, or old`)
  }

  async #increment(): Promise<void> {
    const { value, version } = await this.#read(this.#counterKey)
    const idempotency = this.#newId()
    const next = `${(value === '' ? 0 : Number(value)) + 1}`
    for (let tries = 0; ; tries++) {
      const answer = await this.#put(this.#counterKey, next, { ifVersion: version, idempotency })
      if (!(answer instanceof Error)) {
        this.counts.increments++
        if (tries > 0) this.counts.repeated++
        return
      }
      if (answer instanceof CordilleraError && answer.code === 'VERSION_MISMATCH') {
        this.counts.mismatches++
        return
      }
      await this.#pause(this.#random.below(50))
    }
  }

  #newId(): Uint8Array {
    const id = Buffer.alloc(32)
    id.writeUInt32LE(++this.#ids)
    return id
  }

  async #read(key: Key): Promise<{ value: string; version: Version }> {
    for (;;) {
      const found = await this.#attempt(
        (node) =>
          new Promise<{ value: string; version: Version }>((resolve, reject) => {
            node.router.get(key, this.#cluster.clock.now() + 1_000, (error, read) => {
              if (error !== undefined) reject(error)
              else
                resolve({
                  value: read === undefined ? '' : Buffer.from(read.value).toString(),
                  version: read?.version ?? 0,
                })
            })
          }),
      )
      if (found !== 'lost' && !(found instanceof Error)) return found
      await this.#pause(20)
    }
  }

  async #put(
    key: Key,
    value: string,
    guard: { ifVersion?: Version; idempotency?: Uint8Array },
  ): Promise<Version | Error> {
    // Short, so that many operations end without an answer.
    const timeoutMs = 30 + this.#random.below(400)
    const answer = await this.#attempt(
      (node) =>
        new Promise<Version>((resolve, reject) => {
          const deadlineMs = this.#cluster.clock.now() + timeoutMs
          node.router.put(
            key,
            Buffer.from(value),
            deadlineMs,
            (error, version) => (error === undefined ? resolve(version) : reject(error)),
            guard,
          )
        }),
    )
    return answer === 'lost' ? new Error('lost') : answer
  }

  /** Through any node that is up; `lost` when it goes down meanwhile, and sometimes though it answered. */
  #attempt<T>(act: (node: CordilleraNode) => Promise<T>): Promise<T | Error | 'lost'> {
    const up = this.#cluster.machines.filter(({ node }) => node !== undefined)
    if (up.length === 0) return Promise.resolve('lost')
    const machine = up[this.#random.below(up.length)]!
    const node = machine.node!
    const isForgotten = this.#random.below(10) === 0 && !this.#isStopped
    const { clock } = this.#cluster
    return new Promise((resolve) => {
      let isOver = false
      const onEnd = (result: T | Error): void => {
        isOver = true
        if (!(result instanceof Error)) this.#operations++
        resolve(isForgotten ? 'lost' : result)
      }
      act(node).then(onEnd, (error) => onEnd(error instanceof Error ? error : new Error(String(error))))
      const watch = (): void => {
        if (isOver) return
        if (machine.runs(node)) clock.after(20, watch)
        else resolve('lost')
      }
      clock.after(20, watch)
    })
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#cluster.clock.after(ms, resolve)
    })
  }
}
