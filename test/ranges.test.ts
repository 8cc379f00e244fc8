import { checkLinearizable } from '@cordillera/simulator'
import { expect, test } from 'vitest'
import type { LocalCluster, NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get } from './http-client.js'
import { RecordedClients } from './recorded-clients.js'
import { afterTest, startCluster } from './scratch.js'

/**
 * Ranges are cut, handed over and merged by command while clients read and write through all nodes: none of their requests fails,
 * nothing acknowledged is lost, and what was read fits one order of all operations. And when the node that runs the operators is
 * killed in the middle of them, all of them end, and others begin.
 */
interface Range {
  readonly rangeId: number
  readonly start: string
  readonly leader: number | null
  readonly replicas: readonly { readonly nodeId: number }[]
}

interface OperatorAnswer {
  readonly operator: { readonly operatorId: number; readonly state: string; readonly error?: unknown }
}

async function ranges(url: string): Promise<Range[]> {
  const answer = await fetch(`${url}/v1/admin/ranges?limit=1000`)
  const { ranges: all } = (await answer.json()) as { readonly ranges: readonly Range[] }
  return all.filter(({ rangeId }) => rangeId !== 1)
}

async function command(url: string, rangeId: number, name: string, body?: object): Promise<OperatorAnswer['operator']> {
  const init = { method: 'POST', ...(body && { body: JSON.stringify(body) }) }
  const answer = await fetch(`${url}/v1/admin/ranges/${rangeId}/${name}?wait=true&timeoutMs=30000`, init)
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  return (JSON.parse(text) as OperatorAnswer).operator
}

/** The first keys of 16 more ranges; those of the founding are `1`, `2`, … */
const CUTS = Array.from({ length: 16 }, (_, i) => `${i.toString(16)}8`)

async function split(url: string, key: string): Promise<void> {
  const holder = (await ranges(url)).filter(({ start }) => start <= key).at(-1)!
  expect(await command(url, holder.rangeId, 'split', { key })).toMatchObject({ state: 'done' })
}

async function merge(url: string, key: string): Promise<void> {
  const all = await ranges(url)
  const left = all[all.findIndex(({ start }) => start === key) - 1]!
  expect(await command(url, left.rangeId, 'merge')).toMatchObject({ state: 'done' })
}

function urlsOf(cluster: LocalCluster): string[] {
  return cluster.nodes.map(({ url }) => url)
}

test('16 ranges become 32 and 16 again, and every leadership moves, while clients notice nothing', {
  timeout: 180_000,
}, async () => {
  const cluster = await startCluster()
  const urls = urlsOf(cluster)
  const clients = new RecordedClients(cluster)
  afterTest(() => clients.stop().catch(() => {}))
  clients.start()
  for (const [i, key] of CUTS.entries()) await split(urls[i % 3]!, key)
  const cut = await ranges(urls[0]!)
  expect(cut).toHaveLength(32)
  for (const { rangeId, leader, replicas } of cut.slice(0, 8)) {
    const node = replicas.find(({ nodeId }) => nodeId !== leader)!.nodeId
    expect(await command(urls[1]!, rangeId, 'transfer-leader', { node })).toMatchObject({ state: 'done' })
  }
  for (const [i, key] of CUTS.entries()) await merge(urls[i % 3]!, key)
  expect(await ranges(urls[2]!)).toHaveLength(16)
  await clients.stop()
  expect([clients.unknownWrites, clients.unserved]).toEqual([0, []])
  for (const { url } of cluster.nodes) for (const key of clients.keys) await clients.readBack(url, key)
  for (const [key, value] of clients.kept) expect(await get(urls[0]!, key)).toBe(value)
  console.log(`${clients.history.length} operations, ${clients.kept.size} keys kept`)
  expect(checkLinearizable(clients.history)).toEqual({ ok: true })
})

test('kill -9 of the node that places ranges, in the middle of it: all ends that was begun, and it goes on elsewhere', {
  timeout: 180_000,
}, async () => {
  const cluster = await startCluster()
  const clients = new RecordedClients(cluster)
  afterTest(() => clients.stop().catch(() => {}))
  clients.start()
  for (const key of CUTS.slice(0, 4)) await split(cluster.nodes[0]!.url, key)
  const driver = await driverOf(cluster)
  const others = cluster.nodes.filter((node) => node !== driver)
  const [one] = others as [NodeProcess]
  // Begun, and not waited for.
  const begun = CUTS.slice(4, 8).map(async (key) => {
    const holder = (await ranges(one.url)).filter(({ start }) => start <= key).at(-1)!
    await fetch(`${one.url}/v1/admin/ranges/${holder.rangeId}/split`, { method: 'POST', body: JSON.stringify({ key }) })
  })
  const merged = CUTS.slice(0, 4).map(async (key) => {
    const all = await ranges(one.url)
    const left = all[all.findIndex(({ start }) => start === key) - 1]!
    await fetch(`${one.url}/v1/admin/ranges/${left.rangeId}/merge`, { method: 'POST' })
  })
  await Promise.race([...begun, ...merged])
  await driver.kill()
  const killedAt = performance.now()
  await Promise.allSettled([...begun, ...merged])
  // Cut by the node that places ranges now; a merge waits for every node that holds one of its two ranges.
  await eventually('every split has ended', async () => expect(await running(one.url, 'split')).toEqual([]), 60_000)
  console.log(`all splits ended ${((performance.now() - killedAt) / 1_000).toFixed(1)} s after the kill`)
  driver.start()
  await driver.waitUntilReady()
  await eventually('every merge has ended', async () => expect(await running(one.url, 'merge')).toEqual([]), 60_000)
  await split(one.url, 'f4')
  await merge(one.url, 'f4')
  await clients.stop()
  for (const { url } of cluster.nodes) for (const key of clients.keys) await clients.readBack(url, key)
  for (const [key, value] of clients.kept) expect(await get(one.url, key)).toBe(value)
  expect(checkLinearizable(clients.history)).toEqual({ ok: true })
})

/** Operators that were asked for: others begin by themselves at any time. */
async function running(url: string, kind: string): Promise<object[]> {
  const answer = await fetch(`${url}/v1/admin/operators`)
  expect(answer.status).toBe(200)
  const { operators } = (await answer.json()) as {
    readonly operators: readonly { readonly kind: string; readonly state: string; readonly reason: string }[]
  }
  return operators.filter((one) => one.reason === 'by command' && one.state === 'running' && one.kind === kind)
}

/** The node that leads the system range. */
async function driverOf(cluster: LocalCluster): Promise<NodeProcess> {
  const answer = await fetch(`${cluster.nodes[0]!.url}/v1/admin/ranges/1`)
  const {
    ranges: [system],
  } = (await answer.json()) as { readonly ranges: readonly [Range] }
  return cluster.nodes[system.leader! - 1]!
}
