import { ManualClock, silentLogger } from '@cordillera/base'
import { expect, it } from 'vitest'
import { MemoryDisk } from './memory-disk.js'
import { SegmentShelf } from './segment-shelf.js'

it('has room again once the next segment is one that is used again, though nothing had to be allocated for it', async () => {
  const clock = new ManualClock()
  const disk = new MemoryDisk({ clock })
  const failures: unknown[] = []
  const shelf = new SegmentShelf({
    ...{ disk, clock, logger: silentLogger, segmentBytes: 16 << 10, zeroChunkBytes: 4 << 10, sparesMax: 2 },
    onFailure: (error) => failures.push(error),
  })
  shelf.prepare(1)
  await clock.drain(40)
  const first = await clock.run(shelf.take(1))
  disk.capacityBytes = disk.usedBytes + (6 << 10)
  shelf.prepare(2)
  await clock.drain(10)
  expect(shelf.spaceShort).toBe(true)
  // The log cannot wait: it goes on in what there is.
  await clock.run(shelf.take(2))
  expect(shelf.spaceShort).toBe(true)
  disk.capacityBytes = Number.POSITIVE_INFINITY
  shelf.offer(first)
  shelf.prepare(3)
  await clock.drain(10)
  expect([shelf.recycled, shelf.isReady(3), shelf.spaceShort]).toEqual([1, true, false])
  await clock.run(shelf.close())
  expect(failures).toEqual([])
})
