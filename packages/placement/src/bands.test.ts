import { describe, expect, it } from 'vitest'
import { bandBeside, costOf, countBand, gainOfMove, isOutside, isWorth, loadBand, movableLoad } from './bands.js'
import { Standing } from './standing.js'
import { smallPicture } from './testing/small-picture.js'

function loads(...perSec: readonly number[]) {
  const ranges = perSec.map((readsPerSec) => ({ on: [1], readsPerSec }))
  return new Standing(smallPicture({ nodes: [''], ranges })).ranges
}

describe('the band of a count', () => {
  it('holds the whole numbers next to the mean, and the tolerance around it', () => {
    const few = countBand(17, 3, 0.1)
    expect([4, 5, 6, 7].map((count) => isOutside(few, count))).toEqual([true, false, false, true])
    const many = countBand(1000, 10, 0.1)
    expect([89, 90, 110, 111].map((count) => isOutside(many, count))).toEqual([true, false, false, true])
    expect([94, 95, 105, 106].map((count) => costOf(many, count) === 0)).toEqual([false, true, true, false])
  })

  it('is nothing to leave when there is nothing', () => {
    expect(isOutside(countBand(0, 3, 0.1), 0)).toBe(false)
    expect(isOutside(countBand(0, 0, 0.1), 0)).toBe(false)
  })

  it('makes the move between the furthest gain most', () => {
    const band = countBand(300, 3, 0.1)
    expect(gainOfMove(band, 130, 70)).toBeGreaterThan(gainOfMove(band, 120, 80))
    expect(gainOfMove(band, 104, 96)).toBe(0)
    expect(gainOfMove(band, 100, 105)).toBeLessThan(0)
  })
})

describe('the band of load', () => {
  it('sets ranges aside that exceed an even share alone, and again of what is left', () => {
    const band = loadBand(loads(10_000, 4_000, 1_000, 1_000, 1_000), 5, 0.1, 100)
    expect([...band.giants].map(({ load }) => load)).toEqual([10_000, 4_000])
    expect(band.share).toBe(1_000)
    expect(movableLoad(band, 10_500, 10_000)).toBe(1_500)
    expect(movableLoad(band, 900, 800)).toBe(900)
  })

  it('has no giants when load is even, or too little to care', () => {
    expect(loadBand(loads(500, 500, 500), 3, 0.1, 100).giants.size).toBe(0)
    expect(loadBand(loads(90, 0, 0), 3, 0.1, 100).giants.size).toBe(0)
  })

  it('lets a node lead fewer ranges beside a large one, and as many beside one of half a share', () => {
    const band = loadBand(loads(...Array.from({ length: 30 }, () => 100)), 3, 0.1, 10)
    const counts = countBand(30, 3, 0.1)
    expect(bandBeside(counts, band, 500)).toEqual(counts)
    expect(bandBeside(counts, band, 750).low).toBeCloseTo(counts.low / 2)
    expect(bandBeside(counts, band, 1_000).low).toBe(0)
  })
})

it('what becomes better must be twice what becomes worse', () => {
  expect(isWorth(1, -0.4)).toBe(true)
  expect(isWorth(1, -0.6)).toBe(false)
  expect(isWorth(0)).toBe(false)
})
