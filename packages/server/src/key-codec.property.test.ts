import { Buffer } from 'node:buffer'
import { CordilleraError, keyFromBytes, keyFromText } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeKeyPath, decodePercent, encodeEntry } from './key-codec.js'
import { parseQuery, splitTarget } from './query.js'

/** Keys survive every spelling unchanged, and nothing but a coded error comes out of arbitrary text. */
const bytes = fc.uint8Array({ minLength: 1, maxLength: 64 })
const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 64 })
/** Request targets arrive with one char a byte. */
const rawText = fc
  .array(fc.constantFrom(...'%%%0aFg/.+&=?\xc3\xa9\xff'), { maxLength: 24 })
  .map((chars) => chars.join(''))

describe('a key', () => {
  it('is the UTF-8 of its text, however much of it is escaped', () => {
    fc.assert(
      fc.property(text, fc.infiniteStream(fc.boolean()), (original, choices) => {
        const raw = [...Buffer.from(original)]
          .map((byte) => {
            const plain = byte !== 0x25 && choices.next().value === true
            return plain ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, '0')}`
          })
          .join('')
        expect(decodeKeyPath(raw, 'text')).toBe(keyFromText(original))
      }),
    )
  })

  it('is what encodeURIComponent made of it', () => {
    fc.assert(
      fc.property(text, (original) => {
        expect(decodeKeyPath(encodeURIComponent(original), 'text')).toBe(keyFromText(original))
      }),
    )
  })

  it.each(['hex', 'base64url'] as const)('is any bytes in %s', (encoding) => {
    fc.assert(
      fc.property(bytes, (original) => {
        const spelled = Buffer.from(original).toString(encoding)
        expect(decodeKeyPath(spelled, encoding)).toBe(keyFromBytes(original))
        expect(encodeEntry(keyFromBytes(original), original, encoding)).toEqual({ key: spelled, value: spelled })
      }),
    )
  })

  it('has one spelling in base64url, padding aside', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9_=+/-]{1,12}$/), (spelled) => {
        const key = tryDecode(() => decodeKeyPath(spelled, 'base64url'))
        if (key === undefined) return
        expect(spelled.replace(/=+$/, '')).toBe(Buffer.from(key, 'latin1').toString('base64url'))
      }),
    )
  })

  it('comes out of JSON as it went in, with an encoding of its own when it is not text', () => {
    fc.assert(
      fc.property(bytes, bytes, (key, value) => {
        const entry = JSON.parse(JSON.stringify(encodeEntry(keyFromBytes(key), value, 'text')))
        expect([...Buffer.from(entry.key, entry.encoding ?? 'utf8')]).toEqual([...key])
        expect([...Buffer.from(entry.value, entry.encoding ?? 'utf8')]).toEqual([...value])
      }),
    )
  })
})

describe('arbitrary text', () => {
  it('decodes or is refused with a code', () => {
    fc.assert(
      fc.property(rawText, fc.constantFrom('text', 'hex', 'base64url'), (raw, encoding) => {
        tryDecode(() => decodeKeyPath(raw, encoding as 'text'))
        tryDecode(() => parseQuery(raw))
        splitTarget(raw)
      }),
    )
  })

  it('is decoded as decodeURIComponent does, where that accepts it', () => {
    fc.assert(
      fc.property(rawText, (raw) => {
        const ascii = raw.replace(/[^\x20-\x7e]/g, '')
        let expected: string
        try {
          expected = decodeURIComponent(ascii)
        } catch {
          return
        }
        expect(decodePercent(ascii)).toBe(keyFromText(expected))
      }),
    )
  })

  it('in a query is what URLSearchParams wrote', () => {
    fc.assert(
      fc.property(fc.dictionary(text, text, { maxKeys: 5 }), (parameters) => {
        const parsed = parseQuery(new URLSearchParams(parameters).toString())
        const expected = Object.entries(parameters).map(([name, value]) => [keyFromText(name), keyFromText(value)])
        expect(Object.entries(parsed).sort()).toEqual(expected.sort())
      }),
    )
  })
})

function tryDecode<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    expect(error).toBeInstanceOf(CordilleraError)
    return undefined
  }
}
