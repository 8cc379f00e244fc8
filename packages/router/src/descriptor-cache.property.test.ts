import { type Descriptor, spanContains, spansOverlap } from '@cordillera/ranges'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DescriptorCache } from './descriptor-cache.js'

/** The same rules over an unordered list. */
class NaiveCache {
  known: Descriptor[] = []

  learn(news: Descriptor): boolean {
    const touched = this.known.filter((old) => old.rangeId === news.rangeId || spansOverlap(old, news))
    const isOld = touched.some((old) => {
      if (old.epoch.version !== news.epoch.version) return old.epoch.version > news.epoch.version
      return old.rangeId !== news.rangeId || old.epoch.confVersion >= news.epoch.confVersion
    })
    if (isOld) return false
    this.known = [...this.known.filter((old) => !touched.includes(old)), news]
    return true
  }
}

const key = fc.constantFrom('', 'a', 'ab', 'b', 'c', 'd', 'd\x00', 'e', 'f', '\xff')
const descriptor: fc.Arbitrary<Descriptor> = fc
  .record({
    rangeId: fc.integer({ min: 1, max: 5 }),
    bounds: fc.tuple(key, fc.option(key)),
    version: fc.integer({ min: 1, max: 4 }),
    confVersion: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ rangeId, bounds: [a, b], version, confVersion }) => {
    const [start, end] = b !== null && b < a ? [b, a] : [a, b]
    return { rangeId, start, end, epoch: { version, confVersion }, replicas: [] }
  })
  .filter(({ start, end }) => start !== end)

test('learning and finding agree with a naive twin', () => {
  fc.assert(
    fc.property(fc.array(descriptor, { maxLength: 30 }), fc.array(key), (learned, keys) => {
      const cache = new DescriptorCache()
      const twin = new NaiveCache()
      for (const news of learned) {
        expect(cache.tryLearn(news) !== undefined).toBe(twin.learn(news))
        expect([...cache.all()]).toEqual([...twin.known].sort((a, b) => (a.start < b.start ? -1 : 1)))
        for (const known of twin.known) expect(cache.get(known.rangeId)).toBe(known)
      }
      for (const asked of keys) {
        expect(cache.find(asked)).toBe(twin.known.find((known) => spanContains(known, asked)))
        const below = twin.known.find(({ start, end }) => start < asked && (end === null || end >= asked))
        expect(cache.findBelow(asked)).toBe(below)
      }
      expect(cache.findBelow(null)).toBe(twin.known.find(({ end }) => end === null))
    }),
    { numRuns: 2000 },
  )
})

test('what a descriptor replaced is told', () => {
  const cache = new DescriptorCache()
  const make = (rangeId: number, start: string, end: string | null, version: number): Descriptor => ({
    rangeId,
    start,
    end,
    epoch: { version, confVersion: 1 },
    replicas: [],
  })
  const parent = make(1, '', null, 1)
  expect(cache.tryLearn(parent)).toEqual([])
  expect(cache.tryLearn(make(1, '', 'm', 2))).toEqual([parent])
  expect(cache.find('x')).toBeUndefined()
  expect(cache.tryLearn(make(2, 'm', null, 2))).toEqual([])
  expect(cache.find('x')?.rangeId).toBe(2)
  expect(cache.tryLearn(parent)).toBeUndefined()
  expect(cache.tryLearn(make(1, '', null, 3))?.map(({ rangeId }) => rangeId)).toEqual([1, 2])
  expect(cache.size).toBe(1)
})
