import fc from 'fast-check'
import { expect, test } from 'vitest'
import { rendezvousRank, rendezvousScore } from './rendezvous.js'

const nodes = fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 12 })
const rangeId = fc.integer({ min: 1, max: 2 ** 40 })

test('a rank holds every node once, whatever their order', () => {
  fc.assert(
    fc.property(rangeId, nodes, (id, ids) => {
      const rank = rendezvousRank(id, ids)
      expect([...rank].sort()).toEqual([...ids].sort())
      expect(rendezvousRank(id, [...ids].reverse())).toEqual(rank)
    }),
  )
})

test('a node that leaves changes no order among the others', () => {
  fc.assert(
    fc.property(rangeId, nodes, fc.nat(), (id, ids, pick) => {
      const gone = ids[pick % ids.length]
      const rank = rendezvousRank(id, ids)
      const without = ids.filter((node) => node !== gone)
      expect(rendezvousRank(id, without)).toEqual(rank.filter((node) => node !== gone))
    }),
  )
})

test('scores are those of MurmurHash3, for ever: placements rest on them', () => {
  expect([rendezvousScore(1, 1), rendezvousScore(1, 2), rendezvousScore(123456, 9)]).toMatchInlineSnapshot(`
    [
      4126659816,
      2436111738,
      865359082,
    ]
  `)
})

test('many ranges spread evenly: within four standard deviations', () => {
  const counts = [0, 0, 0, 0, 0]
  for (let id = 1; id <= 10_000; id++) counts[rendezvousRank(id, [1, 2, 3, 4, 5])[0]! - 1]!++
  for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(160)
})
