import { Buffer } from 'node:buffer'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dataKey } from './engine-keys.js'
import { MemoryEngine } from './memory-engine.js'
import { findMiddleKey } from './middle-key.js'
import { ManualClock } from './testing/manual-clock.js'

const sizes = fc.array(fc.oneof(fc.nat(20), fc.nat(2_000)), { maxLength: 1_500, size: 'max' })

/** Where half of the bytes are before it, of keys `0000`, `0001`, … with values of these sizes. */
async function middleOf(lengths: readonly number[]): Promise<number | undefined> {
  const clock = new ManualClock()
  const engine = new MemoryEngine({ clock })
  const batch = engine.batch()
  for (const [i, length] of lengths.entries()) batch.put(dataKey(keyAt(i)), Buffer.alloc(length))
  batch.put(dataKey('z'), Buffer.alloc(1 << 20))
  await clock.until(batch.write())
  const found = await clock.until(findMiddleKey(engine, clock, { start: '', end: 'z' }))
  expect(engine.openSnapshots).toBe(0)
  return found === undefined ? undefined : Number(found)
}

function keyAt(i: number): string {
  return String(i).padStart(4, '0')
}

describe('the middle of a span', () => {
  it('has about half of the bytes before it, and is never the first key', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async (lengths) => {
        const middle = await middleOf(lengths)
        if (lengths.length < 2) {
          expect(middle).toBeUndefined()
          return
        }
        expect(middle).toBeGreaterThan(0)
        const weights = lengths.map((length) => length + 5)
        const sum = (to: number): number => weights.slice(0, to).reduce((all, one) => all + one, 0)
        const total = sum(lengths.length)
        // Off by one value, or by one part in so many as are remembered.
        expect(Math.abs(sum(middle!) - total / 2)).toBeLessThanOrEqual(Math.max(...weights) + total / 128)
      }),
      { numRuns: 60 },
    )
  })
})
