import { Buffer } from 'node:buffer'
import { type Key, silentLogger } from '@cordillera/base'
import { type Descriptor, Write } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { dataKey, memoryKey, replicaRecordKey, STORE_RECORD_KEY } from './engine-keys.js'
import { MemoryEngine } from './memory-engine.js'
import type { ReplicaState } from './replica-catalog.js'
import { type FlushSample, type ScanRequest, StateStore } from './state-store.js'
import { ManualClock } from './testing/manual-clock.js'

/** Two ranges, `[a, m)` as replica 1 and `[m, ∞)` as replica 2, in a store over an engine in memory. */
class Bench {
  readonly clock = new ManualClock()
  readonly samples: FlushSample[] = []
  engine: MemoryEngine
  store!: StateStore

  constructor(writeDelayMs = 0) {
    this.engine = new MemoryEngine({ clock: this.clock, writeDelayMs })
  }

  static async start(writeDelayMs = 0): Promise<Bench> {
    const bench = new Bench(writeDelayMs)
    await bench.open()
    await bench.clock.until(
      bench.store.createReplicas([
        { replicaId: 1, descriptor: descriptor(1, 'a', 'm'), applied: { index: 0, term: 0 } },
        { replicaId: 2, descriptor: descriptor(2, 'm', null), applied: { index: 5, term: 1 } },
      ]),
    )
    return bench
  }

  async open(cacheBytesMax = 1 << 20): Promise<void> {
    const { engine, clock } = this
    const onFlush = (sample: FlushSample): number => this.samples.push(sample)
    this.store = await this.clock.until(
      StateStore.open({ engine, clock, logger: silentLogger, cacheBytesMax, onFlush }),
    )
  }

  async crash(): Promise<void> {
    this.engine = this.engine.crash()
    await this.open()
  }

  replica(id: number): ReplicaState {
    return this.store.replicas.get(id)!
  }

  /** Applies one entry: `key: value`, null to delete. */
  apply(id: number, values: Record<Key, string | null>): void {
    const replica = this.replica(id)
    const version = replica.appliedIndex + 1
    const writes = Object.entries(values).map(([key, value]) =>
      Write.of(key, version, value === null ? undefined : Buffer.from(value)),
    )
    replica.memory.advanceAge(version)
    this.store.apply(replica, version, 3, writes)
  }

  flush(): Promise<ReadonlyMap<number, number>> {
    return this.clock.until(this.store.flush())
  }

  get(key: Key): string | undefined {
    return text(this.store.get(key)?.value)
  }

  async scan(request: Partial<ScanRequest> = {}): Promise<{ entries: string[]; more: boolean }> {
    return readable(await this.clock.until(this.store.scan({ ...everything, ...request })))
  }
}

const everything: ScanRequest = {
  start: '',
  end: null,
  at: 0,
  reverse: false,
  limit: 1000,
  bytesMax: 1 << 20,
  values: true,
}

function descriptor(rangeId: number, start: Key, end: Key | null): Descriptor {
  const replicas = [{ replicaId: rangeId, nodeId: 1, type: 'voter' as const }]
  return { rangeId, start, end, epoch: { version: 1, confVersion: 1 }, replicas }
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value).toString()
}

function readable({ entries, more }: Awaited<ReturnType<StateStore['scan']>>): { entries: string[]; more: boolean } {
  return { entries: entries.map(({ key, version, value }) => `${key}@${version}=${text(value)}`), more }
}

describe('applied entries', () => {
  it('are visible at once, with their version, and move the index', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'one', c: '' })
    expect(bench.store.get('b')).toMatchObject({ version: 1 })
    expect([bench.get('b'), bench.get('c'), bench.get('d')]).toEqual(['one', '', undefined])
    bench.apply(1, { b: null })
    expect(bench.get('b')).toBeUndefined()
    expect(bench.replica(1)).toMatchObject({ appliedIndex: 2, appliedTerm: 3, flushedIndex: 0 })
    expect(bench.replica(2)).toMatchObject({ appliedIndex: 5, appliedTerm: 1, flushedIndex: 5 })
  })

  it('must follow one another, keep their terms and stay in the span', async () => {
    const { store, replica } = await Bench.start().then((bench) => ({ ...bench, replica: bench.replica(2) }))
    const write = [Write.of('z', 5, Buffer.from('x'))]
    expect(() => store.apply(replica, 5, 1, write)).toThrow('one behind the other')
    expect(() => store.apply(replica, 7, 1, write)).toThrow('one behind the other')
    expect(() => store.apply(replica, 6, 0, write)).toThrow('terms')
    expect(() => store.apply(replica, 6, 1, [Write.of('b', 6, undefined)])).toThrow('span')
    expect(() => store.apply({ ...replica }, 6, 1, write)).toThrow('one of this store')
    expect(replica.appliedIndex).toBe(5)
    expect(store.get('z')).toBeUndefined()
  })

  it('survive a crash up to the flushed index and no further', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'flushed', c: 'flushed' })
    bench.apply(2, {})
    expect(Object.fromEntries(await bench.flush())).toEqual({ 1: 1, 2: 6 })
    bench.apply(1, { b: 'lost', c: null, d: 'lost' })
    bench.apply(2, { z: 'lost' })
    await bench.crash()
    expect(bench.replica(1)).toMatchObject({ appliedIndex: 1, appliedTerm: 3, flushedIndex: 1 })
    expect(bench.replica(2)).toMatchObject({ appliedIndex: 6, flushedIndex: 6 })
    expect((await bench.scan()).entries).toEqual(['b@1=flushed', 'c@1=flushed'])
  })
})

describe('a flush', () => {
  it('is one cut: what is applied while it is written belongs to the next', async () => {
    const bench = await Bench.start(10)
    for (let i = 0; i < 600; i++) bench.apply(1, { [`b${i}`]: 'cut' })
    const flush = bench.store.flush()
    await bench.clock.turn()
    expect(bench.store.flushing).toBe(true)
    bench.apply(1, { b0: 'later', b599: 'later', c: 'later' })
    bench.apply(2, { z: 'later' })
    expect([bench.get('b0'), bench.get('b1'), bench.get('z')]).toEqual(['later', 'cut', 'later'])
    expect(Object.fromEntries(await bench.clock.until(flush))).toEqual({ 1: 600, 2: 5 })
    expect(bench.samples.at(-1)).toMatchObject({ entries: 600, replicas: 1 })
    expect(bench.store.unflushedBytes).toBeGreaterThan(0)
    expect([bench.get('b0'), bench.get('b1'), bench.get('z')]).toEqual(['later', 'cut', 'later'])
    await bench.crash()
    expect([bench.get('b0'), bench.get('b599'), bench.get('c'), bench.get('z')]).toEqual([
      'cut',
      'cut',
      undefined,
      undefined,
    ])
    expect(bench.replica(1).appliedIndex).toBe(600)
  })

  it('takes turns with the event loop', async () => {
    const bench = await Bench.start()
    for (let i = 0; i < 2000; i++) bench.apply(1, { [`b${i}`]: 'x' })
    const flush = bench.store.flush()
    for (let turns = 0; turns < 2000 / 300; turns++) {
      expect(bench.engine.get(dataKey('b0'))).toBeUndefined()
      await bench.clock.turn()
    }
    await bench.clock.until(flush)
    expect(text(bench.engine.get(dataKey('b0')))).toContain('x')
  })

  it('is all or nothing when the power fails at any of its turns', async () => {
    for (let turns = 0; turns < 12; turns++) {
      const bench = await Bench.start()
      for (let i = 0; i < 700; i++) bench.apply(1, { [`b${i}`]: 'x' })
      bench.apply(2, { z: 'x' })
      let done = false
      const onFlushed = (): void => {
        done = true
      }
      // The engine is gone under a flush that the crash has caught.
      bench.store.flush().then(onFlushed, () => {})
      for (let i = 0; i < turns; i++) await bench.clock.turn()
      await bench.crash()
      const { entries } = await bench.scan({ values: false })
      expect(entries.length).toBe(done ? 701 : 0)
      expect([bench.replica(1).appliedIndex, bench.replica(2).appliedIndex]).toEqual(done ? [700, 6] : [0, 5])
    }
  })

  it('during another waits, is shared by all who wait, and covers what they applied', async () => {
    const bench = await Bench.start(10)
    bench.apply(1, { b: '1' })
    const first = bench.store.flush()
    await bench.clock.turn()
    bench.apply(1, { b: '2' })
    const second = bench.store.flush()
    bench.apply(2, { z: '2' })
    const third = bench.store.flush()
    expect((await bench.clock.until(first)).get(1)).toBe(1)
    expect(Object.fromEntries(await bench.clock.until(third))).toEqual({ 1: 2, 2: 6 })
    expect(await second).toEqual(await third)
    expect(bench.store.stats.flushes).toBe(2)
  })

  it('with nothing to do writes nothing', async () => {
    const bench = await Bench.start()
    bench.engine.failWrites(new Error('not to be written'))
    expect(Object.fromEntries(await bench.flush())).toEqual({ 1: 0, 2: 5 })
    expect(bench.store.stats.flushes).toBe(0)
  })

  it('that fails stops the store for good and loses nothing before', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'flushed' })
    await bench.flush()
    bench.apply(1, { b: 'unflushed' })
    bench.engine.failWrites(new Error('EIO'))
    const unflushed = bench.store.unflushedBytes
    const failed = expect.objectContaining({ code: 'DISK_FAILED', cause: new Error('EIO') })
    const waiting = bench.store.flush()
    await expect(bench.clock.until(waiting)).rejects.toEqual(failed)
    bench.engine.failWrites(undefined)
    await expect(bench.clock.until(bench.store.flush())).rejects.toEqual(failed)
    await expect(bench.clock.until(bench.store.scan(everything))).rejects.toEqual(failed)
    expect(() => bench.get('b')).toThrow(failed)
    expect(() => bench.apply(1, { b: 'x' })).toThrow(failed)
    await expect(bench.clock.until(bench.store.createReplicas([]))).rejects.toEqual(failed)
    expect(bench.store.unflushedBytes).toBe(unflushed)
    await bench.clock.until(bench.store.close())
    bench.engine = bench.engine.reopen()
    await bench.open()
    expect(bench.get('b')).toBe('flushed')
  })

  it('that fails takes with it what waits behind it', async () => {
    const bench = await Bench.start(10)
    bench.apply(1, { b: 'x' })
    const flush = bench.store.flush()
    const created = bench.store.createReplica(descriptor(3, '', 'a'), 3, { index: 0, term: 0 })
    bench.engine.failWrites(new Error('EIO'))
    await expect(bench.clock.until(flush)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    bench.engine.failWrites(undefined)
    await expect(bench.clock.until(created)).rejects.toMatchObject({ code: 'DISK_FAILED' })
    await bench.crash()
    expect([...bench.store.replicas.keys()]).toEqual([1, 2])
  })

  it('is due by what was applied, overwritten or deleted or not', async () => {
    const bench = await Bench.start()
    const { engine, clock } = bench
    bench.store = await clock.until(StateStore.open({ engine, clock, logger: silentLogger, flushBytes: 10_000 }))
    let before = 0
    for (let i = 0; !bench.store.flushDue; i++) {
      expect(i).toBeLessThan(120)
      bench.apply(1, { b: i % 2 === 0 ? 'x' : null })
      expect(bench.store.unflushedBytes).toBeGreaterThan(before)
      before = bench.store.unflushedBytes
    }
    expect(before).toBeGreaterThanOrEqual(10_000)
    await bench.flush()
    expect(bench.store.unflushedBytes).toBe(0)
    expect(bench.store.flushDue).toBe(false)
  })

  it('writes a key once, however often it was written', async () => {
    const bench = await Bench.start()
    for (let i = 0; i < 50; i++) bench.apply(1, { b: `${i}`, c: i % 2 === 0 ? 'x' : null })
    await bench.flush()
    expect(bench.samples.at(-1)!.entries).toBe(2)
    expect((await bench.scan()).entries).toEqual(['b@50=49'])
  })
})

describe('the cache of what was flushed', () => {
  it('answers reads without the engine, and is always right', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: '1', c: '1', d: '1' })
    await bench.flush()
    bench.apply(1, { b: '2', c: null })
    await bench.flush()
    expect([bench.get('b'), bench.get('c'), bench.get('d')]).toEqual(['2', undefined, '1'])
    expect(bench.store.stats.engineReads).toBe(0)
  })

  it('is bounded in bytes, and never answers with a value that it outlived', async () => {
    const bench = await Bench.start()
    await bench.open(3000)
    for (let round = 0; round < 20; round++) {
      bench.apply(1, { b: `${round}`, [`c${round}`]: 'x'.repeat(round === 10 ? 5000 : 200) })
      await bench.flush()
      expect(bench.get('b')).toBe(`${round}`)
    }
    expect(bench.get('c0')).toBe('x'.repeat(200))
    expect(bench.store.stats.engineReads).toBeGreaterThan(0)
  })
})

describe('a scan', () => {
  it('lays unflushed entries over flushed ones, deletions too, in both directions', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'f', c: 'f', d: 'f' })
    bench.apply(2, { n: 'f' })
    await bench.flush()
    bench.apply(1, { a: 'u', c: null, d: 'u', e: 'u', f: null })
    const expected = ['a@2=u', 'b@1=f', 'd@2=u', 'e@2=u', 'n@6=f']
    expect(await bench.scan()).toEqual({ entries: expected, more: false })
    expect(await bench.scan({ reverse: true })).toEqual({ entries: [...expected].reverse(), more: false })
    expect((await bench.scan({ start: 'b', end: 'e' })).entries).toEqual(['b@1=f', 'd@2=u'])
    expect((await bench.scan({ start: 'b', end: 'e', reverse: true })).entries).toEqual(['d@2=u', 'b@1=f'])
    expect((await bench.scan({ start: 'e', end: 'b' })).entries).toEqual([])
  })

  it('says exactly whether there is more', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'f', c: 'f', d: 'f', e: 'f' })
    await bench.flush()
    bench.apply(1, { bb: 'u', e: null, f: null })
    for (const reverse of [false, true]) {
      expect((await bench.scan({ limit: 3, reverse })).more).toBe(true)
      expect((await bench.scan({ limit: 4, reverse })).more).toBe(false)
      expect((await bench.scan({ limit: 4, reverse })).entries).toHaveLength(4)
    }
    expect((await bench.scan({ end: 'd', limit: 3 })).more).toBe(false)
    expect((await bench.scan({ end: 'd\x00', limit: 3 })).more).toBe(true)
  })

  it('ends a page at bytesMax, but has at least one entry', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: '12345', c: '12345', d: '12345' })
    expect(await bench.scan({ bytesMax: 12 })).toEqual({ entries: ['b@1=12345', 'c@1=12345'], more: true })
    expect((await bench.scan({ bytesMax: 11 })).entries).toHaveLength(1)
    expect((await bench.scan({ bytesMax: 0 })).entries).toHaveLength(1)
    expect(await bench.scan({ bytesMax: 3, values: false })).toEqual({ entries: ['b@1=', 'c@1=', 'd@1='], more: false })
  })

  it('sees the moment of the call: later writes and flushes do not show', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'f', c: 'f' })
    await bench.flush()
    bench.apply(1, { c: 'u', d: 'u' })
    const scan = bench.store.scan(everything)
    bench.apply(1, { a: 'later', b: null, c: 'later', d: null })
    await bench.flush()
    bench.apply(1, { b: 'latest' })
    expect(readable(await bench.clock.until(scan)).entries).toEqual(['b@1=f', 'c@2=u', 'd@2=u'])
  })

  it('leaves no snapshot open, even when it fails', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'f' })
    await bench.flush()
    await bench.scan()
    const batch = bench.engine.batch()
    batch.put(dataKey('c'), Buffer.from('not a stored value'))
    await bench.clock.until(batch.write())
    await expect(bench.scan()).rejects.toMatchObject({ code: 'CORRUPT' })
    expect(bench.engine.openSnapshots).toBe(0)
  })
})

describe('replicas', () => {
  it('are durable once created', async () => {
    const bench = await Bench.start()
    await bench.crash()
    expect([...bench.store.replicas.keys()]).toEqual([1, 2])
    expect(bench.replica(2)).toMatchObject({ descriptor: descriptor(2, 'm', null), appliedIndex: 5, appliedTerm: 1 })
  })

  it('are created all or none, and never with an id or a span that is taken', async () => {
    const bench = await Bench.start()
    const applied = { index: 0, term: 0 }
    const attempts = [
      [{ replicaId: 2, descriptor: descriptor(3, '', 'a'), applied }],
      [{ replicaId: 3, descriptor: descriptor(3, '', 'a\x00'), applied }],
      [3, 4].map((replicaId) => ({ replicaId, descriptor: descriptor(3, '', 'a'), applied })),
      [1, 1].map((_, i) => ({ replicaId: 3, descriptor: descriptor(3, `0${i}`, `0${i + 1}`), applied })),
    ]
    for (const attempt of attempts) {
      await expect(bench.clock.until(bench.store.createReplicas(attempt))).rejects.toThrow(/never/)
    }
    expect([...bench.store.replicas.keys()]).toEqual([1, 2])
    const created = await bench.clock.until(bench.store.createReplica(descriptor(3, '', 'a'), 3, applied))
    expect(bench.replica(3)).toBe(created)
  })

  it('are removed with their data; the neighbours stay, and the id is never used again', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'flushed' })
    await bench.flush()
    bench.apply(1, { c: 'unflushed' })
    bench.apply(2, { m: 'stays' })
    const removed = bench.replica(1)
    const removal = bench.store.removeReplica(removed)
    expect(() => bench.apply(1, { d: 'x' })).toThrow('being removed')
    await bench.clock.until(removal)
    for (const restart of [false, true]) {
      if (restart) await bench.crash()
      expect([...bench.store.replicas.keys()]).toEqual([2])
      expect((await bench.scan()).entries).toEqual(['m@6=stays'])
      expect([bench.get('b'), bench.get('c')]).toEqual([undefined, undefined])
      const again = bench.store.createReplica(descriptor(1, 'a', 'm'), 1, { index: 0, term: 0 })
      await expect(bench.clock.until(again)).rejects.toThrow('never used again')
    }
    const heir = bench.store.createReplica(descriptor(1, 'a', 'm'), 9, { index: 0, term: 0 })
    expect((await bench.clock.until(heir)).replicaId).toBe(9)
  })
})

describe('succession', () => {
  it('makes another replica of one, in one write: the old one, or the new one with all of it', async () => {
    const outcomes = new Set<string>()
    for (let ms = 0; ms < 8; ms++) {
      const bench = await Bench.start()
      bench.apply(1, { b: 'x' })
      const value = bench.get('b')
      const before = bench.replica(1)
      const { appliedIndex, descriptor: is } = before
      const heir = { ...is, epoch: { ...is.epoch, confVersion: 9 } }
      const succession = bench.store.succeedReplica(before, { replicaId: 9, descriptor: heir })
      expect(() => bench.apply(1, { b: 'y' })).toThrow('being removed')
      if (ms === 7) expect(await bench.clock.until(succession)).toMatchObject({ replicaId: 9, appliedIndex })
      else {
        succession.catch(() => {})
        for (let i = 0; i < ms; i++) await bench.clock.turn()
      }
      await bench.crash()
      const { replicas } = bench.store
      outcomes.add([...replicas.keys()].join())
      const now = replicas.get(9)
      if (now === undefined) continue
      expect(now).toMatchObject({ appliedIndex, descriptor: heir })
      expect(bench.get('b')).toBe(value)
      expect(bench.store.mayCreate(1)).toBe(false)
    }
    expect(outcomes).toEqual(new Set(['1,2', '2,9']))
  })
})

describe('opening', () => {
  const spoil = async (change: (engine: MemoryEngine) => [Key, Uint8Array | undefined]): Promise<void> => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'x' })
    await bench.flush()
    const [key, value] = change(bench.engine)
    const batch = bench.engine.batch()
    if (value === undefined) batch.delete(key)
    else batch.put(key, value)
    await bench.clock.until(batch.write())
    await expect(bench.crash()).rejects.toMatchObject({ code: 'CORRUPT' })
    expect(bench.engine.openSnapshots).toBe(0)
  }

  it('notices a record that was altered', () =>
    spoil((engine) => {
      const bytes = engine.get(replicaRecordKey(1))!
      bytes[4]! ^= 1
      return [replicaRecordKey(1), bytes]
    }))

  it('notices a record that is missing', () => spoil(() => [replicaRecordKey(2), undefined]))

  it('notices that a memory of operations was altered', () =>
    spoil((engine) => {
      const bytes = engine.get(memoryKey(1))!
      bytes[1]! ^= 1
      return [memoryKey(1), bytes]
    }))

  it('notices that a memory of operations is missing', () => spoil(() => [memoryKey(1), undefined]))

  it('notices that a memory of operations is older than the record', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'x' })
    await bench.flush()
    const old = bench.engine.get(memoryKey(1))!
    bench.apply(1, { b: 'y' })
    await bench.flush()
    const batch = bench.engine.batch()
    batch.put(memoryKey(1), old)
    await bench.clock.until(batch.write())
    await expect(bench.crash()).rejects.toMatchObject({ code: 'CORRUPT' })
  })

  it('notices a record under the key of another', () =>
    spoil((engine) => [replicaRecordKey(2), engine.get(replicaRecordKey(1))!]))

  it('notices that the record of the store is missing', () => spoil(() => [STORE_RECORD_KEY, undefined]))

  it('notices a record that is older than the last batch, though it is whole', async () => {
    const bench = await Bench.start()
    const old = bench.engine.get(replicaRecordKey(1))!
    bench.apply(1, { b: 'x' })
    await bench.flush()
    const batch = bench.engine.batch()
    batch.put(replicaRecordKey(1), old)
    await bench.clock.until(batch.write())
    await expect(bench.crash()).rejects.toMatchObject({ code: 'CORRUPT' })
  })
})

describe('closing', () => {
  it('flushes, and refuses what comes afterwards', async () => {
    const bench = await Bench.start(5)
    bench.apply(1, { b: 'x' })
    const scan = bench.store.scan(everything)
    const closing = bench.store.close()
    expect(() => bench.get('b')).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    await expect(bench.clock.until(bench.store.flush())).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(bench.clock.until(bench.store.scan(everything))).rejects.toMatchObject({ code: 'CLOSED' })
    await bench.clock.until(closing)
    await bench.store.close()
    expect(readable(await scan).entries).toEqual(['b@1=x'])
    bench.engine = bench.engine.reopen()
    await bench.open()
    expect(bench.get('b')).toBe('x')
  })

  it('waits for the scans that are under way', async () => {
    const bench = await Bench.start()
    for (let i = 0; i < 3500; i++) bench.apply(1, { [`b${i}`]: 'x' })
    await bench.flush()
    const scan = bench.store.scan({ ...everything, limit: 10_000 })
    await bench.clock.until(bench.store.close())
    expect((await scan).entries).toHaveLength(3500)
    expect(bench.engine.openSnapshots).toBe(0)
  })

  it('closes the engine although the last flush fails', async () => {
    const bench = await Bench.start()
    bench.apply(1, { b: 'x' })
    bench.engine.failWrites(new Error('EIO'))
    await expect(bench.clock.until(bench.store.close())).rejects.toMatchObject({ code: 'DISK_FAILED' })
    expect(() => bench.engine.snapshot()).toThrow()
  })
})
