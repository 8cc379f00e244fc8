import { describe, expect, it } from 'vitest'
import { entries, entry, type Fixture, openCopy, openFixture, readAll, terms } from './log-fixture.js'
import { walkSegment } from './segment-walk.js'

async function flushed(fixture: Fixture): Promise<void> {
  await fixture.clock.run(fixture.log.flush())
}

describe('a group’s log', () => {
  it('shows what is appended at once, replaces from the first index on, and knows every term', async () => {
    const fixture = await openFixture()
    const group = fixture.log.createGroup(1)
    group.append(entries(1, 5, 1), undefined)
    group.append(entries(4, 6, 2), { term: 2, vote: 0, commitIndex: 0 })
    expect(terms(group.entries(1, 9, 1e6)!)).toBe('1@1 2@1 3@1 4@2 5@2 6@2')
    expect([0, 3, 4, 6, 7].map((index) => group.termAt(index))).toEqual([0, 1, 2, 2, undefined])
    await flushed(fixture)
    group.append(entries(6, 6, 3), undefined)
    expect(group.termAt(6)).toBe(3)
    expect(group.lastIndex).toBe(6)
    await flushed(fixture)
    expect(terms(await readAll(await openCopy(fixture), 1))).toBe('1@1 2@1 3@1 4@2 5@2 6@3')
  })

  it('hands out at least one entry, then as many as fit', async () => {
    const fixture = await openFixture()
    const group = fixture.log.createGroup(1)
    group.append(entries(1, 10, 1, 100), undefined)
    expect(group.entries(2, 9, 0)?.length).toBe(1)
    expect(group.entries(2, 9, 3 * 118)?.length).toBe(3)
    expect(group.entries(2, 4, 1e6)?.length).toBe(3)
    expect(group.entries(11, 12, 1e6)).toBeUndefined()
  })

  it('keeps the cache bounded, but never evicts what is not durable', async () => {
    const fixture = await openFixture({ cacheBytesMax: 32 * 1024 })
    const groups = [1, 2, 3].map((id) => fixture.log.createGroup(id))
    for (const group of groups) group.append(entries(1, 100, 1, 900), undefined)
    expect(fixture.log.stats.cacheBytes).toBeGreaterThan(300 * 900)
    for (const group of groups) expect(group.entries(1, 100, 1e6)?.length).toBe(100)
    await flushed(fixture)
    expect(fixture.log.stats.cacheBytes).toBeLessThanOrEqual(32 * 1024)
    for (const group of groups) {
      expect(group.entries(1, 100, 1e6)).toBeUndefined()
      expect(group.termAt(1)).toBe(1)
      expect(terms(await readAll(fixture, group.replicaId))).toBe(terms(entries(1, 100, 1)))
      expect(fixture.log.stats.cacheBytes).toBeLessThanOrEqual(40 * 1024)
    }
  })

  it('keeps a replacement pinned while only what it replaced has become durable', async () => {
    const { log, clock } = await openFixture({ cacheBytesMax: 1, batchBytesMax: 1000 })
    await clock.drain(40)
    const group = log.createGroup(1)
    group.append(entries(1, 10, 1, 200), undefined)
    group.append(entries(5, 6, 2, 200), undefined)
    const flush = log.flush()
    while (log.stats.entries < 10) {
      for (let i = 0; i < 60; i++) await undefined
      clock.step()
    }
    for (let i = 0; i < 60; i++) await undefined
    expect(terms(group.entries(5, 6, 1e6)!)).toBe('5@2 6@2')
    await clock.run(flush)
    expect(log.stats.entries).toBe(12)
    expect(group.entries(5, 6, 1e6)).toBeUndefined()
  })

  it('loads for many groups at once, each keeping its entries until it had a turn to read them', async () => {
    const first = await openFixture({ cacheBytesMax: 32 * 1024 })
    for (let id = 1; id <= 50; id++) first.log.createGroup(id).append(entries(1, 20, 1, 500), undefined)
    await flushed(first)
    const fixture = await openCopy(first)
    let read = 0
    const loads = [...fixture.log.groups.values()].map(async (group) => {
      await group.load(1, 20, 8000)
      read += group.entries(1, 20, 8000)!.length
      expect(fixture.log.stats.cacheBytes).toBeLessThan(64 * 1024)
    })
    await fixture.clock.run(Promise.all(loads))
    expect(read).toBeGreaterThanOrEqual(50 * 15)
  })

  it('does not show what a load read when the log was truncated meanwhile', async () => {
    const fixture = await openCopy(await withEntries(1, 20))
    const group = fixture.log.groups.get(1)!
    const load = group.load(1, 20, 1e6)
    await undefined
    group.append(entries(5, 6, 9), undefined)
    await fixture.clock.run(load)
    expect(group.entries(1, 20, 1e6)).toBeUndefined()
    expect(terms(await readAll(fixture, 1))).toBe('1@1 2@1 3@1 4@1 5@9 6@9')
  })

  it('notices rot when it reads entries back, and marks the group durably', async () => {
    const fixture = await openCopy(await withEntries(1, 20))
    const { disk, log, clock } = fixture
    const name = disk.names().find((each) => {
      const walk = walkSegment(disk.contents(each), 1, undefined)
      return walk.next().value && disk.contents(each).includes('10@1')
    })!
    disk.flipBit(name, disk.contents(name).indexOf('10@1'), 0)
    const group = log.groups.get(1)!
    await expect(clock.run(group.load(1, 20, 1e6))).rejects.toMatchObject({ code: 'LOG_DAMAGED' })
    expect(group.damaged).toBe(true)
    await flushed(fixture)
    const healed = await openCopy(fixture, (copy) => copy.flipBit(name, disk.contents(name).indexOf('10@1') + 0, 0))
    expect(healed.log.groups.get(1)!.damaged).toBe(true)
  })

  it('keeps hard state, compaction and flushed index over a restart, the commit index within the log', async () => {
    const fixture = await openFixture()
    const group = fixture.log.createGroup(1)
    group.append(entries(1, 10, 3), { term: 4, vote: 7, commitIndex: 99 })
    group.compactTo(6)
    group.recordFlushed(8)
    expect(group.recoveredFlushedIndex).toBe(0)
    expect(group.termAt(5)).toBeUndefined()
    expect(group.entries(6, 7, 100)).toBeUndefined()
    await flushed(fixture)
    const again = (await openCopy(fixture)).log.groups.get(1)!
    expect(again).toMatchObject({ compactedIndex: 6, lastIndex: 10, recoveredFlushedIndex: 8 })
    expect(again.hardState).toEqual({ term: 4, vote: 7, commitIndex: 10 })
    expect(again.termAt(6)).toBe(3)
  })

  it('says from where on it stays within entries and bytes', async () => {
    const fixture = await openFixture()
    const group = fixture.log.createGroup(1)
    for (let index = 1; index <= 20; index++) {
      group.append(entries(index, index, 1, 1_000), undefined)
      await flushed(fixture)
    }
    expect(group.keepingIndex(100, 1e6)).toBe(0)
    expect(group.keepingIndex(5, 1e6)).toBe(15)
    expect(group.keepingIndex(100, 3_500)).toBe(17)
    expect(group.keepingIndex(100, 10)).toBe(20)
    group.compactTo(18)
    expect(group.keepingIndex(5, 1e6)).toBe(18)
    group.append(entries(19, 19, 2), undefined)
    expect(group.keepingIndex(100, 10)).toBe(19)
  })

  it('goes on behind a reset', async () => {
    const fixture = await openFixture()
    const group = fixture.log.createGroup(1)
    group.append(entries(1, 10, 3), undefined)
    await flushed(fixture)
    group.reset(50, 4)
    expect(group).toMatchObject({ compactedIndex: 50, lastIndex: 50 })
    group.append([entry(51, 4)], undefined)
    await flushed(fixture)
    const reopened = await openCopy(fixture)
    expect(terms(await readAll(reopened, 1))).toBe('51@4')
    expect(reopened.log.groups.get(1)!.termAt(50)).toBe(4)
  })

  it('refuses gaps, compacted indexes and entries that no segment holds', async () => {
    const fixture = await openFixture()
    const group = fixture.log.createGroup(1)
    group.append(entries(1, 10, 1), undefined)
    group.compactTo(5)
    expect(() => group.append(entries(12, 12, 1), undefined)).toThrow('without a gap')
    expect(() => group.append(entries(5, 5, 1), undefined)).toThrow('compacted')
    expect(() => group.append([entry(11, 1, 64 * 1024)], undefined)).toThrow('fits in a segment')
    expect(() => group.compactTo(11)).toThrow()
    expect(() => fixture.log.createGroup(1)).toThrow()
  })
})

async function withEntries(from: number, to: number): Promise<Fixture> {
  const fixture = await openFixture()
  fixture.log.createGroup(1).append(entries(from, to, 1), undefined)
  await flushed(fixture)
  return fixture
}
