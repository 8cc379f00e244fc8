import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeEntry, ENTRY_HEADER_BYTES, EntryType, entryPayload, sealEntry } from './entry.js'

const max48 = 2 ** 48 - 1
const sealed = fc
  .record({
    term: fc.nat({ max: max48 }),
    index: fc.nat({ max: max48 }),
    type: fc.constantFrom(...Object.values(EntryType)),
    payload: fc.uint8Array({ maxLength: 50 }),
  })
  .map(({ term, index, type, payload }) => {
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES + payload.length)
    bytes.set(payload, ENTRY_HEADER_BYTES)
    return { entry: sealEntry(term, index, type, bytes), payload }
  })

describe('an entry', () => {
  it('is read back as it was sealed, one behind the other', () => {
    fc.assert(
      fc.property(fc.array(sealed, { maxLength: 5 }), (all) => {
        const bytes = Buffer.concat(all.map(({ entry }) => entry.bytes))
        let offset = 0
        for (const { entry, payload } of all) {
          const { term, index, type, bytes: own } = decodeEntry(bytes, offset)
          expect({ term, index, type }).toEqual({ term: entry.term, index: entry.index, type: entry.type })
          expect(Buffer.compare(entryPayload(entry), payload)).toBe(0)
          expect(Buffer.compare(own, entry.bytes)).toBe(0)
          offset += own.length
        }
        expect(offset).toBe(bytes.length)
      }),
    )
  })

  it('is refused as CORRUPT when it is anything else', () => {
    const mutated = fc.tuple(sealed, fc.nat(80), fc.nat(255), fc.nat(80)).map(([{ entry }, at, value, length]) => {
      const bytes = Buffer.from(entry.bytes)
      bytes[at % bytes.length] = value
      return bytes.subarray(0, length)
    })
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), mutated), fc.nat(70), (bytes, offset) => {
        try {
          const { bytes: own } = decodeEntry(bytes, offset)
          expect(offset + own.length).toBeLessThanOrEqual(bytes.length)
        } catch (error) {
          expect(error).toBeInstanceOf(CordilleraError)
          expect((error as CordilleraError).code).toBe('CORRUPT')
        }
      }),
      { numRuns: 2000 },
    )
  })
})
