import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LOCALITY_TIERS_MAX, type Locality, pairDiversity, parseLocality } from './locality.js'

test.each([
  ['', []],
  ['region=a', [{ key: 'region', value: 'a' }]],
  [
    'region=a,zone=b-1',
    [
      { key: 'region', value: 'a' },
      { key: 'zone', value: 'b-1' },
    ],
  ],
  ['region', undefined],
  ['region=', undefined],
  ['=a', undefined],
  ['region=a=b', undefined],
  ['region=a,', undefined],
  [Array.from({ length: LOCALITY_TIERS_MAX + 1 }, (_, i) => `t${i}=x`).join(), undefined],
])('%j', (text, expected) => {
  expect(parseLocality(text)).toEqual(expected)
})

const place = fc
  .tuple(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('a', 'b'), fc.constantFrom('a', 'b'))
  .map(([region, zone, rack]): Locality => parseLocality(`region=${region},zone=${zone},rack=${rack}`)!)

/** For each tier, from the outermost: the pairs that differ there or further out. */
function pairsApart(places: readonly Locality[]): number[] {
  return [0, 1, 2].map((tier) => {
    let pairs = 0
    for (const [i, a] of places.entries()) {
      for (const b of places.slice(i + 1)) if (a.slice(0, tier + 1).some((t, at) => t.value !== b[at]!.value)) pairs++
    }
    return pairs
  })
}

function diversity(places: readonly Locality[]): number {
  let sum = 0
  for (const [i, a] of places.entries()) for (const b of places.slice(i + 1)) sum += pairDiversity(a, b)
  return sum
}

test('one pair more that differs further out outweighs everything further in', () => {
  const places = fc.array(place, { minLength: 5, maxLength: 5 })
  fc.assert(
    fc.property(places, places, (a, b) => {
      const [left, right] = [pairsApart(a), pairsApart(b)]
      const first = left.findIndex((pairs, tier) => pairs !== right[tier])
      const order = first < 0 ? 0 : Math.sign(left[first]! - right[first]!)
      expect(Math.sign(diversity(a) - diversity(b))).toBe(order)
    }),
    { numRuns: 500 },
  )
})

test('what one place lacks tells it from another, and nothing is told apart from itself', () => {
  expect(pairDiversity([], [])).toBe(0)
  expect(pairDiversity(parseLocality('region=a')!, [])).toBeGreaterThan(0)
  expect(pairDiversity(parseLocality('a=x')!, parseLocality('b=x')!)).toBeGreaterThan(0)
})
