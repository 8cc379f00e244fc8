import { Buffer } from 'node:buffer'
import { ManualClock, silentLogger } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type Entry, EntryType, sealEntry } from '@cordillera/raft-core'
import { MemoryDisk } from './memory-disk.js'
import { RaftLog, type RaftLogOptions } from './raft-log.js'

/** What the tests of this package share: a log on a disk in memory, under a clock that they drive. */
export interface Fixture {
  readonly clock: ManualClock
  readonly disk: MemoryDisk
  log: RaftLog
  readonly options: RaftLogOptions
}

export const SMALL = { segmentBytes: 64 * 1024, zeroChunkBytes: 16 * 1024, cacheBytesMax: 64 * 1024 } as const

export async function openFixture(
  overrides: Partial<RaftLogOptions> & { readonly clock?: ManualClock; readonly disk?: MemoryDisk } = {},
): Promise<Fixture> {
  const clock = overrides.clock ?? new ManualClock()
  const disk = overrides.disk ?? new MemoryDisk({ clock })
  const options = { logger: silentLogger, ...SMALL, ...overrides, disk, clock }
  const log = await clock.run(RaftLog.open(options))
  return { clock, disk, log, options }
}

/** Opens a log on the disk's present contents, leaving disk and log alone. */
export async function openCopy(fixture: Fixture, change: (disk: MemoryDisk) => void = () => {}): Promise<Fixture> {
  const clock = new ManualClock()
  const disk = fixture.disk.clone(clock)
  change(disk)
  const options = { ...fixture.options, disk, clock }
  const log = await clock.run(RaftLog.open(options))
  return { clock, disk, log, options }
}

export function entry(index: number, term: number, payload: string | number = `${index}@${term}`): Entry {
  const bytes =
    typeof payload === 'number' ? Buffer.alloc(ENTRY_HEADER_BYTES + payload, index & 0xff) : withRoom(payload)
  return sealEntry(term, index, EntryType.command, bytes)
}

export function entries(from: number, to: number, term: number, payload?: number): Entry[] {
  const made: Entry[] = []
  for (let index = from; index <= to; index++) made.push(entry(index, term, payload))
  return made
}

function withRoom(payload: string): Buffer {
  return Buffer.concat([Buffer.alloc(ENTRY_HEADER_BYTES), Buffer.from(payload)])
}

/** Every entry of the group, read back from memory or disk. */
export async function readAll(fixture: Fixture, replicaId: number): Promise<Entry[]> {
  const group = fixture.log.groups.get(replicaId)!
  const found: Entry[] = []
  for (let index = group.compactedIndex + 1; index <= group.lastIndex; ) {
    let some = group.entries(index, group.lastIndex, 4096)
    if (!some) {
      await fixture.clock.run(group.load(index, group.lastIndex, 16384))
      some = group.entries(index, group.lastIndex, 4096)
    }
    if (!some) throw new Error(`entry ${index} cannot be read`)
    found.push(...some)
    index += some.length
  }
  return found
}

export function terms(found: readonly Entry[]): string {
  return found.map((each) => `${each.index}@${each.term}`).join(' ')
}
