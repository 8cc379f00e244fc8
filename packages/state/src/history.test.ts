import { Buffer } from 'node:buffer'
import { type Key, silentLogger } from '@cordillera/base'
import { type Descriptor, type VersionedValue, Write } from '@cordillera/ranges'
import { describe, expect, it, vi } from 'vitest'
import { HISTORY } from './engine-keys.js'
import { MemoryEngine } from './memory-engine.js'
import type { ReplicaState } from './replica-catalog.js'
import { StateStore } from './state-store.js'
import { ManualClock } from './testing/manual-clock.js'

const descriptor: Descriptor = {
  rangeId: 1,
  start: '',
  end: null,
  epoch: { version: 1, confVersion: 1 },
  replicas: [{ replicaId: 1, nodeId: 1, type: 'voter' }],
}
const everything = { start: '', end: null, reverse: false, limit: 1000, bytesMax: 1 << 20, values: true }

/** One replica over everything; versions are given. */
class Past {
  readonly clock = new ManualClock()
  engine = new MemoryEngine({ clock: this.clock })
  store!: StateStore

  static async start(): Promise<Past> {
    const past = new Past()
    await past.open()
    await past.clock.until(past.store.createReplica(descriptor, 1, { index: 0, term: 0 }))
    return past
  }

  async open(): Promise<void> {
    const { engine, clock } = this
    // Without a cache, what was flushed is in the engine alone.
    this.store = await clock.until(StateStore.open({ engine, clock, logger: silentLogger, cacheBytesMax: 0 }))
  }

  get replica(): ReplicaState {
    return this.store.replicas.get(1)!
  }

  write(version: number, key: Key, value: string | null): void {
    const bytes = value === null ? undefined : Buffer.from(value)
    this.store.apply(this.replica, this.replica.appliedIndex + 1, 1, [Write.of(key, version, bytes)])
  }

  async flush(): Promise<void> {
    await this.clock.until(this.store.flush())
  }

  async at(key: Key, timestamp: number): Promise<string | undefined> {
    const found = this.store.getAt(key, timestamp)
    const value: VersionedValue | undefined = found instanceof Promise ? await this.clock.until(found) : found
    return value && Buffer.from(value.value).toString()
  }

  async scan(at: number, reverse = false): Promise<string[]> {
    const { entries } = await this.clock.until(this.store.scan({ ...everything, at, reverse }))
    return entries.map(({ key, version, value }) => `${key}@${version}=${Buffer.from(value)}`)
  }

  /** Older versions in the engine. */
  async records(): Promise<number> {
    const snapshot = this.engine.snapshot()
    const iterator = snapshot.iterate({ ...HISTORY, reverse: false })
    let count = 0
    for (;;) {
      const { length } = await this.clock.until(iterator.next(1000))
      if (length === 0) break
      count += length
    }
    await iterator.close()
    await snapshot.close()
    return count
  }
}

/** What iterators of the engine return from now on. */
function countRows(engine: MemoryEngine): { readonly read: number } {
  const rows = { read: 0 }
  const open = engine.snapshot.bind(engine)
  vi.spyOn(engine, 'snapshot').mockImplementation(() => {
    const snapshot = open()
    return {
      iterate: (span) => {
        const iterator = snapshot.iterate(span)
        return {
          next: async (count) => {
            const chunk = await iterator.next(count)
            rows.read += chunk.length
            return chunk
          },
          close: () => iterator.close(),
        }
      },
      close: () => snapshot.close(),
    }
  })
  return rows
}

describe('older versions', () => {
  it('are seen from where the safe point is, before, during and after flushes and a crash', async () => {
    const past = await Past.start()
    past.write(10, 'a', 'one')
    past.write(11, 'b', 'keeps')
    await past.flush()
    past.write(20, 'a', 'two')
    past.write(30, 'a', null)
    past.write(40, 'a\x00', 'other')
    const seen = async (): Promise<void> => {
      const versions: (string | undefined)[] = []
      for (const timestamp of [9, 10, 19, 20, 29, 30, 99]) versions.push(await past.at('a', timestamp))
      expect(versions).toEqual([undefined, 'one', 'one', 'two', 'two', undefined, undefined])
      expect(await past.scan(15)).toEqual(['a@10=one', 'b@11=keeps'])
      expect(await past.scan(25)).toEqual(['a@20=two', 'b@11=keeps'])
      expect(await past.scan(40)).toEqual(['a\x00@40=other', 'b@11=keeps'])
      expect(await past.scan(25, true)).toEqual(['b@11=keeps', 'a@20=two'])
    }
    await seen()
    await past.flush()
    expect(await past.records()).toBe(2)
    await seen()
    past.engine = past.engine.crash()
    await past.open()
    await seen()
  })

  it('that a page does not see are not read beyond the page', async () => {
    const past = await Past.start()
    const keyOf = (i: number): Key => `k${`${i}`.padStart(4, '0')}`
    for (let i = 0; i < 5_000; i++) past.write(i + 1, keyOf(i), 'first')
    await past.flush()
    for (let i = 0; i < 5_000; i++) past.write(10_000 + i, keyOf(i), 'second')
    await past.flush()
    expect(await past.records()).toBe(5_000)
    const rows = countRows(past.engine)
    for (const reverse of [false, true]) {
      const { entries } = await past.clock.until(past.store.scan({ ...everything, at: 20_000, limit: 10, reverse }))
      const expected = Array.from({ length: 10 }, (_, i) => keyOf(reverse ? 4_999 - i : i))
      expect(entries.map(({ key }) => key)).toEqual(expected)
    }
    expect(rows.read).toBeLessThan(100)
  })

  it('are not looked up, nor kept, when the safe point has passed what supersedes them', async () => {
    const past = await Past.start()
    past.write(10, 'a', 'one')
    await past.flush()
    past.write(20, 'a', 'two')
    past.store.advanceSafePoint(20)
    const look = vi.spyOn(past.engine, 'get')
    await past.flush()
    expect(look).not.toHaveBeenCalled()
    expect(await past.records()).toBe(0)
    expect(await past.at('a', 20)).toBe('two')
  })

  it('are collected once the safe point has passed them, in rounds that end', async () => {
    const past = await Past.start()
    for (let i = 0; i < 30_000; i++) past.write(i + 1, `k${i}`, 'first')
    await past.flush()
    for (let i = 0; i < 30_000; i++) past.write(40_000 + i, `k${i}`, 'second')
    await past.flush()
    expect(await past.records()).toBe(30_000)
    past.store.advanceSafePoint(45_000)
    for (let round = 0; round < 3; round++) {
      past.write(80_000 + round, 'z', 'x')
      await past.flush()
    }
    expect(await past.records()).toBe(30_000 - 5_001 + 2)
    expect(await past.at('k29999', 50_000)).toBe('first')
    past.store.advanceSafePoint(90_000)
    for (let round = 0; round < 3; round++) {
      past.write(100_000 + round, 'z', 'x')
      await past.flush()
    }
    expect(await past.records()).toBeLessThanOrEqual(3)
  })

  it('go with their replica', async () => {
    const past = await Past.start()
    past.write(10, 'a', 'one')
    past.write(20, 'a', 'two')
    await past.flush()
    expect(await past.records()).toBe(1)
    await past.clock.until(past.store.removeReplica(past.replica))
    expect(await past.records()).toBe(0)
  })

  it('take memory for the window of the safe point alone, however often a key is overwritten', async () => {
    const past = await Past.start()
    past.write(1, 'hot', 'x')
    for (let version = 2; version < 20_000; version++) {
      if (version % 100 === 0) past.store.advanceSafePoint(version - 500)
      past.write(version, 'hot', 'x')
    }
    const { safePoint } = past.store
    await past.flush()
    // What the window holds, and not more: the chain was cut on the way.
    expect(await past.records()).toBe(19_999 - safePoint)
  })
})

describe('the safe point', () => {
  it('never goes back, and is durable with the next flush', async () => {
    const past = await Past.start()
    past.store.advanceSafePoint(7)
    past.store.advanceSafePoint(5)
    expect(past.store.safePoint).toBe(7)
    past.write(10, 'a', 'x')
    await past.flush()
    past.store.advanceSafePoint(9)
    past.engine = past.engine.crash()
    await past.open()
    expect(past.store.safePoint).toBe(7)
  })

  it('bounds the database: an hour of overwriting 10,000 keys stays within 3× of the live data and its window', async () => {
    const past = await Past.start()
    const keys = 10_000
    const value = 'v'.repeat(100)
    const live = keys * (6 + 8 + value.length)
    // A flush every 30 s for an hour, at 1,000 writes/s; the safe point is 2 s behind.
    const window = 2_000 * (6 + 16 + 15 + value.length)
    let version = 0
    let largest = 0
    for (let flush = 0; flush < 120; flush++) {
      for (let i = 0; i < 30_000; i += 3) {
        version += 3
        past.write(version, `k${String((version * 7) % keys).padStart(5, '0')}`, value)
        if (i % 999 === 0) past.store.advanceSafePoint(version - 2_000)
      }
      await past.flush()
      largest = Math.max(largest, await past.engine.approximateBytes({ start: '', end: '\xff' }))
    }
    expect(version).toBe(3_600_000)
    expect(past.store.stats.historyFlushed).toBeGreaterThan(1_000)
    expect(largest).toBeLessThan(3 * live + window)
  }, 60_000)
})
