import { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { CordilleraError, SeededRandom } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BatchKind,
  type BatchSummary,
  batchHeaderBytes,
  bodySeed,
  isBodyWhole,
  tryReadBatchHeader,
  writeBatchHeader,
} from './batch-header.js'
import { entries, openCopy, openFixture } from './log-fixture.js'
import { decodeRecords, RECORD_HEAD_BYTES, RecordKind, writeIntegers, writeRecordHead } from './record.js'
import { encodeSegmentHeader, tryDecodeSegmentHeader } from './segment-format.js'

const u53 = fc.maxSafeNat()
const u32 = fc.nat(0xffffffff)
const kind = fc.constantFrom(BatchKind.data, BatchKind.seal, BatchKind.end)
const groups = fc.array(u53, { maxLength: 20 })
const summary: fc.Arbitrary<BatchSummary> = fc
  .record({ sequence: u53, bodyCrc: u32, kind, groups, sectors: fc.integer({ min: 4, max: 1000 }) })
  .map(({ sectors, ...rest }) => ({ ...rest, byteLength: sectors * 512, headerBytes: 80 }))
const header = fc
  .record({ own: summary, number: u53, headSequence: u53, previous: fc.option(summary, { nil: undefined }) })
  .map(({ own, number, headSequence, previous }) => {
    const headerBytes = batchHeaderBytes(own.groups.length, previous?.groups.length ?? 0)
    return { ...own, headerBytes, number, headSequence, previous }
  })

/** Bytes with a few changes: some bits flipped, a piece overwritten, the end cut off. */
function mutate(bytes: Buffer, seed: number): Buffer {
  const random = new SeededRandom(seed)
  const changed = Buffer.from(bytes)
  for (let i = random.below(4); i >= 0 && changed.length > 0; i--) {
    const at = random.below(changed.length)
    if (random.below(2) === 0) changed[at]! ^= 1 << random.below(8)
    else changed.writeUIntLE(random.below(256), at, 1)
  }
  return random.below(3) === 0 ? changed.subarray(0, random.below(changed.length + 1)) : changed
}

describe('batch headers', () => {
  it('are read back as they were written', () => {
    fc.assert(
      fc.property(header, fc.nat(100), (written, at) => {
        const buffer = Buffer.alloc(at + written.headerBytes)
        writeBatchHeader(buffer, at, written)
        expect(tryReadBatchHeader(buffer, at)).toEqual(written)
      }),
    )
  })

  it('are not read when any of their bits changed, nor out of random bytes, and never throw', () => {
    fc.assert(
      fc.property(header, fc.nat(), fc.uint8Array({ maxLength: 300 }), (written, bit, noise) => {
        const buffer = Buffer.alloc(written.headerBytes)
        writeBatchHeader(buffer, 0, written)
        buffer[(bit >>> 3) % buffer.length]! ^= 1 << (bit & 7)
        expect(tryReadBatchHeader(buffer, 0)).toBeUndefined()
        expect(tryReadBatchHeader(Buffer.from(noise), 0)).toBeUndefined()
      }),
    )
  })
})

describe('bodies', () => {
  it('are whole in no other segment and as no other batch', () => {
    const body = Buffer.alloc(512, 7)
    const bodyCrc = crc32(body.subarray(80), bodySeed(3, 9))
    const summary = { sequence: 3, headerBytes: 80, byteLength: 512, bodyCrc, kind: BatchKind.data, groups: [] }
    expect(isBodyWhole(body, 0, summary, 9)).toBe(true)
    expect(isBodyWhole(body, 0, summary, 10)).toBe(false)
    expect(isBodyWhole(body, 0, { ...summary, sequence: 2 }, 9)).toBe(false)
    expect(isBodyWhole(body, 512, summary, 9)).toBe(false)
  })
})

describe('segment headers', () => {
  it('survive the loss of one copy, and are not read out of anything else', () => {
    fc.assert(
      fc.property(u53, fc.nat(1), fc.uint8Array({ maxLength: 4096 }), (sequence, copy, noise) => {
        const bytes = encodeSegmentHeader(sequence)
        bytes.fill(0xff, copy * 2048, copy * 2048 + 24)
        expect(tryDecodeSegmentHeader(bytes)).toBe(sequence)
        expect(tryDecodeSegmentHeader(Buffer.from(noise))).toBeUndefined()
      }),
    )
  })
})

describe('records', () => {
  const body = fc
    .array(
      fc.record({
        kind: fc.constantFrom(...Object.values(RecordKind)),
        group: u53,
        numbers: fc.array(u53, { maxLength: 8 }),
      }),
    )
    .map((records) => {
      const buffer = Buffer.alloc(20_000)
      let at = 0
      for (const { kind, group, numbers } of records) {
        if (kind === RecordKind.entries || kind === RecordKind.carriedEntries) {
          const made = entries((group % 1000) + 1, (group % 1000) + 3, 2, 8)
          at = writeRecordHead(buffer, at, kind, 3 * made[0]!.bytes.length, group)
          for (const { bytes } of made) {
            buffer.set(bytes, at)
            at += bytes.length
          }
        } else {
          at = writeRecordHead(buffer, at, kind, numbers.length * 8, group)
          at = writeIntegers(buffer, at, ...numbers)
        }
      }
      return buffer.subarray(0, at + RECORD_HEAD_BYTES)
    })

  it('are CORRUPT or records, whatever the bytes', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          body,
          fc.uint8Array({ maxLength: 400 }).map((b) => Buffer.from(b)),
        ),
        fc.nat(),
        (bytes, seed) => {
          for (const input of [bytes, mutate(bytes, seed)]) {
            try {
              const records = decodeRecords(input, 0, input.length)
              expect(records.length).toBeLessThanOrEqual(input.length / RECORD_HEAD_BYTES)
            } catch (error) {
              expect(error).toBeInstanceOf(CordilleraError)
              expect((error as CordilleraError).code).toBe('CORRUPT')
            }
          }
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('a whole log', () => {
  it('opens or is refused with a code, whatever became of its files, and never invents an entry', async () => {
    const fixture = await openFixture({ segmentBytes: 32 * 1024 })
    for (let round = 1; round <= 12; round++) {
      for (let id = 1; id <= 3; id++) {
        const group = fixture.log.groups.get(id) ?? fixture.log.createGroup(id)
        group.append(entries(group.lastIndex + 1, group.lastIndex + 2, id, 700), { term: id, vote: 0, commitIndex: 0 })
      }
      await fixture.clock.run(fixture.log.flush())
    }
    await fixture.clock.run(fixture.log.close())
    let damaged = 0
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 6 }), async (seed, count) => {
        const random = new SeededRandom(seed)
        let isOneBit = count === 1
        const opened = await openCopy(fixture, (disk) => {
          for (let i = 0; i < count; i++) {
            const name = disk.names()[random.below(disk.names().length)]!
            const at = random.below(disk.contents(name).length)
            const manner = random.below(10)
            isOneBit &&= manner < 6
            if (manner < 6) disk.flipBit(name, at, random.below(8))
            else if (manner < 9) disk.overwrite(name, at, Buffer.alloc(1 + random.below(3000), random.below(256)))
            else disk.truncateFile(name, at)
          }
        }).catch((error: unknown) => {
          expect(error).toBeInstanceOf(CordilleraError)
          return undefined
        })
        for (const group of opened?.log.groups.values() ?? []) {
          if (group.damaged) damaged++
          for (let index = 1; index <= group.lastIndex; index++) expect(group.termAt(index)).toBe(group.replicaId)
          expect(group.lastIndex).toBeLessThanOrEqual(24)
          // Of a sealed log one bit alone takes nothing without the group saying so. (More can take seal and batch.)
          if (isOneBit && !group.damaged) expect(group.lastIndex).toBe(24)
        }
      }),
      { numRuns: 300 },
    )
    expect(damaged).toBeGreaterThan(50)
  })
})
