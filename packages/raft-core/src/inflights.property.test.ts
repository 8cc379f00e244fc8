import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Inflights } from './inflights.js'

describe('Inflights', () => {
  it('is a list of messages from which the answered ones are struck', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), by: fc.integer({ min: 1, max: 3 }), bytes: fc.nat(100) }),
      fc.record({ kind: fc.constant('free' as const), by: fc.nat(8), bytes: fc.constant(0) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const inflights = new Inflights()
        let twin: { index: number; bytes: number }[] = []
        let last = 0
        let freed = 0
        for (const { kind, by, bytes } of steps) {
          if (kind === 'add') {
            last += by
            inflights.add(last, bytes)
            twin.push({ index: last, bytes })
          } else {
            freed = Math.min(freed + by, last)
            inflights.freeTo(freed)
            twin = twin.filter(({ index }) => index > freed)
          }
          const total = twin.reduce((sum, each) => sum + each.bytes, 0)
          expect([inflights.count, inflights.bytes]).toEqual([twin.length, total])
          expect(inflights.isFull(5, 200)).toBe(twin.length >= 5 || total >= 200)
        }
      }),
      { numRuns: 200 },
    )
  })
})
