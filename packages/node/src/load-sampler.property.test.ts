import { type Key, SeededRandom } from '@cordillera/base'
import { WriteBlockBuilder } from '@cordillera/ranges'
import type { RangeRequest } from '@cordillera/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LoadSampler, SAMPLES_PER_SEC } from './load-sampler.js'

const all = { start: 'a', end: 'z' }
const runs = { numRuns: 200 }

function read(...keys: Key[]): RangeRequest {
  return { kind: 'read', rangeId: 2, epochVersion: 1, at: 0, byFollower: false, keys }
}

function scan(start: Key, end: Key | null): RangeRequest {
  const page = { reverse: false, limit: 10, bytesMax: 1_000, values: true }
  return { kind: 'scan', rangeId: 2, epochVersion: 1, at: 0, byFollower: false, start, end, ...page }
}

function write(...keys: Key[]): RangeRequest {
  const block = new WriteBlockBuilder(1)
  for (const [i, key] of keys.entries()) {
    if (i % 3 === 0) block.delete(i + 1, key, { ifVersion: 7, idempotency: new Uint8Array(32) })
    else block.put(i + 1, key, new Uint8Array(i))
  }
  return { kind: 'write', rangeId: 2, count: keys.length, block: block.take() }
}

/** A load of so many requests a second: what request i asks for. */
function sample(count: number, request: (i: number, random: SeededRandom) => RangeRequest, seed = 1, loadPerSec = 0) {
  const sampler = new LoadSampler(new SeededRandom(seed))
  const random = new SeededRandom(seed + 1)
  sampler.loadPerSec = loadPerSec
  for (let i = 0; i < count; i++) sampler.onRequest(request(i, random))
  return sampler
}

function user(i: number): Key {
  return `default\x00user${String(i).padStart(6, '0')}`
}

const users = { start: 'default\x00', end: 'default\x01' }

/** The part of `count` draws that is below the key. */
function shareBelow(key: Key, draw: (random: SeededRandom) => Key, count = 20_000): number {
  const random = new SeededRandom(99)
  let below = 0
  for (let i = 0; i < count; i++) if (draw(random) < key) below++
  return below / count
}

/** Zipf's, with exponent 1, over so many keys that are scattered. */
function zipf(keys: number): (random: SeededRandom) => Key {
  const sums: number[] = []
  let sum = 0
  for (let i = 1; i <= keys; i++) {
    sum += 1 / i
    sums.push(sum)
  }
  return (random) => {
    const at = (random.u32() / 2 ** 32) * sum
    return user(((1 + sums.findIndex((upTo) => upTo >= at)) * 7_919) % 100_003)
  }
}

describe('a key that divides the load', () => {
  const seeds = fc.integer({ min: 1, max: 2 ** 31 })

  it('leaves at least a quarter of an even load on either side, and lies strictly inside', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 20, max: 5_000 }), fc.integer({ min: 1, max: 30 }), (seed, keys, stride) => {
        const draw = (random: SeededRandom): Key => user(random.below(keys))
        const load = stride * SAMPLES_PER_SEC
        const requests = (_: number, random: SeededRandom): RangeRequest =>
          random.below(2) === 0 ? read(draw(random)) : write(draw(random), draw(random))
        const verdict = sample(600 * stride, requests, seed, load).verdict(users)
        expect(verdict?.kind).toBe('key')
        const share = shareBelow(verdict!.key, draw)
        expect(Math.min(share, 1 - share)).toBeGreaterThan(0.25)
        expect(verdict!.key > users.start && verdict!.key < users.end).toBe(true)
      }),
      runs,
    )
  })

  it('is found for a skewed load, the hottest key of which has a tenth of it', () => {
    const draw = zipf(5_000)
    fc.assert(
      fc.property(seeds, (seed) => {
        const verdict = sample(400, (_, random) => read(draw(random)), seed).verdict(users)
        expect(verdict?.kind).toBe('key')
        const share = shareBelow(verdict!.key, draw, 5_000)
        expect(Math.min(share, 1 - share)).toBeGreaterThan(0.25)
      }),
      { numRuns: 30 },
    )
  })

  it('is none that a naive count over the samples does not find balanced in both halves of them', () => {
    const key = fc.integer({ min: 0, max: 12 }).map((i) => `b${String.fromCharCode(97 + i)}`)
    const request = fc.oneof(
      key.map((one) => [one, `${one}\x00`] as const),
      fc
        .tuple(key, key)
        .map(([one, other]) => [one < other ? one : other, `${one < other ? other : one}\x00`] as const),
    )
    const many = fc.array(request, { minLength: 256, maxLength: 300 })
    fc.assert(
      fc.property(many, (requests) => {
        const verdict = sample(requests.length, (i) => scan(...requests[i]!)).verdict(all)
        const last = requests.slice(-256)
        const lesser = (key: Key, part: typeof last): number =>
          Math.min(part.filter(([, end]) => end <= key).length, part.filter(([start]) => start >= key).length)
        const best = Math.max(
          ...last.map(([start]) => Math.min(lesser(start, last.slice(0, 128)), lesser(start, last.slice(128)))),
        )
        if (best > 0.35 * 128) {
          expect(verdict?.kind).toBe('key')
          const { key } = verdict!
          expect(Math.min(lesser(key, last.slice(0, 128)), lesser(key, last.slice(128)))).toBe(best)
        } else expect(verdict?.kind).not.toBe('key')
      }),
      runs,
    )
  })
})
