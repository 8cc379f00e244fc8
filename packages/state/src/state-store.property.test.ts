import { Buffer } from 'node:buffer'
import { type Key, silentLogger } from '@cordillera/base'
import type { Descriptor, Write } from '@cordillera/ranges'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryEngine } from './memory-engine.js'
import { type ScanRequest, type ScanResult, StateStore } from './state-store.js'
import { ManualClock } from './testing/manual-clock.js'

/**
 * Random histories of a store against a naive twin: one map, a log of all writes, and the cuts that were acknowledged.
 *
 * Flushes take a random number of turns, in which writes, reads, scans, further flushes and crashes happen. Every read
 * and scan equals the twin of its moment; after a crash the replicas are where they all were at one moment, not before
 * what was acknowledged, and the state is exactly what the writes up to there amount to.
 */
type Row = { readonly version: number; readonly value: string }
type Step =
  | { readonly kind: 'apply'; readonly replica: number; readonly writes: readonly (readonly [number, string | null])[] }
  | { readonly kind: 'flush' | 'crash' | 'kill' }
  | { readonly kind: 'turns'; readonly count: number }
  | { readonly kind: 'get'; readonly key: number }
  | { readonly kind: 'scan'; readonly scan: ScanSpec }
interface ScanSpec {
  readonly start: number
  readonly end: number | null
  readonly reverse: boolean
  readonly limit: number
  readonly bytesMax: number
  readonly values: boolean
}

/** Keys of three adjacent ranges; few, so that they are overwritten. */
const KEYS: Key[] = []
for (const prefix of ['a', 'm\x00', 'm\xff']) for (let i = 0; i < 8; i++) KEYS.push(`${prefix}${i}`)
const BOUNDS: readonly (Key | null)[] = ['', 'm', 'm\x80', null]

const descriptors: Descriptor[] = [1, 2, 3].map((id) => ({
  rangeId: id,
  start: BOUNDS[id - 1]!,
  end: BOUNDS[id]!,
  epoch: { version: 1, confVersion: 1 },
  replicas: [{ replicaId: id, nodeId: 1, type: 'voter' }],
}))

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('apply' as const),
      replica: fc.integer({ min: 1, max: 3 }),
      writes: fc.array(fc.tuple(fc.nat(7), fc.option(fc.string({ maxLength: 5 }))), { maxLength: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('turns' as const), count: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('get' as const), key: fc.nat(KEYS.length - 1) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('scan' as const),
      scan: fc.record({
        start: fc.nat(KEYS.length),
        end: fc.option(fc.nat(KEYS.length)),
        reverse: fc.boolean(),
        limit: fc.integer({ min: 1, max: 30 }),
        bytesMax: fc.integer({ min: 0, max: 120 }),
        values: fc.boolean(),
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('crash' as const, 'kill' as const) }) },
)

class History {
  readonly clock = new ManualClock()
  #engine: MemoryEngine
  #store!: StateStore
  readonly #cacheBytesMax: number
  /** Every write ever applied and not lost, by replica: position i is index i + 1. */
  readonly #logs = new Map<number, (readonly (readonly [Key, string | null])[])[]>([1, 2, 3].map((id) => [id, []]))
  #twin = new Map<Key, Row>()
  /** The applied indexes of all replicas at every moment since the last crash. */
  #moments = new Set(['0,0,0'])
  /** What the last flush said to be durable. */
  #acknowledged = [0, 0, 0]
  #wrong: unknown
  /** Scans under way, with what they must return. */
  #scans: { readonly result: Promise<ScanResult>; readonly expected: ScanResult }[] = []

  constructor(writeDelayMs: number, cacheBytesMax: number) {
    this.#engine = new MemoryEngine({ clock: this.clock, writeDelayMs })
    this.#cacheBytesMax = cacheBytesMax
  }

  async open(): Promise<void> {
    const options = {
      engine: this.#engine,
      clock: this.clock,
      logger: silentLogger,
      cacheBytesMax: this.#cacheBytesMax,
    }
    this.#store = await this.clock.until(StateStore.open(options))
    if (this.#store.replicas.size > 0) return
    const applied = { index: 0, term: 0 }
    const added = descriptors.map((descriptor, i) => ({ replicaId: i + 1, descriptor, applied }))
    await this.clock.until(this.#store.createReplicas(added))
  }

  async run(steps: readonly Step[]): Promise<void> {
    await this.open()
    for (const each of steps) await this.#take(each)
    await this.#finishScans()
    await this.clock.until(this.#store.flush())
    expect(this.#indexes()).toEqual([1, 2, 3].map((id) => this.#store.replicas.get(id)!.flushedIndex))
    await this.#crash('crash')
    expect(this.#wrong).toBeUndefined()
    expect(this.#engine.openSnapshots).toBe(0)
  }

  async #take(each: Step): Promise<void> {
    if (each.kind === 'apply') this.#apply(each.replica, each.writes)
    else if (each.kind === 'get') this.#check(KEYS[each.key]!)
    else if (each.kind === 'scan') this.#scan(each.scan)
    else if (each.kind === 'flush') this.#flush()
    else if (each.kind === 'turns') for (let i = 0; i < each.count; i++) await this.#pass()
    else await this.#crash(each.kind)
  }

  #apply(id: number, pairs: readonly (readonly [number, string | null])[]): void {
    const log = this.#logs.get(id)!
    const named = pairs.map(([i, value]) => [KEYS[(id - 1) * 8 + i]!, value] as const)
    log.push(named)
    const writes: Write[] = named.map(([key, value]) => ({
      key,
      value: value === null ? undefined : Buffer.from(value),
    }))
    this.#store.apply(this.#store.replicas.get(id)!, log.length, 1, writes, log.length)
    play(this.#twin, named, log.length)
    this.#moments.add(`${this.#indexes()}`)
  }

  #flush(): void {
    const store = this.#store
    const before = this.#indexes()
    const onFlushed = (flushed: ReadonlyMap<number, number>): void => {
      if (store !== this.#store) return
      this.#acknowledged = [1, 2, 3].map((id) => flushed.get(id)!)
      if (before.some((index, i) => index > this.#acknowledged[i]!)) this.#wrong ??= 'a flush missed what was applied'
      if (!this.#moments.has(`${this.#acknowledged}`)) this.#wrong ??= 'a flush was not one cut'
    }
    store.flush().then(onFlushed, (error) => {
      this.#wrong ??= error
    })
  }

  async #pass(): Promise<void> {
    await this.clock.turn()
    await this.clock.pass(1)
  }

  async #crash(how: 'crash' | 'kill'): Promise<void> {
    await this.#finishScans()
    this.#engine = how === 'crash' ? this.#engine.crash() : this.#engine.kill()
    await this.open()
    const recovered = this.#indexes()
    expect(this.#moments).toContain(`${recovered}`)
    this.#twin = new Map()
    for (const [i, index] of recovered.entries()) {
      expect(index).toBeGreaterThanOrEqual(this.#acknowledged[i]!)
      expect(this.#store.replicas.get(i + 1)!.flushedIndex).toBe(index)
      const log = this.#logs.get(i + 1)!
      log.length = index
      for (const [at, writes] of log.entries()) play(this.#twin, writes, at + 1)
    }
    this.#moments = new Set([`${recovered}`])
    this.#acknowledged = recovered
    for (const key of KEYS) this.#check(key)
    this.#scan({ start: 0, end: null, reverse: false, limit: 100, bytesMax: 10_000, values: true })
    await this.#finishScans()
  }

  #indexes(): number[] {
    return [1, 2, 3].map((id) => this.#store.replicas.get(id)!.appliedIndex)
  }

  #check(key: Key): void {
    const found = this.#store.get(key)
    const row = found && { version: found.version, value: Buffer.from(found.value).toString() }
    expect(row).toEqual(this.#twin.get(key))
  }

  #scan(spec: ScanSpec): void {
    const request: ScanRequest = {
      ...spec,
      start: KEYS[spec.start] ?? '\xff',
      end: spec.end === null ? null : (KEYS[spec.end] ?? '\xff'),
    }
    this.#scans.push({ result: this.#store.scan(request), expected: naiveScan(this.#twin, request) })
  }

  async #finishScans(): Promise<void> {
    for (const { result, expected } of this.#scans)
      expect(readable(await this.clock.until(result))).toEqual(readable(expected))
    this.#scans = []
  }
}

function play(twin: Map<Key, Row>, writes: readonly (readonly [Key, string | null])[], version: number): void {
  for (const [key, value] of writes) {
    if (value === null) twin.delete(key)
    else twin.set(key, { version, value })
  }
}

function naiveScan(twin: ReadonlyMap<Key, Row>, request: ScanRequest): ScanResult {
  const { start, end, reverse, limit, bytesMax, values } = request
  const inside = [...twin].filter(([key]) => key >= start && (end === null || key < end))
  inside.sort(([a], [b]) => (a < b ? -1 : 1))
  if (reverse) inside.reverse()
  const entries = []
  let bytes = 0
  for (const [key, { version, value }] of inside) {
    const returned = Buffer.from(values ? value : '')
    bytes += key.length + returned.length
    if (entries.length > 0 && (entries.length === limit || bytes > bytesMax)) break
    entries.push({ key, version, value: returned })
  }
  return { entries, more: entries.length < inside.length }
}

function readable({ entries, more }: ScanResult): unknown {
  return { rows: entries.map(({ key, version, value }) => `${key}@${version}=${Buffer.from(value)}`), more }
}

describe('a store with any history', () => {
  it('equals its naive twin, before and after every crash', async () => {
    const history = fc.array(step, { maxLength: 120, size: 'max' })
    await fc.assert(
      fc.asyncProperty(history, fc.nat(4), fc.constantFrom(0, 600, 1 << 20), async (steps, delayMs, cacheBytesMax) => {
        await new History(delayMs, cacheBytesMax).run(steps)
      }),
      { numRuns: 400 },
    )
  })
})
