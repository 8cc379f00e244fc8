import { keyFromBytes, keyFromText } from '@cordillera/base'
import fc from 'fast-check'
import murmurhash from 'murmurhash'
import { describe, expect, it } from 'vitest'
import { spanContains } from './descriptor.js'
import { keyspacePrefix, keyspaceSpan, splitKeyspace } from './keyspace.js'
import { KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, PREFIXED_KEY_BYTES_MAX } from './limits.js'
import { BUCKET_BYTES, bucketOf, bucketPrefixes, isSpreadBound, SPREAD_BUCKETS, spreadKey } from './spread.js'

/** MurmurHash3_x86_32 as its reference (smhasher, MurmurHash3.cpp) spells it, over a byte at a time. */
function murmurHash3(bytes: Uint8Array, seed: number): number {
  const scramble = (k: number): number => {
    const product = Math.imul(k, 0xcc9e2d51)
    return Math.imul((product << 15) | (product >>> 17), 0x1b873593)
  }
  let h = seed
  let k = 0
  for (let i = 0; i < bytes.length; i++) {
    k |= bytes[i]! << (8 * (i & 3))
    if ((i & 3) !== 3) continue
    h ^= scramble(k)
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
    k = 0
  }
  h ^= scramble(k)
  h ^= bytes.length
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

describe('the hash of spread keyspaces', () => {
  it.each([
    ['', 0, 0],
    ['', 1, 0x514e28b7],
    ['', 0xffffffff, 0x81f16f39],
    ['ffffffff', 0, 0x76293b50],
    ['21436587', 0, 0xf55b516b],
    ['21436587', 0x5082edee, 0x2362f9de],
    ['214365', 0, 0x7e4a8634],
    ['2143', 0, 0xa0f7b07a],
    ['21', 0, 0x72661cf4],
    ['00000000', 0, 0x2362f9de],
    ['000000', 0, 0x85f0b427],
    ['0000', 0, 0x30f4c306],
    ['00', 0, 0x514e28b7],
  ])('has the published vector of %s with the seed %i', (hex, seed, hash) => {
    expect(murmurhash.v3(Buffer.from(hex, 'hex'), seed)).toBe(hash)
    expect(murmurHash3(Buffer.from(hex, 'hex'), seed)).toBe(hash)
  })

  it('is the reference’s for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(murmurhash.v3(bytes, 0)).toBe(murmurHash3(bytes, 0))
        expect(bucketOf(keyFromBytes(bytes))).toBe((murmurHash3(bytes, 0) % 16).toString(16))
      }),
    )
  })
})

describe('a bucket', () => {
  it('of a key stays what it is: stored data depends on it', () => {
    const buckets = ['', '\x00', '\xff', 'a', 'order-000001', keyFromText('é😀'), 'x'.repeat(KEY_BYTES_MAX)].map(
      bucketOf,
    )
    expect(buckets.join('')).toBe('07d2a82')
  })

  it.each([
    ['numbers', (i: number) => String(i).padStart(12, '0')],
    ['times', (i: number) => new Date(1_767_225_600_000 + i * 1000).toISOString()],
    ['big-endian bytes', (i: number) => keyFromBytes(Buffer.from((2 ** 40 + i).toString(16).padStart(16, '0'), 'hex'))],
  ])('gets its share of %s that follow one another', (_, keyOf) => {
    const counts = new Map<string, number>()
    for (let i = 0; i < 16_000; i++) {
      const bucket = bucketOf(keyOf(i))
      counts.set(bucket, (counts.get(bucket) ?? 0) + 1)
    }
    expect(counts.size).toBe(SPREAD_BUCKETS)
    // 1,000 each, give or take 31; this is 5 of these.
    for (const count of counts.values()) expect(Math.abs(count - 1_000)).toBeLessThan(155)
  })
})

describe('a spread keyspace', () => {
  it('stores a key behind its bucket, within its own span', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }).map(keyFromBytes), (key) => {
        const stored = spreadKey(keyspacePrefix('orders', true), key)
        const bucket = bucketPrefixes('orders').filter((prefix) => stored.startsWith(prefix))
        expect(bucket).toHaveLength(1)
        expect(stored.slice(bucket[0]!.length)).toBe(key)
        expect(spanContains(keyspaceSpan('orders', true), stored)).toBe(true)
        const rest = splitKeyspace(stored)
        expect(rest).toMatchObject({ keyspace: 'orders', spread: true })
        expect(rest?.key.slice(BUCKET_BYTES)).toBe(key)
        expect(isSpreadBound(rest!.key)).toBe(true)
      }),
    )
  })

  it('has 16 prefixes in order, of one length', () => {
    const prefixes = bucketPrefixes('orders')
    expect(prefixes).toEqual(Array.from('0123456789abcdef', (digit) => `orders\x01${digit}`))
    expect(prefixes.toSorted()).toEqual(prefixes)
  })

  it('has room for the largest key under the longest name', () => {
    const stored = spreadKey(keyspacePrefix('k'.repeat(KEYSPACE_NAME_BYTES_MAX), true), 'x'.repeat(KEY_BYTES_MAX))
    expect(stored).toHaveLength(PREFIXED_KEY_BYTES_MAX)
  })

  it('is bounded where a bucket begins, or within one', () => {
    for (const bound of ['', '0', 'f', 'forder-1', '9\x00', 'a\xff']) expect(isSpreadBound(bound)).toBe(true)
    for (const bound of ['g', 'F', '\x00', 'order', '\xff', '\n0']) expect(isSpreadBound(bound)).toBe(false)
  })
})
