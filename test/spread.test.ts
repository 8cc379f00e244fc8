import { expect, test } from 'vitest'
import { startCluster } from './scratch.js'

/**
 * A spread keyspace on three real nodes: keys that only grow land in all its buckets, the keyspace is cut between them, and
 * a scan through any node gives the keys in their order, at one snapshot, while others are written.
 */
interface Range {
  readonly rangeId: number
  readonly keyspace: string
  readonly spread?: boolean
  readonly start: string
  readonly end: string | null
}

const SPREAD = 'keyspace=events&spread=true'
const keyOf = (i: number): string => `2026-01-01T${String(i).padStart(6, '0')}`

async function json<T>(url: string, init?: RequestInit): Promise<T> {
  const answer = await fetch(url, init)
  const text = await answer.text()
  expect(answer.ok, text).toBe(true)
  return JSON.parse(text) as T
}

async function write(url: string, key: string): Promise<void> {
  const answer = await fetch(`${url}/v1/kv/${encodeURIComponent(key)}?${SPREAD}`, { method: 'PUT', body: `v ${key}` })
  expect(answer.status).toBe(204)
}

async function scan(url: string, query: string, onPage = async () => {}): Promise<string[]> {
  const keys: string[] = []
  for (let at = query; ; ) {
    const page = await json<{ entries: { key: string; value: string }[]; cursor?: string }>(`${url}/v1/kv?${at}`)
    for (const { key, value } of page.entries) {
      expect(value).toBe(`v ${key}`)
      keys.push(key)
    }
    if (page.cursor === undefined) return keys
    await onPage()
    at = `cursor=${page.cursor}`
  }
}

async function split(url: string, key: string): Promise<void> {
  const { ranges } = await json<{ ranges: Range[] }>(`${url}/v1/admin/ranges?${SPREAD}`)
  const holder = ranges.filter(({ spread, start }) => spread !== true || start <= key).at(-1)!
  const target = `${url}/v1/admin/ranges/${holder.rangeId}/split?wait=true&timeoutMs=30000&${SPREAD}`
  const { operator } = await json<{ operator: object }>(target, { method: 'POST', body: JSON.stringify({ key }) })
  expect(operator).toMatchObject({ state: 'done' })
}

test('a spread keyspace is written in all its ranges and read in order', { timeout: 120_000 }, async () => {
  const cluster = await startCluster()
  const urls = cluster.nodes.map(({ url }) => url)
  const keys = Array.from({ length: 600 }, (_, i) => keyOf(i))
  await Promise.all(keys.slice(0, 300).map((key, i) => write(urls[i % 3]!, key)))
  for (const bucket of ['8', '4', 'c']) await split(urls[1]!, bucket)
  const { ranges } = await json<{ ranges: Range[] }>(`${urls[2]}/v1/admin/ranges?${SPREAD}`)
  expect(ranges.slice(1).map(({ keyspace, spread, start }) => [keyspace, spread, start])).toEqual([
    ['events', true, '4'],
    ['events', true, '8'],
    ['events', true, 'c'],
  ])
  await Promise.all(keys.slice(300).map((key, i) => write(urls[i % 3]!, key)))
  const buckets = await json<{ ranges: Range[] }>(`${urls[0]}/v1/admin/ranges?${SPREAD}&key=${keyOf(0)}`)
  expect(buckets.ranges).toHaveLength(1)

  for (const url of urls) expect(await scan(url, `${SPREAD}&limit=1000`)).toEqual(keys)
  expect(await scan(urls[0]!, `${SPREAD}&limit=37&reverse=true`)).toEqual(keys.toReversed())
  expect(await scan(urls[1]!, `${SPREAD}&start=${keyOf(100)}&end=${keyOf(203)}&limit=50`)).toEqual(keys.slice(100, 203))
  expect(await scan(urls[2]!, `${SPREAD}&prefix=${keyOf(0).slice(0, -2)}`)).toEqual(keys.slice(0, 100))
  // What is written behind the first page is in none of the later ones.
  let late = 600
  expect(await scan(urls[0]!, `${SPREAD}&limit=100`, () => write(urls[1]!, keyOf(late++)))).toEqual(keys)
  expect(late).toBeGreaterThan(604)
  expect(await scan(urls[1]!, 'keyspace=events')).toEqual([])
})
