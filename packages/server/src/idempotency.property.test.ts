import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { CordilleraError, keyFromBytes } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { idempotencyOf, parseIdempotencyKey } from './idempotency.js'

/** One key for both spellings, and different bytes for whatever makes another operation or another request. */
const visible = fc.stringMatching(/^[\x21-\x7e]{1,255}$/)
const bare = visible.filter((key) => !key.startsWith('"'))
const quote = (key: string) => `"${key.replaceAll(/["\\]/g, '\\$&')}"`

describe('the header', () => {
  it('is the key as it is, or quoted', () => {
    fc.assert(
      fc.property(visible, bare, (key, bareKey) => {
        expect(parseIdempotencyKey(quote(key))).toBe(key)
        expect(parseIdempotencyKey(bareKey)).toBe(bareKey)
      }),
    )
  })

  it('that is anything else is refused with a code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^"[ -~]*"?$/), fc.stringMatching(/^[\\"a ]*$/)), (text) => {
        const key = tryParse(text)
        if (key === undefined) return
        expect(key).toMatch(/^[\x21-\x7e]{1,255}$/)
        expect([key, quote(key)]).toContain(text)
      }),
      { numRuns: 2_000 },
    )
  })

  it.each([
    '',
    '""',
    '"',
    '"abc',
    'a b',
    'a, b',
    '"a", "b"',
    '"a";p=1',
    '"a b"',
    '"a\\b"',
    '\x7f',
    '\xe9',
    'x'.repeat(256),
  ])('is not %j', (text) => {
    expect(tryParse(text)).toBeUndefined()
  })

  it('may have 255 characters, quotes and escapes aside', () => {
    expect(parseIdempotencyKey('x'.repeat(255))).toHaveLength(255)
    expect(parseIdempotencyKey(quote('"'.repeat(255)))).toHaveLength(255)
  })
})

describe('the 32 bytes', () => {
  const key = fc.uint8Array({ maxLength: 5 }).map((bytes) => `default\x00${keyFromBytes(bytes)}`)
  const request = fc.record({
    method: fc.constantFrom('PUT', 'DELETE'),
    condition: fc.constantFrom('', '*', '0', '7', '77'),
    body: fc.uint8Array({ maxLength: 5 }),
  })
  const operation = fc.record({ key, idempotencyKey: fc.stringMatching(/^[\x21-\x7e]{1,3}$/), request })

  it('differ in the first half by the operation, in the second by the request', () => {
    fc.assert(
      fc.property(operation, operation, (a, b) => {
        const [left, right] = [a, b].map((one) => idempotencyOf(one.key, one.idempotencyKey, one.request))
        expect(left).toHaveLength(32)
        const isSameOperation = a.key === b.key && a.idempotencyKey === b.idempotencyKey
        expect(Buffer.compare(left!.subarray(0, 16), right!.subarray(0, 16)) === 0).toBe(isSameOperation)
        const isSameRequest =
          a.request.method === b.request.method &&
          a.request.condition === b.request.condition &&
          Buffer.compare(a.request.body, b.request.body) === 0
        expect(Buffer.compare(left!.subarray(16), right!.subarray(16)) === 0).toBe(isSameRequest)
      }),
    )
  })

  it('are the ones that every node makes, now and later', () => {
    const sha = (text: string) => createHash('sha256').update(text, 'latin1').digest('hex').slice(0, 32)
    const made = idempotencyOf('default\x00k\xff', 'abc', { method: 'PUT', condition: '7', body: Buffer.from('v') })
    expect(Buffer.from(made).toString('hex')).toBe(sha('default\x00k\xff\x00abc') + sha('PUT\x007\x00v'))
  })
})

function tryParse(text: string) {
  try {
    return parseIdempotencyKey(text)
  } catch (error) {
    expect(error instanceof CordilleraError && error.code).toBe('BAD_REQUEST')
    return undefined
  }
}
