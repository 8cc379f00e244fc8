import { ManualClock } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { entries, type Fixture, openCopy, openFixture, readAll, terms } from './log-fixture.js'
import { MemoryDisk } from './memory-disk.js'
import type { LogBytesReport } from './raft-log.js'

/** Writes so much for one group, which compacts behind itself, that the log goes through many segments. */
async function keepBusy(fixture: Fixture, group: number, rounds: number): Promise<void> {
  const log = fixture.log.groups.get(group) ?? fixture.log.createGroup(group)
  for (let round = 0; round < rounds; round++) {
    log.append(entries(log.lastIndex + 1, log.lastIndex + 4, 1, 4000), undefined)
    log.compactTo(log.lastIndex - 2)
    await fixture.clock.run(fixture.log.flush())
  }
}

describe('space', () => {
  it('carries idle groups forward, so that a busy one keeps the log small, and files are used again', async () => {
    const fixture = await openFixture()
    for (let id = 1; id <= 40; id++) {
      const idle = fixture.log.createGroup(id)
      idle.append(entries(1, 4, id, 10), { term: id, vote: 3, commitIndex: 2 })
      idle.compactTo(1)
      idle.recordFlushed(1)
    }
    await fixture.clock.run(fixture.log.flush())
    await keepBusy(fixture, 1000, 120)
    const { stats } = fixture.log
    expect(stats.segments).toBeLessThanOrEqual(6)
    expect(stats.recycledSegments).toBeGreaterThan(10)
    expect(stats.carriedEntries).toBeGreaterThan(100)
    expect(fixture.disk.names().length).toBeLessThanOrEqual(stats.segments + 2)
    const reopened = await openCopy(fixture)
    for (let id = 1; id <= 40; id++) {
      const idle = reopened.log.groups.get(id)!
      expect(terms(await readAll(reopened, id))).toBe(`2@${id} 3@${id} 4@${id}`)
      expect(idle).toMatchObject({ damaged: false, compactedIndex: 1, recoveredFlushedIndex: 1 })
      expect(idle.hardState).toEqual({ term: id, vote: 3, commitIndex: 2 })
    }
  })

  it('carries entries without cutting off what the group wrote later', async () => {
    const fixture = await openFixture()
    const idle = fixture.log.createGroup(1)
    idle.append(entries(1, 3, 1, 10), { term: 1, vote: 2, commitIndex: 0 })
    await fixture.clock.run(fixture.log.flush())
    await keepBusy(fixture, 1000, 6)
    idle.append(entries(4, 6, 2, 10), { term: 2, vote: 1, commitIndex: 3 })
    await fixture.clock.run(fixture.log.flush())
    await keepBusy(fixture, 1000, 5)
    expect(fixture.log.stats.carriedEntries).toBeGreaterThan(0)
    const reopened = await openCopy(fixture)
    expect(terms(await readAll(reopened, 1))).toBe('1@1 2@1 3@1 4@2 5@2 6@2')
    expect(reopened.log.groups.get(1)).toMatchObject({ damaged: false, hardState: { term: 2, vote: 1 } })
  })

  it('does not carry what is replaced between its reading and its writing', async () => {
    const fixture = await openFixture()
    const { log, clock, disk } = fixture
    const idle = Array.from({ length: 10 }, (_, i) => log.createGroup(i + 1))
    for (const group of idle) group.append(entries(1, 6, 1, 10), undefined)
    await clock.run(log.flush())
    const busy = log.createGroup(1000)
    const { read } = disk.counts
    while (disk.counts.read === read) {
      busy.append(entries(busy.lastIndex + 1, busy.lastIndex + 4, 1, 4000), undefined)
      busy.compactTo(busy.lastIndex)
      let isDone = false
      log.flush().then(() => {
        isDone = true
      })
      while (!isDone && disk.counts.read === read) {
        clock.step()
        for (let i = 0; i < 60; i++) await undefined
      }
    }
    for (const group of idle.slice(0, 4)) group.append(entries(4, 5, 9, 10), undefined)
    for (const group of idle.slice(4, 8)) group.compactTo(2)
    log.removeGroup(9)
    await clock.drain(60)
    await clock.run(log.flush())
    expect(log.stats.carriedEntries).toBeGreaterThan(0)
    const reopened = await openCopy(fixture)
    for (let id = 1; id <= 10; id++) {
      const expected = id <= 4 ? '1@1 2@1 3@1 4@9 5@9' : id <= 8 ? '3@1 4@1 5@1 6@1' : '1@1 2@1 3@1 4@1 5@1 6@1'
      if (id === 9) expect(reopened.log.groups.has(9)).toBe(false)
      else expect(terms(await readAll(reopened, id)), `replica ${id}`).toBe(expected)
    }
  })

  it('does not use a segment again while it is being read', async () => {
    let readMs = 0
    const clock = new ManualClock()
    const disk = new MemoryDisk({ clock, latencyMs: (operation) => (operation === 'read' ? readMs : 0) })
    const fixture = await openFixture({ clock, disk, cacheBytesMax: 1 })
    await keepBusy(fixture, 8, 4)
    const group = fixture.log.createGroup(1)
    group.append(entries(1, 20, 1, 100), undefined)
    await clock.run(fixture.log.flush())
    readMs = 1e6
    const load = group.load(1, 20, 4000)
    for (let i = 0; i < 5; i++) await undefined
    group.compactTo(20)
    readMs = 0
    await keepBusy(fixture, 8, 60)
    expect(fixture.log.stats.recycledSegments).toBeGreaterThan(5)
    await clock.run(load)
    expect(group.damaged).toBe(false)
  })

  it('does not let go of a segment whose entries nobody compacts, and reports the groups that keep it', async () => {
    const reports: LogBytesReport[] = []
    const fixture = await openFixture({ logBytesMax: 256 * 1024, onLogBytesMax: (report) => reports.push(report) })
    const slow = fixture.log.createGroup(7)
    for (let round = 0; round < 20; round++) {
      slow.append(entries(slow.lastIndex + 1, slow.lastIndex + 10, 1, 3000), undefined)
      await fixture.clock.run(fixture.log.flush())
    }
    expect(fixture.log.stats.logBytes).toBeGreaterThan(512 * 1024)
    expect(reports.length).toBe(1)
    expect(reports[0]!.groups).toEqual([7])
    slow.compactTo(195)
    await keepBusy(fixture, 8, 8)
    expect(fixture.log.stats.logBytes).toBeLessThan(256 * 1024)
    expect(terms(await readAll(await openCopy(fixture), 7))).toBe('196@1 197@1 198@1 199@1 200@1')
  })

  it('forgets a removed group, and keeps none of its segments', async () => {
    const fixture = await openFixture()
    const group = fixture.log.createGroup(7)
    group.append(entries(1, 100, 1, 3000), { term: 1, vote: 0, commitIndex: 0 })
    await fixture.clock.run(fixture.log.flush())
    fixture.log.removeGroup(7)
    expect(() => group.append([], { term: 2, vote: 0, commitIndex: 0 })).toThrow()
    await fixture.clock.run(fixture.log.flush())
    expect((await openCopy(fixture)).log.groups.size).toBe(0)
    await keepBusy(fixture, 8, 8)
    expect(fixture.log.stats.segments).toBeLessThan(5)
    expect([...(await openCopy(fixture)).log.groups.keys()]).toEqual([8])
  })

  it('goes on in a segment that is not zeroed yet when writes are faster than zeroing', async () => {
    const fixture = await openFixture({ zeroChunkBytes: 512 })
    const group = fixture.log.createGroup(1)
    group.append(entries(1, 200, 1, 3000), undefined)
    await fixture.clock.run(fixture.log.flush())
    expect(fixture.log.stats.segments).toBeGreaterThan(8)
    expect((await readAll(await openCopy(fixture), 1)).length).toBe(200)
  })
})
