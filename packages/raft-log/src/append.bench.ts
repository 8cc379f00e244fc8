/**
 * What an append costs, on real files: CPU and time per entry of 256 B at 64 and 1024 entries a sync, over 16 groups.
 *
 * Run by hand: `npx rolldown packages/raft-log/src/append.bench.ts --platform node --format esm -o bench.mjs`, then
 * `node --expose-gc bench.mjs DIRECTORY`. Its `Disk` is the smallest that works; the store's own lives in the
 * composition root.
 */
import { Buffer } from 'node:buffer'
import { mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Clock, silentLogger } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type Entry, EntryType, sealEntry } from '@cordillera/raft-core'
import type { Disk, DiskFile } from './disk.js'
import { RaftLog } from './raft-log.js'

const clock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  defer: (callback) => setImmediate(callback),
}

function realDisk(directory: string): Disk {
  const at = (name: string): string => join(directory, name)
  return {
    list: () => readdir(directory),
    rename: (from, to) => rename(at(from), at(to)),
    remove: (name) => rm(at(name)),
    freeBytes: () => Promise.resolve(Number.POSITIVE_INFINITY),
    syncDirectory: async () => {
      const handle = await open(directory, 'r')
      await handle.sync()
      await handle.close()
    },
    open: async (name, { create }) => {
      const handle = await open(at(name), 'r+').catch((error: unknown) => {
        if (create) return open(at(name), 'wx+')
        throw error
      })
      const write = async (chunks: readonly Uint8Array[], position: number): Promise<void> => {
        if (chunks.length === 1) await handle.write(chunks[0]!, 0, chunks[0]!.length, position)
        else await handle.writev(chunks, position)
      }
      const file: DiskFile = {
        size: async () => (await handle.stat()).size,
        read: async (target, position) => (await handle.read(target, 0, target.length, position)).bytesRead,
        write,
        writeThrough: async (chunks, position) => {
          await write(chunks, position)
          await handle.datasync()
        },
        sync: () => handle.datasync(),
        truncate: (size) => handle.truncate(size),
        close: () => handle.close(),
      }
      return file
    },
  }
}

function makeEntries(from: number, count: number): Entry[] {
  return Array.from({ length: count }, (_, i) => {
    return sealEntry(1, from + i, EntryType.command, Buffer.alloc(ENTRY_HEADER_BYTES + 256, i))
  })
}

async function benchLog(directory: string, perSync: number, syncs: number): Promise<void> {
  const log = await RaftLog.open({ disk: realDisk(directory), clock, logger: silentLogger })
  const groups = Array.from({ length: 16 }, (_, i) => log.groups.get(i + 1) ?? log.createGroup(i + 1))
  const each = perSync / 16
  const rounds = Array.from({ length: 2 * syncs }, (_, round) => {
    return groups.map((group) => makeEntries(group.lastIndex + 1 + round * each, each))
  })
  const write = async (some: readonly Entry[][][]): Promise<void> => {
    for (const round of some) {
      for (let i = 0; i < groups.length; i++) groups[i]!.append(round[i]!, { term: 1, vote: 0, commitIndex: 0 })
      await log.flush()
    }
  }
  // Twice over: the first rounds warm up and make the log move on to a zeroed segment; the next one is zeroed meanwhile.
  await new Promise((resolve) => setTimeout(resolve, 1500))
  await write(rounds.splice(0, syncs))
  await new Promise((resolve) => setTimeout(resolve, 1500))
  const before = process.cpuUsage()
  const start = performance.now()
  await write(rounds)
  const elapsedMs = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  const entries = perSync * syncs
  const cpu = ((user + system) / entries).toFixed(2)
  console.log(
    `${perSync} entries a sync: ${cpu} µs CPU an entry, ${(elapsedMs / syncs).toFixed(2)} ms a sync, ` +
      `${Math.round((entries / elapsedMs) * 1000)} entries/s`,
  )
  await log.close()
}

/** The two ways to hand a batch to the disk, CPU alone: one copy into a buffer, or the entries' own buffers. */
async function benchGather(directory: string, count: number): Promise<void> {
  const handle = await open(join(directory, 'gather'), 'w')
  const entries = makeEntries(1, count)
  const buffer = Buffer.alloc(count * 300)
  const chunks = entries.map((entry) => entry.bytes)
  const ways = {
    copy: async () => {
      let at = 0
      for (const { bytes } of entries) {
        buffer.set(bytes, at)
        at += bytes.length
      }
      crc32(buffer.subarray(0, at))
      await handle.write(buffer, 0, at, 0)
    },
    gather: async () => {
      let crc = 0
      for (const { bytes } of entries) crc = crc32(bytes, crc)
      await handle.writev(chunks, 0)
    },
  }
  for (const [name, write] of Object.entries(ways)) {
    for (let i = 0; i < 50; i++) await write()
    const before = process.cpuUsage()
    for (let i = 0; i < 400; i++) await write()
    const { user, system } = process.cpuUsage(before)
    console.log(`${name} of ${count} entries: ${((user + system) / 400).toFixed(0)} µs CPU a batch`)
  }
  await handle.close()
}

async function benchMemory(directory: string): Promise<void> {
  const log = await RaftLog.open({ disk: realDisk(directory), clock, logger: silentLogger, cacheBytesMax: 0 })
  globalThis.gc?.()
  const before = process.memoryUsage().heapUsed
  for (let id = 1; id <= 10_000; id++) {
    log.createGroup(id).append(makeEntries(1, 3), { term: 1, vote: 0, commitIndex: 0 })
    if (id % 500 === 0) await log.flush()
  }
  await log.flush()
  globalThis.gc?.()
  console.log(`10,000 idle groups: ${Math.round((process.memoryUsage().heapUsed - before) / 10_000)} bytes each`)
  await log.close()
  const start = performance.now()
  const again = await RaftLog.open({ disk: realDisk(directory), clock, logger: silentLogger })
  console.log(`opened again in ${Math.round(performance.now() - start)} ms, ${again.groups.size} groups`)
  await again.close()
}

const parent = process.argv[2] ?? tmpdir()
for (const run of [
  (directory: string) => benchGather(directory, 64),
  (directory: string) => benchGather(directory, 1024),
  (directory: string) => benchLog(directory, 16, 1000),
  (directory: string) => benchLog(directory, 64, 1000),
  (directory: string) => benchLog(directory, 1024, 200),
  benchMemory,
]) {
  const directory = await mkdtemp(join(parent, 'raft-log-bench-'))
  await run(directory)
  await rm(directory, { recursive: true })
}
