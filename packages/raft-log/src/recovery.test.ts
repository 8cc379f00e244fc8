import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { BatchKind, batchHeaderBytes, bodySeed, tryReadBatchHeader, writeBatchHeader } from './batch-header.js'
import type { DiskFile } from './disk.js'
import { entries, entry, type Fixture, openCopy, openFixture, readAll, terms } from './log-fixture.js'
import type { MemoryDisk } from './memory-disk.js'
import { RaftLog } from './raft-log.js'
import { RECORD_HEAD_BYTES, RecordKind, writeIntegers, writeRecordHead } from './record.js'
import { Replay } from './replay.js'
import { encodeSegmentHeader, roundUpToSector, SECTOR_BYTES, tryDecodeSegmentHeader } from './segment-format.js'
import { newSegment, SegmentTable } from './segment-table.js'
import { walkSegment } from './segment-walk.js'

/**
 * Recovery from hand-made damage. The log under test lies in one segment: batches of the groups 1, 2, 3, then 1 and 2
 * together, each flushed; what follows them differs from case to case.
 */
interface Batch {
  readonly name: string
  readonly sequence: number
  readonly at: number
  readonly byteLength: number
  readonly headerBytes: number
  readonly number: number
  readonly kind: number
  readonly groups: readonly number[]
}

function batchesOf(disk: MemoryDisk): Batch[] {
  const found: Batch[] = []
  for (const name of disk.names()) {
    const bytes = disk.contents(name)
    const sequence = tryDecodeSegmentHeader(bytes)
    if (sequence === undefined) continue
    for (const step of walkSegment(bytes, sequence, undefined)) {
      if (step.kind === 'batch') found.push({ ...step.summary, name, at: step.at, number: step.number })
    }
  }
  return found.sort((a, b) => a.number - b.number)
}

async function write(fixture: Fixture, group: number, from: number, to: number, term: number): Promise<void> {
  const log = fixture.log.groups.get(group) ?? fixture.log.createGroup(group)
  log.append(entries(from, to, term, 100), { term, vote: group, commitIndex: 0 })
  await fixture.clock.run(fixture.log.flush())
}

/** A log whose active segment is a whole one. */
async function openSettled(): Promise<Fixture> {
  const fixture = await openFixture()
  await write(fixture, 9, 1, 1, 1)
  await fixture.clock.drain(40)
  await write(fixture, 9, 2, 2, 1)
  return fixture
}

async function openWithBatches(): Promise<{ fixture: Fixture; batches: Batch[] }> {
  const fixture = await openSettled()
  await write(fixture, 1, 1, 3, 1)
  await write(fixture, 2, 1, 4, 1)
  await write(fixture, 3, 1, 2, 2)
  for (const group of [1, 2]) fixture.log.groups.get(group)!.append(entries(4, 5, 3, 50), undefined)
  await fixture.clock.run(fixture.log.flush())
  const sequence = Math.max(...batchesOf(fixture.disk).map((batch) => batch.sequence))
  const batches = batchesOf(fixture.disk).filter((batch) => batch.sequence === sequence)
  return { fixture, batches: batches.slice(-4) }
}

const WHOLE: Record<number, string> = {
  1: '1@1 2@1 3@1 4@3 5@3',
  2: '1@1 2@1 3@1 4@3 5@3',
  3: '1@2 2@2',
  9: '1@1 2@1',
}

async function logsOf(fixture: Fixture): Promise<Record<number, string>> {
  const logs: Record<number, string> = {}
  for (const group of fixture.log.groups.values()) {
    logs[group.replicaId] = group.damaged ? 'damaged' : terms(await readAll(fixture, group.replicaId))
  }
  return logs
}

async function closeAndReopen(fixture: Fixture): Promise<Fixture> {
  await fixture.clock.run(fixture.log.close())
  return openCopy(fixture)
}

describe('recovery', () => {
  it('finds everything that was flushed', async () => {
    const { fixture } = await openWithBatches()
    const copy = await openCopy(fixture)
    expect(await logsOf(copy)).toEqual(WHOLE)
    expect(batchesOf(copy.disk).at(-1)!.kind, 'sealed before anyone uses it').toBe(BatchKind.seal)
    expect(await logsOf(await closeAndReopen(fixture))).toEqual(WHOLE)
  })

  it('survives a flipped bit in any byte of a batch: nothing is lost, or the groups of that batch say so', async () => {
    const { fixture, batches } = await openWithBatches()
    for (const batch of batches.slice(0, 3)) {
      for (let offset = 0; offset < batch.byteLength; offset++) {
        const copy = await openCopy(fixture, (disk) => disk.flipBit(batch.name, batch.at + offset, offset % 8))
        const expected = { ...WHOLE }
        if (offset >= batch.headerBytes) for (const group of batch.groups) expected[group] = 'damaged'
        expect(await logsOf(copy), `batch ${batch.number}, byte ${offset}`).toEqual(expected)
        expect(copy.log.hasUnattributedDamage).toBe(false)
      }
    }
  })

  it('takes a bad last batch for a tear, wherever its bit flipped, and forgets it', async () => {
    const { fixture, batches } = await openWithBatches()
    const last = batches[3]!
    for (let offset = 0; offset < last.byteLength; offset += 5) {
      const copy = await openCopy(fixture, (disk) => disk.flipBit(last.name, last.at + offset, 3))
      expect(await logsOf(copy), `byte ${offset}`).toEqual({ ...WHOLE, 1: '1@1 2@1 3@1', 2: '1@1 2@1 3@1 4@1' })
    }
  })

  it('takes a bad last batch for damage once the log was sealed behind it', async () => {
    const { fixture, batches } = await openWithBatches()
    const last = batches[3]!
    await fixture.clock.drain(60)
    expect(batchesOf(fixture.disk).at(-1)!.kind).toBe(BatchKind.seal)
    for (let offset = last.headerBytes; offset < last.byteLength; offset += 5) {
      const copy = await openCopy(fixture, (disk) => disk.flipBit(last.name, last.at + offset, 3))
      expect(await logsOf(copy)).toEqual({ ...WHOLE, 1: 'damaged', 2: 'damaged' })
    }
    const copy = await openCopy(fixture, (disk) => disk.flipBit(last.name, last.at + 20, 3))
    expect(await logsOf(copy)).toEqual(WHOLE)
  })

  it('forgets a batch that tore at any sector boundary, in any order, and goes on behind the one before it', async () => {
    const fixture = await openSettled()
    await write(fixture, 1, 1, 3, 1)
    const before = fixture.disk.contents(batchesOf(fixture.disk).at(-1)!.name)
    await write(fixture, 1, 4, 40, 1)
    const torn = batchesOf(fixture.disk).at(-1)!
    const sectors = torn.byteLength / SECTOR_BYTES
    expect(sectors).toBeGreaterThan(6)
    for (let cut = 0; cut < sectors; cut++) {
      for (const keepsFront of [true, false]) {
        const copy = await openCopy(fixture, (disk) => {
          const at = keepsFront ? torn.at + cut * SECTOR_BYTES : torn.at
          const end = keepsFront ? torn.at + torn.byteLength : torn.at + (cut + 1) * SECTOR_BYTES
          disk.overwrite(torn.name, at, before.subarray(at, end))
        })
        expect(await logsOf(copy)).toEqual({ 1: '1@1 2@1 3@1', 9: '1@1 2@1' })
        await write(copy, 1, 4, 5, 7)
        expect(await logsOf(await openCopy(copy)), `after a tear at ${cut}`).toMatchObject({ 1: '1@1 2@1 3@1 4@7 5@7' })
      }
    }
  })

  it('damages every group when neither a header nor its copy can be read, but none that is created later', async () => {
    const { fixture, batches } = await openWithBatches()
    const copy = await openCopy(fixture, (disk) => {
      disk.flipBit(batches[1]!.name, batches[1]!.at + 9, 1)
      disk.flipBit(batches[2]!.name, batches[2]!.at + 9, 1)
    })
    expect(copy.log.hasUnattributedDamage).toBe(true)
    // Group 3 was created behind the loss, in a batch that its copied header brings back.
    const damaged = { 1: 'damaged', 2: 'damaged', 3: WHOLE[3], 9: 'damaged' }
    expect(await logsOf(copy)).toEqual(damaged)
    await write(copy, 50, 1, 2, 9)
    const again = await closeAndReopen(copy)
    expect(again.log.hasUnattributedDamage).toBe(true)
    expect(await logsOf(again)).toEqual({ ...damaged, 50: '1@9 2@9' })
  })

  it('keeps a damaged group marked after the damaged segment is gone', async () => {
    const { fixture, batches } = await openWithBatches()
    const { name, at, headerBytes, sequence } = batches[2]!
    let copy = await openCopy(fixture, (disk) => disk.flipBit(name, at + headerBytes + 3, 1))
    for (let index = 3; index < 300; index++) {
      await write(copy, 9, index, index, 1)
      copy.log.groups.get(9)!.compactTo(index)
      copy.log.groups.get(9)!.append(entries(index + 1, index + 1, 1, 3000), undefined)
    }
    copy = await closeAndReopen(copy)
    expect(Math.min(...batchesOf(copy.disk).map((batch) => batch.sequence))).toBeGreaterThan(sequence)
    expect(await logsOf(copy)).toMatchObject({ 1: WHOLE[1], 2: WHOLE[2], 3: 'damaged' })
  })

  it('does not revive a valid batch of the file’s former life at the very place and number of the next one', async () => {
    const { fixture, batches } = await openWithBatches()
    const last = batches[3]!
    for (const sequence of [last.sequence - 1, last.sequence]) {
      const copy = await openCopy(fixture, (disk) => {
        const stale = makeBatch(sequence, last.number + 1, 1, 6)
        disk.overwrite(last.name, last.at + last.byteLength, stale)
      })
      const isRevived = sequence === last.sequence
      expect((await logsOf(copy))[1]).toBe(isRevived ? `${WHOLE[1]} 6@4` : WHOLE[1])
    }
  })

  it('does not take a former life behind a torn batch for a later batch', async () => {
    const { fixture, batches } = await openWithBatches()
    const last = batches[3]!
    const copy = await openCopy(fixture, (disk) => {
      disk.flipBit(last.name, last.at + last.headerBytes + 3, 1)
      disk.overwrite(last.name, last.at + last.byteLength, makeBatch(last.sequence - 1, last.number + 1, 3, 3))
    })
    expect(await logsOf(copy)).toEqual({ ...WHOLE, 1: '1@1 2@1 3@1', 2: '1@1 2@1 3@1 4@1' })
  })

  it('knows a segment whose header is gone by its batches', async () => {
    const { fixture, batches } = await openWithBatches()
    const copy = await openCopy(fixture, (disk) => disk.overwrite(batches[0]!.name, 0, Buffer.alloc(4096, 0xa5)))
    expect(await logsOf(copy)).toEqual(WHOLE)
  })

  it('takes the file that has batches when others were prepared for the same segment and never used', async () => {
    const { fixture, batches } = await openWithBatches()
    const { sequence } = batches[0]!
    for (let index = 3; index < 60; index++) {
      fixture.log.groups.get(9)!.append([entry(index, 1, 3000)], undefined)
      await fixture.clock.run(fixture.log.flush())
    }
    expect(batchesOf(fixture.disk).at(-1)!.sequence).toBeGreaterThan(sequence + 1)
    const expected = await logsOf(await openCopy(fixture))
    for (const each of new Set(batchesOf(fixture.disk).map((batch) => batch.sequence))) {
      for (const name of ['raft-log-0', 'raft-log-999']) {
        expect(fixture.disk.names()).not.toContain(name)
        const copy = await openCopy(fixture, (disk) => {
          const header = Buffer.alloc(64 * 1024)
          encodeSegmentHeader(each).copy(header)
          disk.place(name, header)
        })
        expect(copy.log.hasUnattributedDamage, `segment ${each} also in ${name}`).toBe(false)
        expect(await logsOf(copy)).toEqual(expected)
      }
    }
  })

  it('damages every group when a segment is missing', async () => {
    const { fixture, batches } = await openWithBatches()
    const name = batches[0]!.name
    const copy = await openCopy(fixture, (disk) => disk.overwrite(name, 0, Buffer.alloc(64 * 1024)))
    expect(copy.log.hasUnattributedDamage).toBe(true)
    expect(await logsOf(copy)).toEqual({ 9: 'damaged' })
    await write(copy, 60, 1, 1, 1)
    expect(await logsOf(await openCopy(copy))).toEqual({ 9: 'damaged', 60: '1@1' })
  })

  it('recovers from a damaged end mark: nothing was in it', async () => {
    const { fixture } = await openWithBatches()
    const mark = batchesOf(fixture.disk).find((batch) => batch.kind === BatchKind.end)!
    for (let offset = 0; offset < mark.byteLength; offset += 31) {
      const copy = await openCopy(fixture, (disk) => disk.flipBit(mark.name, mark.at + offset, 0))
      expect(await logsOf(copy), `byte ${offset}`).toEqual(WHOLE)
    }
  })

  it('refuses a log of which nothing can be read, and one of another format', async () => {
    const { fixture } = await openWithBatches()
    await fixture.clock.drain(40)
    const lost = openCopy(fixture, (disk) => {
      for (const name of disk.names()) disk.overwrite(name, 4096, Buffer.alloc(60 * 1024))
    })
    await expect(lost).rejects.toMatchObject({ code: 'LOG_DAMAGED' })
    const newer = openCopy(fixture, (disk) => {
      const header = encodeSegmentHeader(7)
      header.writeUInt32LE(2, 4)
      header.writeUInt32LE(crc32(header.subarray(0, 16)), 16)
      disk.overwrite(disk.names()[0]!, 0, header)
    })
    await expect(newer).rejects.toMatchObject({ code: 'DIRECTORY_INVALID' })
  })

  it('writes its last batch again before anyone relies on it: the process may have died before its fsync', async () => {
    const { fixture } = await openWithBatches()
    const log = fixture.log.groups.get(3)!
    fixture.disk.fail({ operation: 'sync', code: 'EIO' })
    log.append([entry(3, 2)], undefined)
    await expect(fixture.clock.run(fixture.log.flush())).rejects.toMatchObject({ code: 'DISK_FAILED' })
    fixture.disk.crash({ keep: 'all' })
    fixture.log = await fixture.clock.run(RaftLog.open(fixture.options))
    expect(await logsOf(fixture)).toEqual({ ...WHOLE, 3: '1@2 2@2 3@2' })
    fixture.disk.crash({ keep: 'none' })
    fixture.log = await fixture.clock.run(RaftLog.open(fixture.options))
    expect(await logsOf(fixture)).toEqual({ ...WHOLE, 3: '1@2 2@2 3@2' })
  })

  it('ignores a whole batch whose number is not the next one: what a torn batch left behind', async () => {
    const { fixture, batches } = await openWithBatches()
    const last = batches[3]!
    const copy = await openCopy(fixture, (disk) => {
      disk.overwrite(last.name, last.at + last.byteLength, makeBatch(last.sequence, last.number, 1, 6))
    })
    expect(await logsOf(copy)).toEqual(WHOLE)
  })

  it('needs no segment that is gone when the last batch is bad', async () => {
    const fixture = await openFixture({ sparesMax: 0 })
    const group = fixture.log.createGroup(1)
    for (let round = 0; round < 60; round++) {
      group.append(entries(group.lastIndex + 1, group.lastIndex + 4, 1, 4000), undefined)
      group.compactTo(group.lastIndex)
      await fixture.clock.run(fixture.log.flush())
      await fixture.clock.drain(3)
      const last = batchesOf(fixture.disk).at(-1)!
      const copy = await openCopy(fixture, (disk) => disk.flipBit(last.name, last.at + 20, 1))
      expect(copy.log.hasUnattributedDamage).toBe(false)
    }
    expect(Math.min(...batchesOf(fixture.disk).map((batch) => batch.sequence))).toBeGreaterThan(5)
  })
})

describe('replay', () => {
  const STATE = {
    hardState: { term: 3, vote: 1, commitIndex: 2 },
    compactedIndex: 2,
    compactedTerm: 1,
    flushedIndex: 2,
  }

  function replayState(lastIndex: number, beginWith: (replay: Replay) => void = () => {}): Replay {
    const segments = new SegmentTable()
    segments.push(newSegment(1, 1, undefined as unknown as DiskFile, 0))
    const replay = new Replay(segments)
    beginWith(replay)
    const body = Buffer.alloc(512)
    const { term, vote, commitIndex } = STATE.hardState
    const at = writeRecordHead(body, 80, RecordKind.carriedState, 64, 5)
    writeIntegers(body, at, term, vote, commitIndex, 2, 1, 2, lastIndex, 0)
    const summary = { sequence: 1, headerBytes: 80, byteLength: 512, bodyCrc: 0, kind: BatchKind.data, groups: [5] }
    replay.replayBatch(body, 0, summary, 9)
    replay.finish()
    return replay
  }

  it('takes a carried state for all that there is of an idle group', () => {
    expect(replayState(2).images.get(5)).toMatchObject({ ...STATE, damaged: false, lastIndex: 2 })
  })

  it('notices that a log ends before a carried state says it did', () => {
    expect(replayState(3).images.get(5)!.damaged).toBe(true)
  })

  it('does not trust a group that it meets only behind damage that cannot be attributed', () => {
    expect(replayState(2, (replay) => replay.onDamage(undefined)).images.get(5)!.damaged).toBe(true)
  })
})

/** A valid batch with one entry of a group, of term 4. */
function makeBatch(sequence: number, number: number, group: number, index: number): Buffer {
  const { bytes } = entry(index, 4)
  const headerBytes = batchHeaderBytes(1, 0)
  const byteLength = roundUpToSector(headerBytes + RECORD_HEAD_BYTES + bytes.length)
  const batch = Buffer.alloc(byteLength)
  batch.set(bytes, writeRecordHead(batch, headerBytes, RecordKind.entries, bytes.length, group))
  const bodyCrc = crc32(batch.subarray(headerBytes), bodySeed(sequence, number))
  const summary = { sequence, headerBytes, byteLength, bodyCrc, kind: BatchKind.data, groups: [group] }
  writeBatchHeader(batch, 0, { ...summary, number, headSequence: 1, previous: undefined })
  expect(tryReadBatchHeader(batch, 0)?.number).toBe(number)
  return batch
}
