import { expect, test } from 'vitest'
import type { NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, put, send } from './http-client.js'
import { startCluster } from './scratch.js'

/** SIGTERM and SIGINT: a node gives its leaderships away, keeps what it acknowledged, and ends with 0. */
const GOOD_END = { code: 0, signal: null }

test('a node that drains hands its leaderships over while others write on', { timeout: 120_000 }, async () => {
  const cluster = await startCluster()
  const [leaving, ...staying] = cluster.nodes
  const leavingId = await leaving!.nodeId()
  expect((await leadersOf(staying[0]!)).some((leader) => leader === leavingId)).toBe(true)

  const acknowledged: string[] = []
  let longestMs = 0
  let isOver = false
  const failures: unknown[] = []
  const writers = staying.map(async ({ url }, writer) => {
    for (let i = 0; !isOver; i++) {
      const key = `${(i % 16).toString(16)}-${writer}-${i}`
      const startMs = performance.now()
      await put(url, key, key).then(
        () => acknowledged.push(key),
        (error) => failures.push(error),
      )
      longestMs = Math.max(longestMs, performance.now() - startMs)
    }
  })
  await eventually('writes flow', () => acknowledged.length > 500)
  expect(await leaving!.stop()).toEqual(GOOD_END)
  const leaders = await leadersOf(staying[0]!)
  const written = acknowledged.length
  await eventually('writes flow on', () => acknowledged.length > written + 500)
  isOver = true
  await Promise.all(writers)

  expect(failures).toEqual([])
  expect(leaders).not.toContain(leavingId)
  expect(leaders).not.toContain(null)
  console.log(`no write failed while a node drained; the longest took ${longestMs.toFixed(0)} ms`)
  // An election for want of a leader would take a whole election timeout.
  expect(longestMs).toBeLessThan(1_000)

  leaving!.start()
  await leaving!.waitUntilReady()
  for (const key of acknowledged) expect(await get(leaving!.url, key)).toBe(key)
})

test.each(['SIGTERM', 'SIGINT'] as const)('%s to all nodes at once loses nothing', async (signal) => {
  const cluster = await startCluster()
  const keys = Array.from({ length: 200 }, (_, i) => `${(i % 16).toString(16)}-${i}`)
  await Promise.all(keys.map((key, i) => put(cluster.nodes[i % 3]!.url, key, key)))
  expect(await Promise.all(cluster.nodes.map((node) => node.end(signal)))).toEqual([GOOD_END, GOOD_END, GOOD_END])
  await cluster.start()
  for (const key of keys) expect(await get(cluster.nodes[0]!.url, key)).toBe(key)
})

test('a lone node under load ends with 0 and keeps what it acknowledged', async () => {
  const cluster = await startCluster({ nodes: 1 })
  const [node] = cluster.nodes
  const acknowledged: string[] = []
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    for (let i = 0; ; i++) {
      const key = `${(i % 16).toString(16)}-${writer}-${i}`
      const answer = await send(node!.url, `/v1/kv/${key}`, { method: 'PUT', body: key }).catch(() => undefined)
      if (answer?.status !== 204) return
      acknowledged.push(key)
    }
  })
  await eventually('writes flow', () => acknowledged.length > 500)
  expect(await node!.stop()).toEqual(GOOD_END)
  await Promise.all(writers)
  await cluster.start()
  for (const key of acknowledged) expect(await get(node!.url, key)).toBe(key)
})

async function leadersOf(node: NodeProcess): Promise<(number | null)[]> {
  const { ranges } = await node.json('/v1/admin/ranges?limit=1000')
  return ranges.map(({ leader }: { leader: number | null }) => leader)
}
