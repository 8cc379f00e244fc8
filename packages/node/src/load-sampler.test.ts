import { type Key, SeededRandom } from '@cordillera/base'
import { WriteBlockBuilder } from '@cordillera/ranges'
import type { RangeRequest } from '@cordillera/wire'
import { expect, it } from 'vitest'
import { LoadSampler } from './load-sampler.js'

const span = { start: 'default\x00', end: 'default\x01' }

function read(...keys: Key[]): RangeRequest {
  return { kind: 'read', rangeId: 2, epochVersion: 1, at: 0, byFollower: false, keys }
}

function scan(start: Key, end: Key | null): RangeRequest {
  const page = { reverse: false, limit: 10, bytesMax: 1_000, values: true }
  return { kind: 'scan', rangeId: 2, epochVersion: 1, at: 0, byFollower: false, start, end, ...page }
}

function user(i: number): Key {
  return `default\x00user${String(i).padStart(6, '0')}`
}

function sampled(count: number, request: (i: number, random: SeededRandom) => RangeRequest): LoadSampler {
  const sampler = new LoadSampler(new SeededRandom(1))
  const random = new SeededRandom(2)
  for (let i = 0; i < count; i++) sampler.onRequest(request(i, random))
  return sampler
}

it('says nothing before it has samples enough, nor of requests without a key', () => {
  expect(sampled(255, (_, random) => read(user(random.below(100)))).verdict(span)).toBeUndefined()
  expect(sampled(256, (_, random) => read(user(random.below(100)))).verdict(span)).toMatchObject({ kind: 'key' })
  const ofNoKey = { kind: 'index', rangeId: 2, at: 0 } as const
  expect(sampled(1_000, () => ofNoKey).verdict(span)).toBeUndefined()
})

it('names one key that has most of the load, unless a cut beside it halves that', () => {
  const hot = (_: number, random: SeededRandom): RangeRequest =>
    read(random.below(10) < 8 ? user(500) : user(random.below(1_000)))
  expect(sampled(1_000, hot).verdict(span)).toEqual({ kind: 'one-hot-key', key: user(500) })
  expect(sampled(1_000, () => read(user(7))).verdict(span)).toEqual({ kind: 'one-hot-key', key: user(7) })
  // Half of the load is one key, the other half is behind it.
  const beside = (_: number, random: SeededRandom): RangeRequest =>
    read(random.below(2) < 1 ? user(5) : user(6 + random.below(100)))
  expect(sampled(1_000, beside).verdict(span)).toMatchObject({
    kind: 'key',
    key: expect.stringMatching(/user0000(0|1)/),
  })
})

it('does not name the first key of the range, nor one outside of it', () => {
  const two = (i: number): RangeRequest => read(user(i % 2 === 0 ? 3 : 9))
  expect(sampled(1_000, two).verdict(span)).toEqual({ kind: 'key', key: user(9) })
  expect(sampled(1_000, two).verdict({ start: user(9), end: null })).toBeUndefined()
  expect(sampled(1_000, two).verdict({ start: user(3), end: user(9) })).toBeUndefined()
})

it('does not cut behind a load that moves on', () => {
  expect(sampled(10_000, (i) => read(user(i))).verdict(span)).toBeUndefined()
  expect(sampled(10_000, (i) => read(user(100_000 - i))).verdict(span)).toBeUndefined()
  // 20 keys that are hot for a while, then 20 others: once there are samples of these alone, they are cut.
  const moving = (i: number, random: SeededRandom): RangeRequest => read(user((i < 1_000 ? 0 : 500) + random.below(20)))
  expect(sampled(1_000, moving).verdict(span)?.key).toMatch(/user0000/)
  expect(sampled(1_128, moving).verdict(span)).toBeUndefined()
  expect(sampled(1_256, moving).verdict(span)?.key).toMatch(/user0005/)
})

it('counts a scan on the side that it lies on, and against a key that it crosses', () => {
  const sides = (i: number): RangeRequest => (i % 2 === 0 ? scan(user(0), user(50)) : scan(user(50), user(90)))
  expect(sampled(256, sides).verdict(span)).toEqual({ kind: 'key', key: user(50) })
  const whole = (i: number): RangeRequest => (i % 2 === 0 ? scan(user(0), span.end) : read(user(i % 100)))
  expect(sampled(256, whole).verdict(span)).toBeUndefined()
  expect(sampled(256, () => scan(user(0), null)).verdict({ start: '', end: null })).toBeUndefined()
})

it('draws as evenly from large requests as from small ones, and about 40 a second', () => {
  const keys = Array.from({ length: 1_000 }, (_, i) => user(i))
  const block = new WriteBlockBuilder(1)
  for (const [i, key] of keys.entries()) block.put(i + 1, key, new Uint8Array(100))
  const write = { kind: 'write', rangeId: 2, count: keys.length, block: block.take() } as const
  for (const request of [write, read(...keys)]) {
    const sampler = new LoadSampler(new SeededRandom(5))
    sampler.loadPerSec = 10_000
    // 10 s of it, of which every 250th is sampled: more than 256 samples.
    for (let i = 0; i < 100; i++) sampler.onRequest(request)
    const verdict = sampler.verdict(span)
    expect(verdict?.kind).toBe('key')
    const at = keys.indexOf(verdict!.key)
    expect(at).toBeGreaterThan(350)
    expect(at).toBeLessThan(650)
    const sooner = new LoadSampler(new SeededRandom(5))
    sooner.loadPerSec = 10_000
    for (let i = 0; i < 50; i++) sooner.onRequest(request)
    expect(sooner.verdict(span)).toBeUndefined()
  }
})
