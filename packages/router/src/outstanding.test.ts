import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OutstandingSequences } from './outstanding.js'

test('the lowest outstanding number is that of a set, however many are answered around it', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(40), { maxLength: 300 }), fc.integer({ min: 1, max: 900 }), (choices, burst) => {
      const numbers = new OutstandingSequences()
      const open = new Set<number>()
      let next = 1
      for (const choice of choices) {
        if (choice % 2 === 0) {
          for (let i = 0; i < burst; i++) {
            expect(numbers.take()).toBe(next)
            open.add(next++)
          }
        } else {
          const some = [...open].slice(choice)
          for (const sequence of some) {
            open.delete(sequence)
            numbers.onAnswered(sequence)
          }
        }
        const [lowest = next] = open
        expect(numbers.lowest).toBe(lowest)
      }
    }),
    { numRuns: 30 },
  )
})
