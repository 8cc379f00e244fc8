import { describe, expect, it } from 'vitest'
import { SeededRandom } from './random.js'

describe('SeededRandom', () => {
  it('gives the same numbers for the same seed, on every machine', () => {
    const random = new SeededRandom(7)
    const first = [random.u32(), random.u32(), random.u32()]
    const again = new SeededRandom(7)
    expect([again.u32(), again.u32(), again.u32()]).toEqual(first)
    expect(first).toMatchInlineSnapshot(`
      [
        1953209201,
        274027627,
        1787915724,
      ]
    `)
    expect(new SeededRandom(8).u32()).not.toBe(first[0])
    expect(new SeededRandom(7 + 2 ** 32).u32()).not.toBe(first[0])
  })

  it('is uniform below a bound', () => {
    const random = new SeededRandom(1)
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < 10_000; i++) counts[random.below(10)]!++
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })
})
