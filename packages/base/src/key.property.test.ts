import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keyFromBytes, keyFromText, keyToBytes, keyToText, prefixEnd } from './key.js'

const bytes = fc.uint8Array({ maxLength: 12 })

describe('keys', () => {
  it('are their bytes, in the order of their bytes', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(Buffer.compare(keyToBytes(keyFromBytes(a)), a)).toBe(0)
        const [x, y] = [keyFromBytes(a), keyFromBytes(b)]
        expect(x < y ? -1 : x > y ? 1 : 0).toBe(Buffer.compare(a, b))
      }),
    )
  })

  it('give back every well-formed text, and say which bytes are none', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(keyToText(keyFromText(text))).toBe(text)
      }),
    )
    fc.assert(
      fc.property(bytes, (raw) => {
        const text = keyToText(keyFromBytes(raw))
        const isUtf8 = Buffer.compare(Buffer.from(Buffer.from(raw).toString('utf8')), raw) === 0
        expect(text !== undefined).toBe(isUtf8)
      }),
    )
    expect(keyToText('\xff')).toBeUndefined()
    expect(keyToText('\xef\xbb\xbfa')).toBe('\ufeffa')
  })

  it('have a least key above every key with a prefix', () => {
    fc.assert(
      fc.property(bytes, bytes, (p, rest) => {
        const prefix = keyFromBytes(p)
        const end = prefixEnd(prefix)
        if (end === undefined) {
          expect(p.every((byte) => byte === 0xff)).toBe(true)
        } else {
          expect(prefix + keyFromBytes(rest) < end).toBe(true)
          expect(end.startsWith(prefix)).toBe(false)
        }
      }),
    )
  })
})
