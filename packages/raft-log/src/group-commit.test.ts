import { describe, expect, it } from 'vitest'
import type { SyncSample } from './batch-writer.js'
import { entries, entry, openCopy, openFixture } from './log-fixture.js'

describe('group commit', () => {
  it('makes what 16 groups append in one turn durable with one fdatasync', async () => {
    const fixture = await openFixture()
    const { disk, log, clock } = fixture
    await clock.drain(40)
    const before = disk.counts.sync
    const flushes = []
    for (let group = 1; group <= 16; group++) {
      log.createGroup(group).append(entries(1, 4, 1), { term: 1, vote: 0, commitIndex: 0 })
      flushes.push(log.flush())
    }
    expect(new Set(flushes).size).toBe(1)
    await clock.run(Promise.all(flushes))
    expect(disk.counts.sync - before).toBe(1)
    expect((await openCopy(fixture)).log.groups.size).toBe(16)
  })

  it('gathers what comes while a write is under way into the next batch', async () => {
    const samples: SyncSample[] = []
    const { disk, log, clock } = await openFixture({ syncObserver: (sample) => samples.push(sample) })
    await clock.drain(40)
    const groups = Array.from({ length: 16 }, (_, i) => log.createGroup(i + 1))
    for (const index of [1, 2]) {
      for (const group of groups) group.append([entry(index, 1)], undefined)
      await clock.run(log.flush())
    }
    await clock.drain(60)
    samples.length = 0
    const before = disk.counts.sync
    let appends = 0
    disk.stallSyncs()
    groups[0]!.append([entry(3, 1)], undefined)
    const first = log.flush()
    await undefined
    await undefined
    const later = []
    for (let round = 0; round < 5; round++) {
      for (const group of groups) {
        group.append([entry(group.lastIndex + 1, 1)], undefined)
        appends++
        later.push(log.flush())
      }
      await clock.drain(10)
    }
    expect(new Set(later).size).toBe(1)
    expect(later[0]).not.toBe(first)
    disk.releaseSyncs()
    await clock.run(Promise.all([first, ...later]))
    expect(appends).toBe(80)
    expect(disk.counts.sync - before).toBe(2)
    expect(samples.map(({ groups, entries }) => [groups, entries])).toEqual([
      [1, 1],
      [16, 80],
    ])
  })

  it('shares the batch under way with a flush that has nothing to add, and resolves at once when there is none', async () => {
    const { log, clock, disk } = await openFixture()
    await clock.drain(40)
    const before = disk.counts.sync
    await log.flush()
    expect(disk.counts.sync).toBe(before)
    log.createGroup(1).append([entry(1, 1)], undefined)
    const flush = log.flush()
    await undefined
    await undefined
    expect(log.stats.pendingBytes).toBe(0)
    expect(log.flush()).toBe(flush)
    await clock.run(flush)
  })

  it('holds back nothing on an idle store: the write is begun in the very turn', async () => {
    const { log, clock, disk } = await openFixture()
    await clock.drain(40)
    const before = disk.counts.write
    const now = clock.now()
    log.createGroup(1).append([entry(1, 1)], undefined)
    const flush = log.flush()
    await undefined
    await undefined
    expect(disk.counts.write).toBe(before + 1)
    await clock.run(flush)
    expect(clock.now()).toBe(now)
  })

  it('splits what does not fit in one batch, and resolves once all of it is durable', async () => {
    const fixture = await openFixture()
    const { log, clock } = fixture
    log.createGroup(1).append(entries(1, 100, 1, 2000), undefined)
    await clock.run(log.flush())
    expect(log.stats.segments).toBeGreaterThan(3)
    expect((await openCopy(fixture)).log.groups.get(1)!.lastIndex).toBe(100)
  })

  it('seals an idle log once', async () => {
    const { log, clock, disk } = await openFixture({ sealAfterMs: 100 })
    await clock.drain(40)
    log.createGroup(1).append([entry(1, 1)], undefined)
    await clock.run(log.flush())
    const { syncs } = log.stats
    await clock.drain(60)
    expect(log.stats.syncs).toBe(syncs + 1)
    const before = disk.counts.write
    await clock.drain(60)
    expect(disk.counts.write).toBe(before)
  })

  it('writes an empty batch when it is asked to show how the disk is, and recovers with any number of them', async () => {
    const fixture = await openFixture()
    const { log, clock } = fixture
    log.createGroup(1).append([entry(1, 1)], undefined)
    await clock.run(log.flush())
    await clock.drain(40)
    const { syncs } = log.stats
    for (let i = 0; i < 3; i++) {
      log.probe()
      await clock.drain(10)
    }
    expect(log.stats.syncs).toBe(syncs + 3)
    log.groups.get(1)!.append([entry(2, 1)], undefined)
    await clock.run(log.flush())
    const reopened = await openCopy(fixture)
    expect(reopened.log.groups.get(1)).toMatchObject({ damaged: false, lastIndex: 2 })
  })

  it('tells how long a write has been going on', async () => {
    const { log, clock, disk } = await openFixture()
    await clock.drain(40)
    log.createGroup(1).append([entry(1, 1)], undefined)
    disk.stallSyncs()
    const flush = log.flush()
    clock.after(700, () => {})
    await clock.drain(40)
    expect(log.stats.writingForMs).toBeGreaterThanOrEqual(700)
    disk.releaseSyncs()
    await clock.run(flush)
    expect(log.stats.writingForMs).toBe(0)
  })
})

describe('a disk that fails', () => {
  for (const [operation, code] of [
    ['sync', 'EIO'],
    ['write', 'EIO'],
    ['write', 'ENOSPC'],
  ] as const) {
    it(`stops the log for good when a ${operation} fails with ${code}`, async () => {
      const { log, clock, disk } = await openFixture()
      await clock.drain(40)
      const group = log.createGroup(1)
      group.append([entry(1, 1)], undefined)
      disk.fail({ operation, code })
      const first = log.flush()
      await undefined
      await undefined
      group.append([entry(2, 1)], undefined)
      const next = log.flush()
      await expect(clock.run(first)).rejects.toMatchObject({ code: 'DISK_FAILED' })
      await expect(clock.run(next)).rejects.toMatchObject({ code: 'DISK_FAILED' })
      const { sync, write } = disk.counts
      await expect(log.flush()).rejects.toMatchObject({ code: 'DISK_FAILED' })
      expect(() => group.append([entry(3, 1)], undefined)).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }))
      expect(() => log.createGroup(2)).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }))
      await expect(group.load(1, 1, 10)).rejects.toMatchObject({ code: 'DISK_FAILED' })
      await clock.drain(40)
      expect(disk.counts).toMatchObject({ sync, write })
      await expect(clock.run(log.close())).rejects.toMatchObject({ code: 'DISK_FAILED' })
    })
  }

  it('stops the log when the next segment cannot be synced', async () => {
    const { log, clock, disk } = await openFixture()
    disk.fail({ operation: 'sync', code: 'EIO', name: 'raft-log-2' })
    await clock.drain(40)
    await expect(log.flush()).rejects.toMatchObject({ code: 'DISK_FAILED' })
  })

  it('waits for room for the next segment, and says so meanwhile', async () => {
    const { log, clock, disk } = await openFixture()
    disk.capacityBytes = disk.usedBytes + 20 * 1024
    await clock.drain(30)
    expect(log.stats.spaceShort).toBe(true)
    log.createGroup(1).append([entry(1, 1)], undefined)
    await clock.run(log.flush())
    disk.capacityBytes = Number.POSITIVE_INFINITY
    await clock.drain(30)
    expect(log.stats.spaceShort).toBe(false)
    expect(disk.usedBytes).toBeGreaterThan(64 * 1024)
  })

  it('waits for room for the name of the next segment as well', async () => {
    const fixture = await openFixture()
    const { log, clock, disk } = fixture
    await clock.drain(40)
    const group = log.createGroup(1)
    for (const operation of ['open', 'syncDirectory'] as const) {
      disk.fail({ operation, code: 'ENOSPC', times: 2 })
      while (!log.stats.spaceShort) {
        group.append([entry(group.lastIndex + 1, 1, 6_000)], undefined)
        await clock.run(log.flush())
      }
      await clock.drain(60)
      expect(log.stats.spaceShort).toBe(false)
    }
    const reopened = await openCopy(fixture)
    expect(reopened.log.groups.get(1)).toMatchObject({ damaged: false, lastIndex: group.lastIndex })
  })

  it('refuses to open with DISK_FAILED', async () => {
    const fixture = await openFixture()
    await expect(openCopy(fixture, (disk) => disk.fail({ operation: 'read', code: 'EIO' }))).rejects.toMatchObject({
      code: 'DISK_FAILED',
    })
  })
})
