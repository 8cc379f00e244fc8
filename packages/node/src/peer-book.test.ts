import { ManualClock, silentLogger } from '@cordillera/base'
import { MemoryDisk } from '@cordillera/raft-log'
import { expect, it } from 'vitest'
import { PeerBook } from './peer-book.js'
import { replaceSmallFile } from './small-file.js'

const peers = [
  { nodeId: 3, incarnation: 2, peerAddress: 'c:3' },
  { nodeId: 1, incarnation: 1, peerAddress: 'a:1' },
]

/** Long enough for any write that is under way. */
function pass(clock: ManualClock): Promise<void> {
  return clock.run(new Promise<void>((resolve) => clock.after(1_000, resolve)))
}

it('peers are remembered over a loss of power, by id, and written when they have changed alone', async () => {
  const clock = new ManualClock()
  const disk = new MemoryDisk({ clock })
  const book = new PeerBook(disk, silentLogger)
  expect(await clock.run(book.read())).toEqual([])
  book.keep(peers)
  await pass(clock)
  disk.crash({ keep: 'none' })
  const again = new PeerBook(disk, silentLogger)
  expect(await clock.run(again.read())).toEqual([peers[1], peers[0]])
  const { write } = disk.counts
  again.keep([...peers].reverse())
  await pass(clock)
  expect(disk.counts.write).toBe(write)
})

it('what is no list of peers is none', async () => {
  const clock = new ManualClock()
  const disk = new MemoryDisk({ clock })
  for (const text of ['', '{', '{}', '[1]', '[{"nodeId":1}]']) {
    await clock.run(replaceSmallFile(disk, 'peers', new TextEncoder().encode(text)))
    const warnings: string[] = []
    const book = new PeerBook(disk, { ...silentLogger, warn: (event) => warnings.push(event) })
    expect(await clock.run(book.read())).toEqual([])
    expect(warnings).toEqual(['peers-unread'])
  }
})
