import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ENTRY_HEADER_BYTES, type Entry, EntryType, sealEntry } from './entry.js'
import { MemoryLog } from './testing/memory-log.js'
import { UnstableLog } from './unstable-log.js'

function entry(index: number, term: number): Entry {
  return sealEntry(term, index, EntryType.command, Buffer.alloc(ENTRY_HEADER_BYTES + 1))
}

describe('UnstableLog', () => {
  it('is an array over which entries are written, and never claims more than the disk holds of it', () => {
    const step = fc.record({
      kind: fc.constantFrom('append', 'replace', 'take', 'sync'),
      a: fc.nat(20),
      b: fc.integer({ min: 1, max: 4 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const disk = new MemoryLog()
        const log = new UnstableLog(disk)
        const tokens: number[] = []
        let twin: number[] = []
        let term = 1
        let token = 0
        for (const { kind, a, b } of steps) {
          if (kind === 'append') log.append(entry(twin.push(term), term))
          if (kind === 'replace') {
            term++
            const from = Math.min(a, twin.length) + 1
            const entries = Array.from({ length: b }, (_, at) => entry(from + at, term))
            log.replace(entries, 0)
            twin = [...twin.slice(0, from - 1), ...entries.map((each) => each.term)]
          }
          if (kind === 'take') {
            disk.write(log.takePending(), undefined)
            log.claim(++token)
            tokens.push(token)
          }
          if (kind === 'sync' && tokens.length > 0) {
            disk.syncNext()
            log.onSynced(tokens.shift()!)
          }
          expect([log.lastIndex, log.lastTerm]).toEqual([twin.length, twin.at(-1) ?? 0])
          for (let index = 1; index <= twin.length + 1; index++) expect(log.termAt(index)).toBe(twin[index - 1])
          for (let from = 1; from <= twin.length; ) {
            const found = log.slice(from, twin.length, a * 10)!
            found.forEach((each, at) => {
              expect([each.index, each.term]).toEqual([from + at, twin[from + at - 1]])
            })
            from += found.length
          }
          for (let index = 1; index <= log.durableIndex; index++) {
            expect(disk.durableTermAt(index)).toBe(twin[index - 1])
          }
        }
        // Once everything is synced, all of it is known to be durable.
        disk.write(log.takePending(), undefined)
        log.claim(++token)
        for (let at = disk.unsyncedCount; at > 0; at--) disk.syncNext()
        log.onSynced(token)
        expect(log.durableIndex).toBe(twin.length)
      }),
      { numRuns: 300 },
    )
  })

  it('finds where a term ends', () => {
    const terms = [1, 1, 3, 3, 5]
    const entries = terms.map((term, at) => entry(at + 1, term))
    const log = new UnstableLog(MemoryLog.of(entries, { term: 5, vote: 0, commitIndex: 0 }))
    expect([5, 4, 3, 2, 1, 0].map((term) => log.findByTerm(9, term))).toEqual([5, 4, 4, 2, 2, 0])
    expect(log.findByTerm(3, 3)).toBe(3)
  })
})
