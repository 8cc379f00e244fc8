import { expect, test } from 'vitest'
import type { LocalCluster, NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { PromiseClients } from './promise-clients.js'
import { afterTest, startCluster } from './scratch.js'

/**
 * `kill -9` of the node with the oracle, again and again, and of all nodes at once: snapshots stay consistent and fresh,
 * slow cursors keep theirs, and conditional writes that are repeated under an idempotency key take effect once.
 */
const SYSTEM_RANGE = 1

test('kill -9 of the oracle and of leaders: no torn snapshot, no lost or double increment', {
  timeout: 300_000,
}, async () => {
  const cluster = await startCluster()
  const clients = new PromiseClients(cluster)
  afterTest(() => clients.stop().catch(() => {}))
  clients.start()
  await more(clients)
  const killed = new Set<string>()
  for (let i = 0; i < 3; i++) {
    const node = await oracleNode(cluster)
    killed.add(node.name)
    await node.kill()
    await more(clients)
    node.start()
    await node.waitUntilReady()
    await more(clients)
  }
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  await cluster.start()
  await more(clients)
  await clients.stop()
  console.log(`oracles killed on ${[...killed].join(', ')}: ${JSON.stringify(clients.counts)}`)
  expect(clients.violations).toEqual([])
  expect(clients.counts.repeated).toBeGreaterThan(0)
  expect(clients.counts.mismatches).toBeGreaterThan(0)
})

/** Until every kind of client has got on. */
async function more({ counts, violations }: PromiseClients): Promise<void> {
  const { rounds, snapshots, increments } = counts
  await eventually(
    'progress of every client',
    () =>
      violations.length > 0 ||
      (counts.rounds >= rounds + 20 && counts.snapshots >= snapshots + 5 && counts.increments >= increments + 50),
    60_000,
  )
}

async function oracleNode(cluster: LocalCluster): Promise<NodeProcess> {
  return eventually('a leader of the system range', async () => {
    const [any] = cluster.nodes
    const { ranges } = await any!.json('/v1/admin/ranges?limit=1000')
    const { nodes } = await any!.json('/v1/admin/nodes')
    const leader = ranges.find(({ rangeId }: { rangeId: number }) => rangeId === SYSTEM_RANGE)?.leader
    const address = nodes.find(({ nodeId }: { nodeId: number }) => nodeId === leader)?.httpAddress
    return cluster.nodes.find(({ httpAddress }) => httpAddress === address)
  })
}
