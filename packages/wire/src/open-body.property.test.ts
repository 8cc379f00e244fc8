import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BODY_DEPTH_MAX, decodeBody, encodeBody } from './open-body.js'

const corrupt = expect.objectContaining({ code: 'CORRUPT' })
const scalar = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }).map((n) => (Object.is(n, -0) ? 0 : n)),
  fc.string({ maxLength: 300 }),
  fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
)
const { body } = fc.letrec((tie) => ({
  body: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(tie('body'), { maxLength: 20 }),
    fc.dictionary(
      fc.string({ maxLength: 8 }).filter((key) => key !== '__proto__'),
      tie('body'),
      { maxKeys: 20, noNullPrototype: true },
    ),
  ),
}))

describe('a body of open shape', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(body, (value) => {
        expect(decodeBody(encodeBody(value))).toEqual(value)
      }),
      { numRuns: 300 },
    )
  })

  it('leaves out undefined properties and keeps maps as objects', () => {
    expect(decodeBody(encodeBody({ a: 1, b: undefined, c: [undefined] }))).toEqual({ a: 1, c: [null] })
    expect(decodeBody(encodeBody(new Map([[7, 'seven']])))).toEqual({ 7: 'seven' })
    expect(decodeBody(encodeBody(undefined))).toBeNull()
  })

  it('does not reach a prototype', () => {
    const bytes = Buffer.concat([
      Buffer.from([0x81, 0xa9]),
      Buffer.from('__proto__'),
      Buffer.from([0x81, 0xa1, 0x78, 1]),
    ])
    const decoded = decodeBody(bytes) as object
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype)
    expect((decoded as { x?: number }).x).toBeUndefined()
  })

  it('of random bytes, and of mutated ones, is CORRUPT or plain data and nothing else', () => {
    const decode = (bytes: Uint8Array): void => {
      try {
        decodeBody(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(CordilleraError)
        expect((error as CordilleraError).code).toBe('CORRUPT')
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), decode), { numRuns: 3000 })
    fc.assert(
      fc.property(body, fc.nat(), fc.nat(255), (value, at, byte) => {
        const bytes = Buffer.from(encodeBody(value))
        bytes[at % bytes.length] = byte
        decode(bytes)
      }),
      { numRuns: 2000 },
    )
  })

  it('with huge counts, too much depth or an extension type is refused', () => {
    const nested = (depth: number): Uint8Array => Buffer.concat([Buffer.alloc(depth, 0x91), Buffer.from([0xc0])])
    expect(decodeBody(nested(BODY_DEPTH_MAX))).toBeDefined()
    const bad = [
      nested(BODY_DEPTH_MAX + 1),
      nested(1_000_000),
      Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0xdb, 0x7f, 0xff, 0xff, 0xff]),
      Buffer.from([0xd6, 0x74, 0, 0, 0, 1]),
      Buffer.from([0xd4, 0x72, 0x40]),
      Buffer.from([0xc1]),
      Buffer.from([0xc0, 0xc0]),
      Buffer.from([]),
    ]
    for (const bytes of bad) expect(() => decodeBody(bytes)).toThrow(corrupt)
  })

  it('that cannot be sent is refused before it is', () => {
    const cyclic: unknown[] = []
    cyclic.push(cyclic)
    for (const bad of [cyclic, new Date(), Buffer.alloc(9 << 20)]) {
      expect(() => encodeBody(bad)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
    }
  })
})
