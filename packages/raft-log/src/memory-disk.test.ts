import { Buffer } from 'node:buffer'
import { ManualClock, SeededRandom } from '@cordillera/base'
import { beforeEach, describe, expect, it } from 'vitest'
import type { DiskFile } from './disk.js'
import { MemoryDisk } from './memory-disk.js'

const clock = new ManualClock()
let disk: MemoryDisk
let file: DiskFile

beforeEach(async () => {
  clock.clear()
  disk = new MemoryDisk({ clock })
  file = await clock.run(disk.open('a', { create: true }))
  await clock.run(disk.syncDirectory())
})

function write(text: string, position = 0): Promise<void> {
  return clock.run(file.write([Buffer.from(text)], position))
}

describe('MemoryDisk', () => {
  it('keeps what was synced and loses what was not', async () => {
    await write('one')
    await clock.run(file.sync())
    await write('two')
    expect(disk.contents('a').toString()).toBe('two')
    disk.crash({ keep: 'none' })
    expect(disk.contents('a').toString()).toBe('one')
    expect(disk.contents('a').length).toBe(3)
  })

  it('keeps everything when the process alone dies, and its open files never answer again', async () => {
    await write('two')
    const pending = file.sync()
    disk.crash({ keep: 'all' })
    expect(disk.contents('a').toString()).toBe('two')
    await expect(clock.run(pending)).rejects.toThrow('nothing is left')
  })

  it('tears writes at sector granularity', async () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 60; seed++) {
      const torn = new MemoryDisk({ clock })
      const target = await clock.run(torn.open('a', { create: true }))
      await clock.run(torn.syncDirectory())
      await clock.run(target.write([Buffer.alloc(2048, 1)], 0))
      await clock.run(target.sync())
      await clock.run(target.write([Buffer.alloc(1024, 2), Buffer.alloc(1024, 2)], 0))
      torn.crash({ keep: new SeededRandom(seed) })
      const bytes = torn.contents('a')
      const sectors = [0, 1, 2, 3].map((i) => new Set(bytes.subarray(i * 512, i * 512 + 512)))
      for (const sector of sectors) expect(sector.size).toBe(1)
      seen.add(sectors.map((sector) => [...sector][0]).join(''))
    }
    expect(seen.size).toBeGreaterThan(8)
  })

  it('loses names that were not synced, and undoes removals', async () => {
    await clock.run(disk.open('b', { create: true }))
    await clock.run(disk.remove('a'))
    expect(disk.names()).toEqual(['b'])
    disk.crash({ keep: 'none' })
    expect(disk.names()).toEqual(['a'])
    await clock.run(disk.rename('a', 'c'))
    await clock.run(disk.syncDirectory())
    disk.crash({ keep: 'none' })
    expect(disk.names()).toEqual(['c'])
  })

  it('does not make bytes durable by the sync after one that failed', async () => {
    await write('one')
    disk.fail({ operation: 'sync', code: 'EIO', name: 'a' })
    await expect(clock.run(file.sync())).rejects.toMatchObject({ code: 'EIO' })
    await clock.run(file.sync())
    expect(disk.contents('a').toString()).toBe('one')
    disk.crash({ keep: 'none' })
    expect(disk.contents('a').toString()).not.toContain('one')
  })

  it('fails as asked, and fills up', async () => {
    disk.fail({ operation: 'write', code: 'ENOSPC', times: 2 })
    await expect(write('x')).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(write('x')).rejects.toMatchObject({ code: 'ENOSPC' })
    await write('x')
    disk.capacityBytes = 100
    await expect(write('y', 100)).rejects.toMatchObject({ code: 'ENOSPC' })
    await write('y', 99)
    await expect(clock.run(disk.open('nothing', { create: false }))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('stalls syncs until they are released', async () => {
    await write('one')
    disk.stallSyncs()
    let isDone = false
    const sync = file.sync().then(() => {
      isDone = true
    })
    await clock.drain()
    expect(isDone).toBe(false)
    disk.releaseSyncs()
    await clock.run(sync)
    disk.crash({ keep: 'none' })
    expect(disk.contents('a').toString()).toBe('one')
  })

  it('rejects a write whose chunks changed under it', async () => {
    const chunk = Buffer.from('abc')
    const pending = file.write([chunk], 0)
    chunk[0] = 0
    await expect(clock.run(pending)).rejects.toMatchObject({ code: 'EINVAL' })
  })

  it('takes as long as it is told', async () => {
    const slow = new MemoryDisk({ clock, latencyMs: (operation) => (operation === 'sync' ? 8 : 0) })
    const target = await clock.run(slow.open('a', { create: true }))
    const before = clock.now()
    await clock.run(target.sync())
    expect(clock.now() - before).toBe(8)
  })
})
