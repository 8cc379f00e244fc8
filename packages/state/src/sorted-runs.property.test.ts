import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lowerBound, SortedRuns } from './sorted-runs.js'

describe('sorted runs', () => {
  it('hold every key once, in few ascending runs, whenever they are asked', () => {
    const steps = fc.array(fc.oneof({ weight: 6, arbitrary: fc.string({ maxLength: 4 }) }, fc.constant(null)), {
      maxLength: 300,
      size: 'max',
    })
    fc.assert(
      fc.property(steps, (list) => {
        const runs = new SortedRuns()
        const twin = new Set<string>()
        for (const step of list) {
          if (step !== null && !twin.has(step)) {
            twin.add(step)
            runs.add(step)
          } else if (step === null) {
            const settled = runs.settled()
            expect(settled.flat().sort()).toEqual([...twin].sort())
            for (const run of settled) expect(run).toEqual([...run].sort())
            expect(settled.length).toBeLessThanOrEqual(Math.log2(twin.size + 1) + 1)
          }
        }
      }),
    )
  })

  it('leave a run that was handed out unchanged', () => {
    const runs = new SortedRuns()
    for (const key of ['c', 'a']) runs.add(key)
    const [early] = runs.settled()
    runs.add('b')
    runs.settled()
    expect(early).toEqual(['a', 'c'])
  })

  it('are searched as a naive twin would', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string()), fc.string(), (keys, key) => {
        const run = keys.sort()
        expect(lowerBound(run, key)).toBe(run.filter((other) => other < key).length)
      }),
    )
  })
})
