import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { etagOf, isWeak, matchesStrongly, matchesWeakly, parseTagField, tryVersion } from './entity-tags.js'

/** Fields that the grammar allows are read as they were meant, everything else is refused with a code. */
const version = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }))
const opaque = fc
  .array(fc.constantFrom(...'017,*W/\\!~\x80\xff'), { maxLength: 6 })
  .map((chars) => `"${chars.join('')}"`)
const tag = fc
  .tuple(fc.constantFrom('', 'W/'), fc.oneof(opaque, version.map(etagOf)))
  .map(([weak, text]) => weak + text)
const gap = fc.constantFrom(',', ', ', ' ,', ' ,\t', ',,', ', ,')
/** Tags joined in every way that RFC 9110 lets a recipient meet. */
const field = fc
  .tuple(
    fc.array(tag, { minLength: 1, maxLength: 5 }),
    fc.infiniteStream(gap),
    fc.constantFrom('', ' ', ','),
    fc.constantFrom('', ' ', ', '),
  )
  .map(([tags, gaps, before, after]) => {
    const text = tags.reduce((joined, next) => (joined === '' ? next : joined + gaps.next().value + next), '')
    return { tags, text: before + text + after }
  })

describe('a field of tags', () => {
  it('is read as its tags', () => {
    fc.assert(
      fc.property(field, ({ tags, text }) => {
        expect(parseTagField('If-Match', text)).toEqual(tags)
      }),
    )
    expect(parseTagField('If-Match', '*')).toBe('*')
  })

  it('matches as RFC 9110 compares', () => {
    fc.assert(
      fc.property(field, version, ({ tags, text }, present) => {
        const parsed = parseTagField('If-None-Match', text)
        expect(matchesStrongly(parsed, present)).toBe(tags.some((one) => one === `"${present}"`))
        expect(matchesWeakly(parsed, present)).toBe(tags.some((one) => one.replace(/^W\//, '') === `"${present}"`))
      }),
    )
    expect(matchesStrongly('*', 1) && matchesWeakly('*', 1)).toBe(true)
  })

  it('that is garbled is refused with a code, and nothing is lost of what is read', () => {
    const anything = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom(...'W/"*17, \t\x7f\u0100w'), { maxLength: 12 }).map((chars) => chars.join('')),
    )
    fc.assert(
      fc.property(anything, (text) => {
        const parsed = tryParse(text)
        if (parsed === undefined || parsed === '*') return
        expect(parsed.length).toBeGreaterThan(0)
        for (const one of parsed) expect(one).toMatch(/^(W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/)
        const bare = (spelled: string) => spelled.replaceAll(/[ \t,]/g, '')
        expect(bare(parsed.join())).toBe(bare(text))
      }),
      { numRuns: 2_000 },
    )
  })

  it.each(['', ' ', ',', '7', '"7', '7"', '"7""8"', '"7" "8"', 'w/"7"', 'W/ "7"', '*, "7"', '"7", *', '"a b"', '**'])(
    'is not %j',
    (text) => {
      expect(tryParse(text)).toBeUndefined()
    },
  )
})

describe('the version of a tag', () => {
  it('is the one that it was made of', () => {
    fc.assert(
      fc.property(version, (present) => {
        expect(tryVersion(etagOf(present))).toBe(present)
        expect(isWeak(etagOf(present))).toBe(false)
        expect(tryVersion(`W/${etagOf(present)}`)).toBeUndefined()
        expect(isWeak(`W/${etagOf(present)}`)).toBe(true)
      }),
    )
  })

  it('has one spelling', () => {
    fc.assert(
      fc.property(tag, (one) => {
        const present = tryVersion(one)
        if (present !== undefined) expect(etagOf(present)).toBe(one)
      }),
    )
    for (const one of ['"0"', '"007"', '"-1"', '"1e3"', '"9007199254740992"', '"9999999999999999"', '""', '" 1"']) {
      expect(tryVersion(one)).toBeUndefined()
    }
  })
})

function tryParse(text: string) {
  try {
    return parseTagField('If-Match', text)
  } catch (error) {
    expect(error instanceof CordilleraError && error.code).toBe('BAD_REQUEST')
    return undefined
  }
}
