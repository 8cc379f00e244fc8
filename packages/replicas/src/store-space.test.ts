import fc from 'fast-check'
import { expect, test } from 'vitest'
import { StoreSpace } from './store-space.js'

const levels = (reserve: number, ...free: number[]): string[] => {
  const space = new StoreSpace(reserve)
  return free.map((bytes) => space.onMeasured(bytes, false))
}

test('levels are entered below the reserve and a quarter of it, and left with half as much again', () => {
  expect(levels(100, 100, 99, 149, 150)).toEqual(['ample', 'short', 'short', 'ample'])
  expect(levels(100, 25, 24, 37, 38, 149, 150)).toEqual(['short', 'out', 'out', 'short', 'short', 'ample'])
  expect(levels(100, 10, 1_000)).toEqual(['out', 'ample'])
})

test('a log without room for its next segment is out of room, however much is free', () => {
  const space = new StoreSpace(100)
  expect(space.onMeasured(1_000, true)).toBe('out')
  expect(space.onMeasured(1_000, false)).toBe('ample')
})

test('without a reserve nothing is short', () => {
  expect(levels(0, 10, 0)).toEqual(['ample', 'ample'])
})

test('what moves by less than half of the reserve does not change the level back and forth', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1_000 }),
      fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 50 }),
      (base, moves) => {
        const seen = levels(100, ...moves.map((move) => base + move))
        // It only ever gets worse while it moves within so little.
        const order = ['ample', 'short', 'out']
        for (let i = 1; i < seen.length; i++) {
          expect(order.indexOf(seen[i]!)).toBeGreaterThanOrEqual(order.indexOf(seen[i - 1]!))
        }
      },
    ),
  )
})
