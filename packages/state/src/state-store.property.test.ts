import { Buffer } from 'node:buffer'
import { type Key, silentLogger } from '@cordillera/base'
import { type Descriptor, type VersionedValue, Write } from '@cordillera/ranges'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hasHistory } from './history.js'
import { MemoryEngine } from './memory-engine.js'
import { type ScanRequest, type ScanResult, StateStore } from './state-store.js'
import { ManualClock } from './testing/manual-clock.js'

/**
 * Random histories of a store against a naive twin: one map, a log of all writes, and the cuts that were acknowledged.
 *
 * Flushes take a random number of turns, in which writes, reads, scans, further flushes and crashes happen. Every read
 * and scan, of the newest versions or at a timestamp from the safe point on, equals the twin of its moment; after a crash
 * the replicas are where they all were at one moment, not before what was acknowledged, and the state is exactly what the
 * writes up to there amount to, the memory of operations included. Ranges are cut in two now and then: halves come to be, and
 * are lost in a crash, together.
 */
type Row = { readonly version: number; readonly value: string }
/** Every version of every key, oldest first; null is a deletion. */
type Twin = Map<Key, { readonly version: number; readonly value: string | null }[]>
type Writes = readonly (readonly [Key, string | null, number])[]
/** What an entry does: writes, or a cut, or a merge: with the other replica of it. `ageMs`: what its range remembers behind it. */
interface Applied {
  readonly writes: Writes
  readonly right?: number
  readonly ageMs: number
}
interface Model {
  readonly start: Key
  end: Key | null
  /** Where its log begins, and what the range remembers there. */
  readonly base: number
  readonly baseAgeMs: number
  readonly log: Applied[]
}
type Step =
  | { readonly kind: 'merge'; readonly replica: number }
  | { readonly kind: 'split'; readonly replica: number; readonly key: number }
  | { readonly kind: 'apply'; readonly replica: number; readonly writes: readonly (readonly [number, string | null])[] }
  | { readonly kind: 'flush' | 'crash' | 'kill' }
  | { readonly kind: 'turns'; readonly count: number }
  | { readonly kind: 'get'; readonly key: number; readonly back: number }
  | { readonly kind: 'safe-point'; readonly back: number }
  | { readonly kind: 'scan'; readonly scan: ScanSpec }
interface ScanSpec {
  readonly start: number
  readonly end: number | null
  readonly reverse: boolean
  readonly limit: number
  readonly bytesMax: number
  readonly values: boolean
  /** So far in the past; null for the newest. */
  readonly back: number | null
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
      replica: fc.nat(),
      writes: fc.array(fc.tuple(fc.nat(7), fc.option(fc.string({ maxLength: 5 }))), { maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('split' as const), replica: fc.nat(), key: fc.nat(23) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('merge' as const), replica: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('turns' as const), count: fc.integer({ min: 1, max: 8 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('get' as const), key: fc.nat(KEYS.length - 1), back: fc.nat(40) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('safe-point' as const), back: fc.nat(40) }) },
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
        back: fc.option(fc.nat(40)),
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
  /** Everything ever applied and not lost, by replica. */
  readonly #models = new Map<number, Model>()
  /** Merged away, by those that go on. */
  readonly #gone = new Map<number, Model>()
  #lastId = 3
  #twin: Twin = new Map()
  #version = 0
  /** The applied indexes of all replicas at every moment since the last crash. */
  #moments = new Set<string>()
  /** What the last flush said to be durable. */
  #acknowledged: ReadonlyMap<number, number> = new Map()
  #wrong: unknown
  #isCrashing = false
  /** Scans under way, with what they must return. */
  #scans: { readonly result: Promise<ScanResult>; readonly expected: ScanResult }[] = []

  constructor(writeDelayMs: number, cacheBytesMax: number) {
    this.#engine = new MemoryEngine({ clock: this.clock, writeDelayMs })
    this.#cacheBytesMax = cacheBytesMax
    for (const [i, { start, end }] of descriptors.entries()) {
      this.#models.set(i + 1, { start, end, base: 0, baseAgeMs: 0, log: [] })
    }
    this.#moments.add(textOf(new Map([1, 2, 3].map((id) => [id, 0]))))
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
    await this.#collectAll()
    for (const { appliedIndex, flushedIndex } of this.#store.replicas.values()) expect(flushedIndex).toBe(appliedIndex)
    await this.#crash('crash')
    expect(this.#wrong).toBeUndefined()
    expect(this.#engine.openSnapshots).toBe(0)
  }

  /** With the safe point ahead of everything, the history is empty after a flush. */
  async #collectAll(): Promise<void> {
    this.#store.advanceSafePoint(this.#version + 1)
    this.#apply(1, [])
    await this.clock.until(this.#store.flush())
    const snapshot = this.#engine.snapshot()
    expect(await this.clock.until(hasHistory(snapshot))).toBe(false)
    await snapshot.close()
    for (const key of KEYS) await this.#check(key, this.#version + 1)
  }

  async #take(each: Step): Promise<void> {
    if (each.kind === 'apply') this.#apply(this.#idAt(each.replica), each.writes)
    else if (each.kind === 'split') this.#split(this.#idAt(each.replica), KEYS[each.key]!)
    else if (each.kind === 'merge') this.#merge(this.#idAt(each.replica))
    else if (each.kind === 'get') await this.#check(KEYS[each.key]!, this.#timestamp(each.back))
    else if (each.kind === 'safe-point') this.#store.advanceSafePoint(this.#timestamp(each.back))
    else if (each.kind === 'scan') this.#scan(each.scan)
    else if (each.kind === 'flush') this.#flush()
    else if (each.kind === 'turns') for (let i = 0; i < each.count; i++) await this.#pass()
    else await this.#crash(each.kind)
  }

  #idAt(at: number): number {
    const ids = [...this.#models.keys()]
    return ids[at % ids.length]!
  }

  #apply(id: number, pairs: readonly (readonly [number, string | null])[]): void {
    const model = this.#models.get(id)!
    const keys = KEYS.filter((key) => key >= model.start && (model.end === null || key < model.end))
    const named: Writes =
      keys.length === 0 ? [] : pairs.map(([i, value]) => [keys[i % keys.length]!, value, ++this.#version] as const)
    model.log.push({ writes: named, ageMs: this.#version })
    const writes = named.map(([key, value, version]) =>
      Write.of(key, version, value === null ? undefined : Buffer.from(value)),
    )
    const replica = this.#store.replicas.get(id)!
    replica.memory.advanceAge(this.#version)
    this.#store.apply(replica, lastIndex(model), 1, writes)
    play(this.#twin, named)
    this.#moments.add(textOf(this.#indexes()))
  }

  #split(id: number, key: Key): void {
    const model = this.#models.get(id)!
    if (key <= model.start || (model.end !== null && key >= model.end)) return
    const right = ++this.#lastId
    const replica = this.#store.replicas.get(id)!
    const { descriptor } = replica
    const epoch = { version: descriptor.epoch.version + 1, confVersion: 1 }
    const { ageMs } = replica.memory
    model.log.push({ writes: [], right, ageMs })
    this.#models.set(right, { start: key, end: model.end, base: 1, baseAgeMs: ageMs, log: [] })
    const left = { ...descriptor, end: key, epoch }
    const half = { ...descriptor, rangeId: right, start: key, epoch }
    const created = { replicaId: right, descriptor: half, applied: { index: 1, term: 1 } }
    const state = this.#store.applySplit(replica, lastIndex(model), 1, left, created)
    model.end = key
    expect(state.memory.encode()).toEqual(replica.memory.encode())
    expect(this.#store.mayCreate(right)).toBe(false)
    this.#moments.add(textOf(this.#indexes()))
  }

  /** With its neighbour, if that is durable. */
  #merge(id: number): void {
    const model = this.#models.get(id)!
    const [right] = [...this.#models].find(([, { start }]) => start === model.end) ?? []
    if (right === undefined) return
    const [left, going] = [this.#store.replicas.get(id)!, this.#store.replicas.get(right)!]
    if (going.flushedIndex === 0 && right > descriptors.length) return
    const ageMs = Math.max(left.memory.ageMs, going.memory.ageMs)
    model.log.push({ writes: [], right, ageMs })
    const version = Math.max(left.descriptor.epoch.version, going.descriptor.epoch.version) + 1
    const whole = { ...left.descriptor, end: going.descriptor.end, epoch: { version, confVersion: 1 } }
    this.#store.applyMerge(left, lastIndex(model), 1, whole, going)
    model.end = whole.end
    this.#gone.set(right, this.#models.get(right)!)
    this.#models.delete(right)
    expect([this.#store.mayCreate(right), this.#store.replicas.has(right)]).toEqual([false, false])
    this.#moments.add(textOf(this.#indexes()))
  }

  /** A timestamp that may be read at. */
  #timestamp(back: number): number {
    return Math.max(1, this.#store.safePoint, this.#version + 1 - back)
  }

  #flush(): void {
    const store = this.#store
    const before = this.#indexes()
    const onFlushed = (flushed: ReadonlyMap<number, number>): void => {
      if (store !== this.#store) return
      this.#acknowledged = flushed
      for (const [id, index] of before) {
        if (index > (flushed.get(id) ?? index)) this.#wrong ??= 'a flush missed what was applied'
      }
      // A half that came to be behind the cut has not been flushed at all.
      const cut = new Map([...flushed].filter(([id, index]) => id <= descriptors.length || index > 0))
      if (!this.#wasMoment(cut)) this.#wrong ??= 'a flush was not one cut'
    }
    store.flush().then(onFlushed, (error) => {
      // Of a store whose engine has crashed under it nothing is expected.
      if (store === this.#store && !this.#isCrashing) this.#wrong ??= error
    })
  }

  async #pass(): Promise<void> {
    await this.clock.turn()
    await this.clock.pass(1)
  }

  async #crash(how: 'crash' | 'kill'): Promise<void> {
    await this.#finishScans()
    this.#isCrashing = true
    this.#engine = how === 'crash' ? this.#engine.crash() : this.#engine.kill()
    await this.open()
    this.#isCrashing = false
    const recovered = this.#indexes()
    expect(this.#moments).toContain(textOf(recovered))
    for (const [id, index] of this.#acknowledged) {
      if (index > 0 && !this.#gone.has(id)) expect(recovered.get(id)).toBeGreaterThanOrEqual(index)
    }
    for (const [id, model] of [...this.#models, ...this.#gone]) {
      const isThere = recovered.has(id)
      const wasLost = !isThere && this.#models.delete(id)
      if (!isThere) continue
      // Not merged after all.
      this.#gone.delete(id)
      this.#models.set(id, model)
      expect(wasLost).toBe(false)
    }
    const entries: Applied[] = [...this.#gone.values()].flatMap(({ log }) => log)
    for (const [id, model] of this.#models) {
      const { descriptor, flushedIndex, appliedIndex, memory } = this.#store.replicas.get(id)!
      expect(flushedIndex).toBe(appliedIndex)
      model.log.length = appliedIndex - model.base
      model.end = descriptor.end
      expect(descriptor.start).toBe(model.start)
      expect(memory.ageMs).toBe(model.log.at(-1)?.ageMs ?? model.baseAgeMs)
      entries.push(...model.log)
    }
    this.#twin = new Map()
    const writes = entries.flatMap((one) => one.writes)
    play(
      this.#twin,
      writes.sort(([, , one], [, , other]) => one - other),
    )
    this.#moments = new Set([textOf(recovered)])
    this.#acknowledged = recovered
    for (const key of KEYS) await this.#check(key, this.#timestamp(20))
    for (const back of [null, 0, 20]) {
      this.#scan({ start: 0, end: null, reverse: false, limit: 100, bytesMax: 10_000, values: true, back })
    }
    await this.#finishScans()
  }

  /** Of those that are still there: what has merged since the cut was in it as well. */
  #wasMoment(cut: ReadonlyMap<number, number>): boolean {
    const isOf = (moment: string): boolean => {
      const places = moment.split(' ').map((place) => place.split(':').map(Number) as [number, number])
      return textOf(new Map(places.filter(([id]) => cut.has(id) || !this.#gone.has(id)))) === textOf(cut)
    }
    return [...this.#moments].some(isOf)
  }

  #indexes(): Map<number, number> {
    return new Map(Array.from(this.#store.replicas, ([id, { appliedIndex }]) => [id, appliedIndex]))
  }

  async #check(key: Key, at: number): Promise<void> {
    expect(readableRow(this.#store.get(key))).toEqual(rowAt(this.#twin, key, 0))
    expect(this.#store.versionOf(key)).toBe(rowAt(this.#twin, key, 0)?.version ?? 0)
    const expected = rowAt(this.#twin, key, at)
    const found = this.#store.getAt(key, at)
    expect(readableRow(found instanceof Promise ? await this.clock.until(found) : found)).toEqual(expected)
  }

  #scan(spec: ScanSpec): void {
    const request: ScanRequest = {
      ...spec,
      start: KEYS[spec.start] ?? '\xff',
      end: spec.end === null ? null : (KEYS[spec.end] ?? '\xff'),
      at: spec.back === null ? 0 : this.#timestamp(spec.back),
    }
    this.#scans.push({ result: this.#store.scan(request), expected: naiveScan(this.#twin, request) })
  }

  async #finishScans(): Promise<void> {
    for (const { result, expected } of this.#scans)
      expect(readable(await this.clock.until(result))).toEqual(readable(expected))
    this.#scans = []
  }
}

function lastIndex({ base, log }: Model): number {
  return base + log.length
}

function textOf(indexes: ReadonlyMap<number, number>): string {
  return [...indexes]
    .sort(([a], [b]) => a - b)
    .map(([id, index]) => `${id}:${index}`)
    .join(' ')
}

function play(twin: Twin, writes: Writes): void {
  for (const [key, value, version] of writes) {
    const versions = twin.get(key)
    if (versions === undefined) twin.set(key, [{ version, value }])
    else versions.push({ version, value })
  }
}

function rowAt(twin: Twin, key: Key, at: number): Row | undefined {
  const row = twin.get(key)?.findLast(({ version }) => at === 0 || version <= at)
  return row === undefined || row.value === null ? undefined : { version: row.version, value: row.value }
}

function readableRow(found: VersionedValue | undefined): Row | undefined {
  return found && { version: found.version, value: Buffer.from(found.value).toString() }
}

function naiveScan(twin: Twin, request: ScanRequest): ScanResult {
  const { start, end, reverse, limit, bytesMax, values } = request
  const inside: [Key, Row][] = []
  for (const key of twin.keys()) {
    const row = key >= start && (end === null || key < end) ? rowAt(twin, key, request.at) : undefined
    if (row !== undefined) inside.push([key, row])
  }
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
