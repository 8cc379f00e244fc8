import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, put } from './http-client.js'
import { startCluster } from './scratch.js'

/**
 * A thousand groups that nobody uses cost almost nothing. They are there when somebody does use them, also when the node
 * that led them has died while they rested.
 */
const RANGES = 1_000
const WINDOW_SECONDS = 10
const SHARE_MAX = 0.05
const SERVES_AGAIN_MS = 5_000
/** Longer than stores take to flush what the last balance of leaderships wrote (`stateFlushMs`). */
const SETTLED_MS = 35_000

test('1,000 idle groups in each of three processes', { timeout: 240_000 }, async () => {
  const cluster = await startCluster({ initialRanges: RANGES })
  const shares = async (seconds: number): Promise<number[]> => {
    const before = cluster.nodes.map((node) => node.cpuSeconds())
    const startMs = performance.now()
    await pause(seconds * 1000)
    const elapsed = (performance.now() - startMs) / 1000
    return cluster.nodes.map((node, i) => (node.cpuSeconds() - before[i]!) / elapsed)
  }
  // Elections, first flushes and the first balance of leaderships come to an end; then the window is measured once.
  await eventually('nobody places ranges any more', () => hasSettled(cluster.nodes[0]!), 120_000)
  const measured = await shares(WINDOW_SECONDS)
  console.log(`CPU, idle, ${RANGES} groups: ${measured.map((share) => `${(100 * share).toFixed(1)} %`).join(', ')}`)
  for (const share of measured) expect(share).toBeLessThan(SHARE_MAX)

  const [killed, ...rest] = cluster.nodes
  const killedAt = performance.now()
  await killed!.kill()
  await Promise.all(keys.map((key, i) => putSoon(rest[i % 2]!.url, key)))
  const outageMs = performance.now() - killedAt
  console.log(`a node of an idle cluster killed: ${keys.length} ranges took writes after ${outageMs.toFixed(0)} ms`)
  expect(outageMs).toBeLessThan(SERVES_AGAIN_MS)
  killed!.start()
  await killed!.waitUntilReady()
  for (const key of keys) expect(await get(killed!.url, key)).toBe(key)
})

/** Placement has begun, or never will, and began nothing of late. */
async function hasSettled(node: NodeProcess): Promise<boolean> {
  const { operators: before } = await node.json('/v1/admin/operators')
  await pause(SETTLED_MS)
  const { operators: after } = await node.json('/v1/admin/operators')
  return JSON.stringify(after) === JSON.stringify(before)
}

/** One in every fourth range. */
const keys = Array.from({ length: 256 }, (_, i) => `${i.toString(16).padStart(2, '0')}-wakes`)

async function putSoon(url: string, key: string): Promise<void> {
  await eventually(`${key} is written`, () => put(url, key, key).then(() => true))
}
