import { expect, test } from 'vitest'
import { dealRequests, KEY_KINDS, VALUE_BYTES } from './keys.mjs'
import { Latencies } from './latencies.mjs'
import { scenariosFor } from './scenarios.mjs'
import { formatGoals, median, summarise } from './summary.mjs'

/** The arithmetic of the figures: what is divided by what. */
test('a median is the middle, or between the two in the middle', () => {
  expect(median([5, 1, 9])).toBe(5)
  expect(median([4, 1, 9, 2])).toBe(3)
})

test('percentiles are in steps of 10 µs, and at least that share is not slower', () => {
  const latencies = new Latencies()
  for (let i = 1; i <= 100; i++) latencies.record(i)
  expect(latencies.count).toBe(100)
  expect(latencies.percentile(50)).toBeCloseTo(50.01)
  expect(latencies.percentile(99)).toBeCloseTo(99.01)
  latencies.record(1e9)
  expect(latencies.percentile(100)).toBeCloseTo(10_000, 1)
  expect(new Latencies().percentile(50)).toBe(0)
})

test('a ratio is to the bare server of the same round', () => {
  const [{ scenarios }] = scenariosFor({ connections: [64], only: 'put-64-one' })
  const round = (bare, one, errors = {}) =>
    new Map([
      ['put-64-bare', { requestsPerSec: bare, errors: {} }],
      ['put-64-one', { requestsPerSec: one, errors }],
    ])
  const rows = summarise(scenarios, [round(1000, 500), round(100, 90), round(1000, 100, { non2xx: 1 })])
  expect(rows.map(({ name }) => name)).toEqual(['put-64-bare', 'put-64-one'])
  expect(rows[1]).toMatchObject({ requestsPerSec: 100, ratio: 0.5, ratioMin: 0.1, ratioMax: 0.9 })
  expect(rows[0].errors).toBeUndefined()
  expect(rows[1].errors).toEqual([{ non2xx: 1 }])
  const goals = [{ scenarios: ['put-64-one'], figure: 'ratio', atLeast: 0.51, is: 'of bare' }]
  expect(formatGoals(goals, rows)[0]).toMatch(/^MISSED/)
})

test('every key is asked once around, by one connection', () => {
  const shares = dealRequests({ method: 'GET', kind: 'hex', keys: 1000, connections: 64 })
  expect(shares.length).toBe(64)
  const paths = shares.flat().map(({ path }) => path)
  expect(new Set(paths).size).toBe(1000)
  expect(Math.max(...shares.map((share) => share.length)) - Math.min(...shares.map((share) => share.length))).toBe(1)
})

test('etcd is asked for the same keys and values in its own words', () => {
  const [[put]] = dealRequests({ method: 'PUT', kind: 'user', keys: 1, connections: 1, api: 'etcd' })
  const { key, value } = JSON.parse(put.body)
  expect([put.method, put.path]).toEqual(['POST', '/v3/kv/put'])
  expect(Buffer.from(key, 'base64').toString()).toBe(KEY_KINDS.user(0))
  expect(Buffer.from(value, 'base64').length).toBe(VALUE_BYTES)
  const [[get]] = dealRequests({ method: 'GET', kind: 'user', keys: 1, connections: 1, api: 'etcd' })
  expect([get.method, get.path, get.body]).toEqual(['POST', '/v3/kv/range', JSON.stringify({ key })])
})

test('hex keys fall into all sixteen initial ranges alike', () => {
  const counts = new Map()
  for (let i = 0; i < 16_000; i++) {
    const digit = KEY_KINDS.hex(i)[0]
    counts.set(digit, (counts.get(digit) ?? 0) + 1)
  }
  expect(counts.size).toBe(16)
  for (const count of counts.values()) expect(count).toBeGreaterThan(800)
})
