import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { eventually } from './eventually.js'
import { get, put } from './http-client.js'
import { startCluster } from './scratch.js'

/** A thousand groups that nobody uses cost almost nothing, and are there when somebody does. */
const RANGES = 1_000
const WINDOW_SECONDS = 10
const SHARE_MAX = 0.05

test('1,000 idle groups in each of three processes', { timeout: 180_000 }, async () => {
  const cluster = await startCluster({ initialRanges: RANGES })
  const shares = async (seconds: number): Promise<number[]> => {
    const before = cluster.nodes.map((node) => node.cpuSeconds())
    const startMs = performance.now()
    await pause(seconds * 1000)
    const elapsed = (performance.now() - startMs) / 1000
    return cluster.nodes.map((node, i) => (node.cpuSeconds() - before[i]!) / elapsed)
  }
  // Elections, first flushes and just-in-time compilation come to an end; then the window is measured once.
  await eventually('the groups rest', async () => (await shares(1)).every((share) => share < 2 * SHARE_MAX), 60_000)
  const measured = await shares(WINDOW_SECONDS)
  console.log(`CPU, idle, ${RANGES} groups: ${measured.map((share) => `${(100 * share).toFixed(1)} %`).join(', ')}`)
  for (const share of measured) expect(share).toBeLessThan(SHARE_MAX)

  await put(cluster.nodes[1]!.url, '7-wakes', 'up')
  expect(await get(cluster.nodes[2]!.url, '7-wakes')).toBe('up')
})
