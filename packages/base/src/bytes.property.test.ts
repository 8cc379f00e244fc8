import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteReader, ByteWriter } from './bytes.js'
import { CordilleraError } from './errors.js'

const latin1 = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1'))
const field = fc.oneof(
  fc.record({ kind: fc.constant('u8' as const), value: fc.nat(0xff) }),
  fc.record({ kind: fc.constant('u16' as const), value: fc.nat(0xffff) }),
  fc.record({ kind: fc.constant('u32' as const), value: fc.nat(0xffffffff) }),
  fc.record({ kind: fc.constant('u53' as const), value: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('varint' as const), value: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('bytes' as const), value: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ kind: fc.constant('key' as const), value: latin1 }),
  fc.record({ kind: fc.constant('text' as const), value: fc.string({ unit: 'grapheme', maxLength: 20 }) }),
)

describe('ByteWriter and ByteReader', () => {
  it('read back what was written, to the last byte', () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 30 }), (fields) => {
        const writer = new ByteWriter(1)
        for (const { kind, value } of fields) (writer[kind] as (v: unknown) => unknown).call(writer, value)
        const length = writer.length
        const bytes = writer.take()
        expect(bytes.length).toBe(length)
        expect(writer.length).toBe(0)
        const reader = new ByteReader(bytes)
        for (const { kind, value } of fields) {
          const read = reader[kind]()
          if (value instanceof Uint8Array) expect(Buffer.compare(read as Uint8Array, value)).toBe(0)
          else expect(read).toBe(value)
        }
        reader.end()
      }),
      { numRuns: 300 },
    )
  })

  it('meet malformed bytes with CORRUPT and nothing else, and never read past the end', () => {
    const kinds = ['u8', 'u16', 'u32', 'u53', 'varint', 'bytes', 'key', 'text'] as const
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.array(fc.constantFrom(...kinds), { maxLength: 20 }),
        (bytes, reads) => {
          const reader = new ByteReader(bytes)
          try {
            for (const kind of reads) reader[kind]()
          } catch (error) {
            expect(error).toBeInstanceOf(CordilleraError)
            expect((error as CordilleraError).code).toBe('CORRUPT')
          }
          expect(reader.remaining).toBeGreaterThanOrEqual(0)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('refuse integers above 53 bits', () => {
    expect(() => new ByteReader(Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255)).u53()).toThrow('53 bits')
    expect(() => new ByteReader(Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 127)).varint()).toThrow('53 bits')
    expect(() => new ByteReader(Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 1)).varint()).toThrow('53 bits')
  })

  it('refuse lengths above the given limit before anything is read', () => {
    const bytes = new ByteWriter().bytes(new Uint8Array(10)).take()
    expect(() => new ByteReader(bytes).bytes(9)).toThrow('above 9')
    expect(new ByteReader(bytes).bytes(10).length).toBe(10)
  })
})
