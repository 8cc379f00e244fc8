import { CordilleraError, keyFromBytes } from '@cordillera/base'
import { keyspacePrefix, spreadKey } from '@cordillera/ranges'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeCursor, encodeCursor, type ScanState } from './cursor.js'
import { answerOf, scanOf, scanPage } from './scan.js'
import { FakeNode } from './testing/fake-node.js'

/** Pages joined together are the whole span, once each, in order; cursors survive and nothing else passes for one. */
const key = fc.uint8Array({ maxLength: 6 }).map(keyFromBytes)
const scanState: fc.Arbitrary<ScanState> = fc.record({
  keyspace: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
  spread: fc.boolean(),
  at: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  start: key,
  end: fc.option(key),
  reverse: fc.boolean(),
  values: fc.boolean(),
  limit: fc.integer({ min: 1, max: 10_000 }),
  encoding: fc.constantFrom('text' as const, 'hex' as const, 'base64url' as const),
})

describe('a cursor', () => {
  it('is decoded to what was encoded', () => {
    fc.assert(
      fc.property(scanState, (state) => {
        expect(decodeCursor(encodeCursor(state))).toEqual(state)
      }),
    )
  })

  it('that was not given out is refused', () => {
    const refused = (text: string) => {
      try {
        decodeCursor(text)
        return false
      } catch (error) {
        return error instanceof CordilleraError && error.code === 'BAD_REQUEST'
      }
    }
    fc.assert(fc.property(fc.string(), (text) => refused(text)))
    fc.assert(fc.property(fc.uint8Array(), (bytes) => refused(Buffer.from(bytes).toString('base64url'))))
    fc.assert(
      fc.property(scanState, fc.nat(), fc.integer({ min: 1, max: 255 }), (state, at, change) => {
        const bytes = Buffer.from(encodeCursor(state), 'base64url')
        bytes[at % bytes.length]! ^= change
        return refused(bytes.toString('base64url'))
      }),
    )
  })
})

describe('pages', () => {
  it('joined together are the span', async () => {
    const hex = (text: string) => Buffer.from(text, 'latin1').toString('hex')
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(
          key.filter((k) => k !== ''),
          { maxLength: 30 },
        ),
        fc.oneof(
          fc.record({ prefix: key.map(hex) }),
          fc.record({ start: key.map(hex), end: key.map(hex) }, { requiredKeys: [] }),
        ),
        fc.boolean(),
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom('default', 'd', 'orders-2'),
        fc.boolean(),
        async (keys, span, reverse, limit, keyspace, spread) => {
          const node = new FakeNode()
          const [prefix, other] = [keyspacePrefix(keyspace, spread), keyspacePrefix(keyspace, !spread)]
          const stored = (k: string) => (spread ? spreadKey(prefix, k) : prefix + k)
          const ofOther = [`${other}a`, `${other}0a`, `${other}\xff`]
          const others = [
            ...ofOther,
            keyspace,
            `${keyspace}\x02`,
            `${keyspace}-\x00a`,
            `${keyspace}a\x00a`,
            'c\x00a',
            '\x00sys',
          ]
          for (const k of [...keys.map(stored), ...others]) {
            node.data.set(k, { version: 1, value: new Uint8Array() })
          }
          const seen: string[] = []
          let state = scanOf({ ...span, reverse, limit, encoding: 'hex', keyspace, spread })
          for (;;) {
            const answer = answerOf(state, await scanPage(node.router, state, 0))
            expect(answer.entries.length).toBeLessThanOrEqual(limit)
            seen.push(...answer.entries.map((entry) => entry.key))
            if (answer.cursor === undefined) break
            // Pages to come see none of this.
            node.data.clear()
            node.data.set(stored(String.fromCharCode(limit)), { version: 2, value: new Uint8Array() })
            state = scanOf({ cursor: answer.cursor })
          }
          const expected = keys.map(hex).filter((k) => {
            if ('prefix' in span) return k.startsWith(span.prefix)
            return k >= (span.start ?? '') && (span.end === undefined || k < span.end)
          })
          expected.sort()
          expect(seen).toEqual(reverse ? expected.reverse() : expected)
        },
      ),
    )
  })
})
