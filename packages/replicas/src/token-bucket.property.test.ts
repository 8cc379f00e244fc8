import fc from 'fast-check'
import { expect, it } from 'vitest'
import { BURST_MS, TokenBucket } from './token-bucket.js'

const pieces = fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 5_000 }), pauseMs: fc.nat(400) }), {
  minLength: 1,
  maxLength: 60,
})

it('lets go no more than the rate, a burst and a piece, over any time, and in order', () => {
  fc.assert(
    fc.property(pieces, fc.integer({ min: 100, max: 20_000 }), (list, bytesPerSec) => {
      const bucket = new TokenBucket(bytesPerSec)
      let nowMs = 0
      const sent = list.map(({ bytes, pauseMs }) => {
        nowMs += pauseMs
        return { bytes, atMs: nowMs + bucket.claim(bytes, nowMs) }
      })
      for (const [i, first] of sent.entries()) {
        let bytes = 0
        for (const [j, { atMs, bytes: more }] of sent.slice(i).entries()) {
          if (j > 0) expect(atMs).toBeGreaterThanOrEqual(sent[i + j - 1]!.atMs - 1e-6)
          // All but the last piece are paid for.
          expect(bytes).toBeLessThanOrEqual(((atMs - first.atMs + BURST_MS) / 1_000) * bytesPerSec + 1e-3)
          bytes += more
        }
      }
    }),
  )
})

it('lets go the rate in full to who always has something, also when he comes late by less than a burst', () => {
  const bucket = new TokenBucket(1_000_000)
  let nowMs = 0
  for (let i = 0; i < 1_000; i++) nowMs += bucket.claim(10_000, nowMs) + (i % 3) * 5
  expect(nowMs).toBeGreaterThan(9_900 - BURST_MS)
  expect(nowMs).toBeLessThan(10_020)
})

it('goes by a new rate from the next claim on', () => {
  const bucket = new TokenBucket(1_000)
  expect(bucket.claim(1_000, 0)).toBe(0)
  bucket.bytesPerSec = 10_000
  expect(bucket.claim(1_000, 0)).toBeCloseTo(900)
  expect(bucket.claim(1_000, 0)).toBeCloseTo(1_000)
})
