import fc from 'fast-check'
import { expect, test } from 'vitest'
import { effectiveReplicas, initialPlacement } from './initial-placement.js'
import { rendezvousRank } from './rendezvous.js'

const request = fc
  .record({
    rangeIds: fc.uniqueArray(fc.integer({ min: 1, max: 10_000 }), { maxLength: 80 }),
    nodes: fc.uniqueArray(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 9 }),
    setting: fc.integer({ min: 1, max: 7 }),
  })
  .map(({ rangeIds, nodes, setting }) => ({ rangeIds, nodes, replicas: Math.min(setting, nodes.length) }))

function countAt(placement: Map<number, number[]>, place: number, nodes: readonly number[]): number[] {
  return nodes.map((node) => [...placement.values()].filter((places) => places[place] === node).length)
}

function expectEven(counts: number[]): void {
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
}

test('every range has its replicas on different nodes, and leaders are spread evenly', () => {
  fc.assert(
    fc.property(request, ({ rangeIds, nodes, replicas }) => {
      const placement = initialPlacement({ rangeIds, nodes, replicas })
      expect([...placement.keys()]).toEqual([...rangeIds].sort((a, b) => a - b))
      for (const places of placement.values()) {
        expect(places).toHaveLength(replicas)
        expect(new Set(places).size).toBe(replicas)
        for (const node of places) expect(nodes).toContain(node)
      }
      expectEven(countAt(placement, 0, nodes))
    }),
  )
})

test('the order in which ranges and nodes are listed does not matter', () => {
  fc.assert(
    fc.property(request, ({ rangeIds, nodes, replicas }) => {
      const turned = { rangeIds: [...rangeIds].reverse(), nodes: [...nodes].reverse(), replicas }
      expect(initialPlacement(turned)).toEqual(initialPlacement({ rangeIds, nodes, replicas }))
    }),
  )
})

test('the leaderships of a node that dies spread evenly over the others, and no other one moves', () => {
  fc.assert(
    fc.property(request, ({ rangeIds, nodes, replicas }) => {
      fc.pre(replicas > 1)
      const placement = initialPlacement({ rangeIds, nodes, replicas })
      for (const dead of nodes) {
        const orphans = new Map([...placement].filter(([, places]) => places[0] === dead))
        const others = nodes.filter((node) => node !== dead)
        expectEven(countAt(orphans, 1, others))
      }
    }),
  )
})

test('replicas are spread almost evenly too', () => {
  for (const nodeCount of [3, 4, 5, 7, 9]) {
    const nodes = Array.from({ length: nodeCount }, (_, i) => i + 1)
    const rangeIds = Array.from({ length: 1000 }, (_, i) => i + 1)
    const placement = initialPlacement({ rangeIds, nodes, replicas: 3 })
    const counts = nodes.map((node) => [...placement.values()].filter((places) => places.includes(node)).length)
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThan(10)
  }
})

test('16 ranges and the system range on 3 nodes, where plain rendezvous hashing is uneven', () => {
  const rangeIds = Array.from({ length: 17 }, (_, i) => i + 1)
  const nodes = [1, 2, 3]
  const plain = new Map(rangeIds.map((rangeId) => [rangeId, rendezvousRank(rangeId, nodes)]))
  expect(countAt(plain, 0, nodes)).toEqual([7, 8, 2])
  expect(countAt(initialPlacement({ rangeIds, nodes, replicas: 3 }), 0, nodes)).toEqual([6, 6, 5])
})

test.each([
  [3, 1, 1],
  [3, 2, 1],
  [3, 3, 3],
  [3, 9, 3],
  [4, 9, 3],
  [5, 4, 3],
  [5, 5, 5],
  [1, 3, 1],
  [0, 3, 1],
  [3, 0, 1],
])('a setting of %i with %i nodes: %i replicas', (setting, registered, expected) => {
  expect(effectiveReplicas(setting, registered)).toBe(expected)
})
