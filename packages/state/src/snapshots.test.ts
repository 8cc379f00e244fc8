import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { type Key, silentLogger } from '@cordillera/base'
import { type Descriptor, STORED_VALUE_HEADER_BYTES, Write, writeStoredValue } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { dataKey, replicaRecordKey, STAGED, stagedKey } from './engine-keys.js'
import { MemoryEngine } from './memory-engine.js'
import type { ReplicaState } from './replica-catalog.js'
import { CHUNK_BYTES, SnapshotColumn, SnapshotEncoder } from './snapshot-codec.js'
import { StateStore } from './state-store.js'
import { ManualClock } from './testing/manual-clock.js'

/** A store with replicas of `[a, m)` and `[m, ∞)`, by their ids; 0: it has none. */
class Bench {
  readonly clock = new ManualClock()
  engine = new MemoryEngine({ clock: this.clock, writeDelayMs: 1 })
  store!: StateStore

  static async start(left: number, right: number): Promise<Bench> {
    const bench = new Bench()
    await bench.open()
    const applied = { index: 0, term: 0 }
    const added = [
      { replicaId: left, descriptor: leftRange, applied },
      { replicaId: right, descriptor: rightRange, applied },
    ]
    await bench.clock.until(bench.store.createReplicas(added.filter(({ replicaId }) => replicaId > 0)))
    return bench
  }

  async open(): Promise<void> {
    const { engine, clock } = this
    this.store = await this.clock.until(StateStore.open({ engine, clock, logger: silentLogger }))
  }

  async crash(how: 'crash' | 'kill' = 'crash'): Promise<void> {
    this.engine = this.engine[how]()
    await this.open()
  }

  replica(id: number): ReplicaState {
    return this.store.replicas.get(id)!
  }

  apply(id: number, version: number, values: Record<Key, string | null>): void {
    const replica = this.replica(id)
    const writes = Object.entries(values).map(([key, value]) =>
      Write.of(key, version, value === null ? undefined : Buffer.from(value)),
    )
    replica.memory.advanceAge(version)
    this.store.apply(replica, replica.appliedIndex + 1, 3, writes)
  }

  /** All chunks of a snapshot of the replica. */
  async chunks(id: number): Promise<Uint8Array[]> {
    const snapshot = await this.clock.until(this.store.openSnapshot(this.replica(id)))
    const chunks: Uint8Array[] = []
    for (;;) {
      const chunk = await this.clock.until(snapshot.next())
      if (chunk === undefined) break
      chunks.push(chunk)
    }
    await snapshot.close()
    return chunks
  }

  async install(id: number, chunks: readonly Uint8Array[]): Promise<ReplicaState> {
    const staged = this.store.stageSnapshot(id)
    for (const chunk of chunks) await this.clock.until(staged.add(chunk))
    return this.clock.until(this.store.installSnapshot(staged))
  }

  async rows(at = 0): Promise<string[]> {
    const limits = { reverse: false, limit: 1_000, bytesMax: 1 << 20, values: true }
    const { entries } = await this.clock.until(this.store.scan({ start: '', end: null, at, ...limits }))
    return entries.map(({ key, version, value }) => `${key}@${version}=${Buffer.from(value)}`)
  }

  async stagedCount(): Promise<number> {
    const snapshot = this.engine.snapshot()
    const iterator = snapshot.iterate({ ...STAGED, reverse: false })
    const { length } = await this.clock.until(iterator.next(1_000))
    await iterator.close()
    await snapshot.close()
    return length
  }
}

const leftRange = descriptor(7, 'a', 'm')
const rightRange = descriptor(8, 'm', null)

function descriptor(rangeId: number, start: Key, end: Key | null): Descriptor {
  const replicas = [{ replicaId: rangeId, nodeId: 1, type: 'voter' as const }]
  return { rangeId, start, end, epoch: { version: 1, confVersion: 1 }, replicas }
}

/** A store whose left range was written at 10, 20 and 30, with history, and its snapshot. */
async function source(): Promise<{ bench: Bench; chunks: Uint8Array[] }> {
  const bench = await Bench.start(1, 2)
  bench.apply(1, 10, { b: 'old', c: 'gone later' })
  await bench.clock.until(bench.store.flush())
  bench.apply(1, 20, { b: 'new', c: null, 'd\x00e': '' })
  bench.apply(2, 25, { z: 'of another range' })
  bench.apply(1, 30, { f: 'x' })
  return { bench, chunks: await bench.chunks(1) }
}

describe('a snapshot of a range', () => {
  it('has everything applied before it, its history and its memory, for a store that has nothing', async () => {
    const { bench, chunks } = await source()
    const other = await Bench.start(0, 9)
    other.apply(9, 5, { y: 'stays' })
    const replica = await other.install(4, chunks)
    expect(replica).toMatchObject({ replicaId: 4, appliedIndex: 3, appliedTerm: 3, flushedIndex: 3 })
    expect(replica.descriptor).toEqual(leftRange)
    expect(replica.memory.ageMs).toBe(bench.replica(1).memory.ageMs)
    for (const at of [0, 30]) expect(await other.rows(at)).toEqual(['b@20=new', 'd\x00e@20=', 'f@30=x', 'y@5=stays'])
    expect(await other.rows(15)).toEqual(['b@10=old', 'c@10=gone later', 'y@5=stays'])
    other.apply(4, 40, { b: 'newer' })
    await other.clock.until(other.store.flush())
    await other.crash()
    expect(await other.rows()).toEqual(['b@40=newer', 'd\x00e@20=', 'f@30=x', 'y@5=stays'])
    expect(other.replica(4)).toMatchObject({ appliedIndex: 4 })
    expect(await other.stagedCount()).toBe(0)
  })

  it('takes the place of all that a replica had, flushed or not', async () => {
    const { chunks } = await source()
    const other = await Bench.start(4, 9)
    other.apply(4, 3, { a: 'flushed', b: 'flushed' })
    other.apply(9, 5, { y: 'stays' })
    await other.clock.until(other.store.flush())
    other.apply(4, 4, { e: 'not flushed' })
    expect(other.store.get('e')).toBeDefined()
    const replica = other.replica(4)
    expect(await other.install(4, chunks)).toBe(replica)
    expect(replica).toMatchObject({ appliedIndex: 3, flushedIndex: 3 })
    expect([other.store.get('a'), other.store.get('e'), other.store.versionOf('b')]).toEqual([undefined, undefined, 20])
    expect(await other.rows()).toEqual(['b@20=new', 'd\x00e@20=', 'f@30=x', 'y@5=stays'])
    await other.crash()
    expect(await other.rows()).toEqual(['b@20=new', 'd\x00e@20=', 'f@30=x', 'y@5=stays'])
  })

  it('leaves a store that can be opened when it is the first thing a store is given and the process dies', async () => {
    const { chunks } = await source()
    const other = new Bench()
    await other.open()
    await other.clock.until(other.store.stageSnapshot(4).add(chunks[0]!))
    expect(await other.stagedCount()).toBeGreaterThan(0)
    await other.crash('kill')
    expect(other.store.replicas.size).toBe(0)
    expect(await other.stagedCount()).toBe(0)
  })

  it('is installed as a whole or not at all, wherever the process dies', async () => {
    const { chunks } = await source()
    const outcomes = new Set<string>()
    for (let steps = 0; steps < 80; steps++) {
      const other = await Bench.start(4, 9)
      other.apply(4, 3, { a: 'before' })
      other.apply(9, 5, { y: 'stays' })
      await other.clock.until(other.store.flush())
      const staged = other.store.stageSnapshot(4)
      const installed = (async () => {
        for (const chunk of chunks) await staged.add(chunk)
        return other.store.installSnapshot(staged)
      })()
      installed.catch(() => undefined)
      // A write takes 1 ms; half of the crashes are in the middle of one.
      for (let step = 0; step < steps >> 1; step++) {
        await other.clock.turn()
        await other.clock.pass(0.5)
      }
      await other.crash(steps % 2 === 0 ? 'crash' : 'kill')
      const rows = (await other.rows()).join()
      const { appliedIndex, flushedIndex } = other.replica(4)
      outcomes.add(`${appliedIndex}/${flushedIndex} ${rows}`)
      expect(await other.stagedCount()).toBe(0)
    }
    expect([...outcomes].sort()).toEqual(['1/1 a@3=before,y@5=stays', '3/3 b@20=new,d\x00e@20=,f@30=x,y@5=stays'])
  })

  it('is refused when a byte is wrong, and when chunks are missing, twice or in another order', async () => {
    const { chunks } = await source()
    const other = await Bench.start(0, 9)
    const refused = expect.objectContaining({ code: 'CORRUPT' })
    const stage = async (each: readonly Uint8Array[]): Promise<boolean> => {
      const staged = other.store.stageSnapshot(4)
      for (const chunk of each) await other.clock.until(staged.add(chunk))
      return staged.isComplete
    }
    for (const [at, chunk] of chunks.entries()) {
      for (let byte = 0; byte < chunk.length; byte++) {
        const spoilt = Buffer.from(chunk)
        spoilt[byte]! ^= 0x10
        await expect(stage(chunks.with(at, spoilt)), `byte ${byte} of chunk ${at}`).rejects.toEqual(refused)
      }
      await expect(stage(chunks.with(at, chunk.subarray(0, -1))), `cut off: chunk ${at}`).rejects.toEqual(refused)
      await expect(stage([...chunks.slice(0, at + 1), ...chunks.slice(at)])).rejects.toEqual(refused)
    }
    await expect(stage([chunks[0]!, chunks.at(-1)!])).rejects.toEqual(refused)
    await expect(stage(chunks.slice(1))).rejects.toEqual(refused)
    expect(await stage(chunks.slice(0, -1))).toBe(false)
    expect(await stage(chunks)).toBe(true)
    expect(await other.rows()).toEqual([])
  })

  it('is refused when it is whole, and holds what could not be read later', async () => {
    const other = await Bench.start(0, 9)
    const head = { descriptor: leftRange, index: 3, term: 3, safePoint: 0 }
    const refused = expect.objectContaining({ code: 'CORRUPT' })
    const stage = async (key: Key, value: Uint8Array, memory?: Uint8Array): Promise<void> => {
      const encoder = new SnapshotEncoder()
      const staged = other.store.stageSnapshot(4)
      await other.clock.until(staged.add(encoder.head(head)))
      if (memory !== undefined) await other.clock.until(staged.add(encoder.memory(memory)))
      await other.clock.until(staged.add(encoder.rows(SnapshotColumn.data, [[dataKey(key), value]])))
      await other.clock.until(staged.add(encoder.end()))
    }
    const value = Buffer.alloc(STORED_VALUE_HEADER_BYTES + 1)
    writeStoredValue(value, 7, Buffer.from('x'))
    await stage('b', value)
    await expect(stage('z', value)).rejects.toEqual(refused)
    await expect(stage('b', value.subarray(0, 3))).rejects.toEqual(refused)
    await expect(stage('b', value, Buffer.from('no memory'))).rejects.toEqual(refused)
  })

  it('that lost a chunk on the disk while it was being installed keeps the store from opening', async () => {
    const { chunks } = await source()
    const other = await Bench.start(0, 9)
    const staged = other.store.stageSnapshot(4)
    for (const chunk of chunks) await other.clock.until(staged.add(chunk))
    other.store.installSnapshot(staged).catch(() => undefined)
    while (other.engine.get(replicaRecordKey(4)) === undefined) {
      await other.clock.turn()
      await other.clock.pass(0.5)
    }
    other.engine = other.engine.kill()
    const batch = other.engine.batch()
    batch.delete(stagedKey(4, 1))
    await other.clock.until(batch.write())
    await expect(other.open()).rejects.toMatchObject({ code: 'CORRUPT' })
  })

  it('comes in chunks of a bounded length, however long its values are', async () => {
    const { bench } = await source()
    for (let i = 0; i < 40; i++) bench.apply(1, 100 + i, { [`k${i}`]: 'v'.repeat(50_000), [`l${i}`]: '' })
    const chunks = await bench.chunks(1)
    expect(chunks.length).toBeGreaterThan(8)
    for (const { length } of chunks) expect(length).toBeLessThan(CHUNK_BYTES + 50_100)
    const other = await Bench.start(0, 9)
    await other.install(4, chunks)
    const expected = (await bench.rows()).filter((row) => !row.startsWith('z'))
    // Compared as hashes: should they differ, nobody wants to see them.
    const hash = (rows: readonly string[]) => createHash('sha256').update(rows.join()).digest('hex')
    expect(hash(await other.rows())).toEqual(hash(expected))
  })

  it('leaves nothing behind when it is given up', async () => {
    const { chunks } = await source()
    const other = await Bench.start(0, 9)
    const staged = other.store.stageSnapshot(4)
    await other.clock.until(staged.add(chunks[0]!))
    expect(await other.stagedCount()).toBe(1)
    staged.abandon()
    await expect(staged.add(chunks[1]!)).rejects.toMatchObject({ code: 'CLOSED' })
    other.apply(9, 5, { y: 'x' })
    await other.clock.until(other.store.flush())
    expect(await other.stagedCount()).toBe(0)
  })

  it('is not taken back by an older one, and not put where something else is', async () => {
    const { chunks } = await source()
    const other = await Bench.start(4, 9)
    for (const version of [1, 2, 3]) other.apply(4, version, {})
    await expect(other.install(4, chunks)).rejects.toThrow('never goes back')
    await expect(other.install(5, chunks)).rejects.toThrow('never overlap')
    expect(other.replica(4)).toMatchObject({ appliedIndex: 3 })
    other.apply(4, 4, { b: 'goes on' })
    expect(await other.rows()).toEqual(['b@4=goes on'])
  })

  it('of a range that has been cut since makes room for the rest, wherever the process dies', async () => {
    const { bench } = await source()
    const right = { ...descriptor(11, 'd', 'm'), epoch: { version: 2, confVersion: 1 } }
    const left = { ...leftRange, end: 'd', epoch: right.epoch }
    bench.store.applySplit(bench.replica(1), 4, 3, left, {
      ...{ replicaId: 5, descriptor: right, applied: { index: 1, term: 1 } },
    })
    const [lefts, rights] = [await bench.chunks(1), await bench.chunks(5)]
    for (let diesAfter = 0; diesAfter < 60; diesAfter += 3) {
      const other = await Bench.start(4, 9)
      other.apply(4, 3, { b: 'behind', e: 'of the right' })
      await other.clock.until(other.store.flush())
      await expect(other.install(6, rights)).rejects.toThrow('never overlap')
      const staged = other.store.stageSnapshot(4)
      for (const chunk of lefts) await other.clock.until(staged.add(chunk))
      other.store.installSnapshot(staged).catch(() => undefined)
      for (let i = 0; i < diesAfter; i++) {
        await other.clock.turn()
        await other.clock.pass(0.5)
      }
      await other.crash()
      const rows = await other.rows()
      if (other.replica(4).appliedIndex === 1) {
        expect(rows).toEqual(['b@3=behind', 'e@3=of the right'])
        await other.install(4, lefts)
      }
      expect(await other.rows()).toEqual(['b@20=new'])
      expect(other.replica(4).descriptor).toEqual(left)
      await other.install(6, rights)
      expect(await other.rows()).toEqual((await bench.rows()).filter((row) => !row.startsWith('z')))
    }
  })

  it('of a range that has merged since takes the place of both, wherever the process dies', async () => {
    const { bench } = await source()
    await bench.clock.until(bench.store.flush())
    const whole = { ...leftRange, end: null, epoch: { version: 2, confVersion: 1 } }
    bench.store.applyMerge(bench.replica(1), 4, 3, whole, bench.replica(2))
    const chunks = await bench.chunks(1)
    const outcomes = new Set<string>()
    for (let diesAfter = 0; diesAfter < 60; diesAfter += 3) {
      const other = await Bench.start(4, 9)
      other.apply(4, 3, { b: 'behind' })
      other.apply(9, 4, { y: 'of the right' })
      await other.clock.until(other.store.flush())
      const staged = other.store.stageSnapshot(4)
      for (const chunk of chunks) await other.clock.until(staged.add(chunk))
      await expect(other.store.installSnapshot(staged)).rejects.toThrow('never overlap')
      const again = other.store.stageSnapshot(4)
      for (const chunk of chunks) await other.clock.until(again.add(chunk))
      other.store.installSnapshot(again, [other.replica(9)]).catch(() => undefined)
      for (let i = 0; i < diesAfter; i++) {
        await other.clock.turn()
        await other.clock.pass(0.5)
      }
      await other.crash()
      const isInstalled = other.replica(4).appliedIndex === 4
      outcomes.add(`${isInstalled}`)
      expect(other.store.replicas.has(9)).toBe(!isInstalled)
      expect(other.store.mayCreate(9)).toBe(false)
      if (isInstalled) expect(await other.rows()).toEqual(await bench.rows())
      else expect(await other.rows()).toEqual(['b@3=behind', 'y@4=of the right'])
    }
    expect(outcomes.size).toBe(2)
  })

  it('does not change while it is read, and is closed with the store', async () => {
    const { bench } = await source()
    const snapshot = await bench.clock.until(bench.store.openSnapshot(bench.replica(1)))
    for (const _ of ['head', 'memory']) await bench.clock.until(snapshot.next())
    bench.apply(1, 40, { b: 'later' })
    await bench.clock.until(bench.store.flush())
    const rows = await bench.clock.until(snapshot.next())
    expect(Buffer.from(rows!).includes('later')).toBe(false)
    expect(Buffer.from(rows!).includes('new')).toBe(true)
    await bench.clock.until(bench.store.close())
    await expect(snapshot.next()).rejects.toMatchObject({ code: 'CLOSED' })
    expect(bench.engine.openSnapshots).toBe(0)
  })
})
