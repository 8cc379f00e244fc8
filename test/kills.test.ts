import { checkLinearizable } from '@cordillera/simulator'
import { expect, test } from 'vitest'
import type { LocalCluster, NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, send } from './http-client.js'
import { RecordedClients } from './recorded-clients.js'
import { afterTest, startCluster } from './scratch.js'

/**
 * `kill -9` under load. Clients read and write through all nodes while each node in turn, and then all of them at once,
 * is killed and started again. What was acknowledged is there, and what was read fits one order of all operations.
 */
const WRITES_BETWEEN_KILLS = 1_000
const WRITES_WHILE_DOWN = 300
const SERVES_AGAIN_MS = 5_000

test('kill -9 of each node in turn, then of all: linearizable, serving, nothing lost', {
  timeout: 300_000,
}, async () => {
  const cluster = await startCluster()
  const clients = new RecordedClients(cluster)
  afterTest(() => clients.stop().catch(() => {}))
  clients.start()

  for (const node of cluster.nodes) {
    await writes(clients, WRITES_BETWEEN_KILLS)
    await expectLeadsAndFollows(node)
    const killedAt = performance.now()
    await node.kill()
    const outageMs = await untilEveryRangeServes(others(cluster, node), killedAt)
    console.log(`${node.name} killed: every range took writes again after ${outageMs.toFixed(0)} ms`)
    expect(outageMs).toBeLessThan(SERVES_AGAIN_MS)
    await writes(clients, WRITES_WHILE_DOWN)
    node.start()
    await node.waitUntilReady()
  }

  await writes(clients, WRITES_BETWEEN_KILLS)
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  const startedAt = performance.now()
  await cluster.start()
  const outageMs = await untilEveryRangeServes(cluster.nodes, startedAt)
  console.log(`all killed: every range took writes again ${outageMs.toFixed(0)} ms after the restart`)
  await writes(clients, WRITES_WHILE_DOWN)
  await clients.stop()

  for (const { url } of cluster.nodes) for (const key of clients.keys) await clients.readBack(url, key)
  for (const [key, value] of clients.kept) expect(await get(cluster.nodes[0]!.url, key)).toBe(value)
  const { history, unknownWrites } = clients
  console.log(`${history.length} operations, ${clients.kept.size} keys kept, ${unknownWrites} unknown outcomes`)
  expect(checkLinearizable(history)).toEqual({ ok: true })
  expect(checkLinearizable(withStaleRead(clients))).toMatchObject({ ok: false })
})

async function writes(clients: RecordedClients, count: number): Promise<void> {
  const goal = clients.acknowledgedWrites + count
  await eventually(`${count} more acknowledged writes`, () => clients.acknowledgedWrites >= goal, 60_000)
}

/** A node that only led, or only followed, would show less. */
async function expectLeadsAndFollows(node: NodeProcess): Promise<void> {
  const { ranges } = await node.json('/v1/admin/ranges?limit=1000')
  const nodeId = await node.nodeId()
  const led = ranges.filter(({ leader }: { leader: number | null }) => leader === nodeId).length
  console.log(`${node.name} leads ${led} of ${ranges.length} ranges`)
  expect(led).toBeGreaterThan(0)
  expect(led).toBeLessThan(ranges.length)
}

/** Milliseconds from `since` until a key of each initial range was written through each of the nodes. */
async function untilEveryRangeServes(nodes: readonly NodeProcess[], since: number): Promise<number> {
  const probes = nodes.flatMap(({ url }) =>
    Array.from({ length: 16 }, (_, i) => ({ url, key: `${i.toString(16)}-probe` })),
  )
  await Promise.all(
    probes.map(({ url, key }) =>
      eventually(`${key} through ${url}`, async () => {
        const { status } = await send(url, `/v1/kv/${key}?timeoutMs=1000`, { method: 'PUT', body: 'probe' })
        return status === 204
      }),
    ),
  )
  return performance.now() - since
}

function others(cluster: LocalCluster, node: NodeProcess): readonly NodeProcess[] {
  return cluster.nodes.filter((one) => one !== node)
}

/** The same history with a read, at its end, of a value that was overwritten: proof that the checker looks. */
function withStaleRead({ history, keys }: RecordedClients) {
  const key = keys[0]!
  const first = history.find(
    (one) => one.key === key && one.kind === 'put' && one.returnedAt !== Number.POSITIVE_INFINITY,
  )!
  const invokedAt = Math.max(...history.map(({ invokedAt }) => invokedAt)) + 1_000_000
  const stale = {
    client: 1_000_000,
    key,
    kind: 'get',
    value: first.value,
    invokedAt,
    returnedAt: invokedAt + 1,
  } as const
  return [...history, stale]
}
