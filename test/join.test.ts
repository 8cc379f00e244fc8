import { checkLinearizable } from '@cordillera/simulator'
import { expect, test } from 'vitest'
import type { LocalCluster, NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get } from './http-client.js'
import { RecordedClients } from './recorded-clients.js'
import { afterTest, newNode, startCluster } from './scratch.js'

/**
 * Nodes join a cluster that is founded, are given replicas and leaderships, and take the place of those that leave, while clients
 * read and write: none of their requests fails, and nothing acknowledged is lost.
 */
interface Range {
  readonly rangeId: number
  readonly leader: number | null
  readonly replicas: readonly { readonly nodeId: number; readonly type: string }[]
}

async function rangesOf(node: NodeProcess): Promise<Range[]> {
  const { ranges } = await node.json('/v1/admin/ranges?limit=1000')
  return ranges
}

/** Every range has so many voters, nobody else, none on the node that must be empty, and a leader. */
async function expectSettled(node: NodeProcess, voters: number, empty?: number): Promise<void> {
  for (const { rangeId, leader, replicas } of await rangesOf(node)) {
    expect([rangeId, replicas.map(({ type }) => type)]).toEqual([rangeId, Array(voters).fill('voter')])
    expect(replicas.map(({ nodeId }) => nodeId)).not.toContain(empty)
    expect(leader).not.toBeNull()
  }
}

async function joined(name: string, at: NodeProcess): Promise<NodeProcess> {
  const node = await newNode({ name, flags: ['--join', at.peerAddress] })
  node.start()
  await node.waitUntilReady()
  return node
}

test('one node grows to three, a fourth joins, the first is decommissioned and goes, and the others meet again without it', {
  timeout: 240_000,
}, async () => {
  const cluster: LocalCluster = await startCluster({ nodes: 1 })
  const first = cluster.nodes[0]!
  const { clusterId } = await first.json('/v1/admin/cluster')
  const others = [await joined('second', first), await joined('third', first)]
  const clients = new RecordedClients({ nodes: [first, ...others] })
  afterTest(() => clients.stop().catch(() => {}))
  clients.start()
  await eventually('three replicas a range', () => expectSettled(others[1]!, 3).then(() => true), 90_000)

  const fourth = await joined('fourth', others[0]!)
  await eventually('everybody knows of it', async () => {
    for (const node of [first, ...others, fourth]) {
      expect(await node.json('/v1/admin/cluster')).toMatchObject({ clusterId, nodeCount: 4 })
    }
    return true
  })
  const answer = await fetch(`${fourth.url}/v1/admin/nodes/1/decommission?wait=true&timeoutMs=30000`, {
    method: 'POST',
  })
  expect([200, 202]).toContain(answer.status)
  await eventually('nothing is on the first node', () => expectSettled(fourth, 3, 1).then(() => true), 90_000)
  await eventually('it is decommissioned', async () => {
    const { nodes: all } = await fourth.json('/v1/admin/nodes')
    expect(all[0]).toMatchObject({ nodeId: 1, state: 'decommissioned', replicas: 0, leaders: 0 })
    return true
  })
  await clients.stop()
  expect([clients.unknownWrites, clients.unserved]).toEqual([0, []])
  console.log(`${clients.history.length} operations, ${clients.kept.size} keys kept`)

  // Its clients have gone elsewhere; all flags of the others name it alone.
  expect(await first.stop()).toEqual({ code: 0, signal: null })
  const rest = [...others, fourth]
  await Promise.all(rest.map((node) => node.kill()))
  for (const node of rest) node.start(['--join', first.peerAddress])
  for (const node of rest) await node.waitUntilReady()
  const kept = [...clients.kept]
  const readers = Array.from({ length: READERS }, async (_, reader) => {
    for (let i = reader; i < kept.length; i += READERS) {
      const [key, value] = kept[i]!
      expect(await get(rest[i % 3]!.url, key)).toBe(value)
    }
  })
  await Promise.all(readers)
  expect(checkLinearizable(clients.history)).toEqual({ ok: true })
})

test('a node that joins by a member that does not lead the system range is in the registry, and serves every range, once it is ready', {
  timeout: 180_000,
}, async () => {
  const cluster: LocalCluster = await startCluster({ nodes: 1, initialRanges: 6 })
  const first = cluster.nodes[0]!
  const others = [await joined('second', first), await joined('third', first)]
  await eventually('three replicas a range', () => expectSettled(first, 3).then(() => true), 90_000)
  await eventually('the system range is led elsewhere', async () => {
    const to = { method: 'POST', body: JSON.stringify({ node: 2 }) }
    await fetch(`${first.url}/v1/admin/ranges/1/transfer-leader?wait=true&timeoutMs=5000`, to)
    expect((await rangesOf(first))[0]).toMatchObject({ rangeId: 1, leader: 2 })
    return true
  })

  const fourth = await joined('fourth', first)
  for (const digit of '0123456789abcdef') {
    const { status } = await fetch(`${fourth.url}/v1/kv/${digit}?timeoutMs=2000`, { method: 'PUT', body: 'v' })
    expect([digit, status]).toEqual([digit, 204])
  }
  await eventually('everybody lists it', async () => {
    for (const node of [first, ...others, fourth]) {
      const { nodes } = await node.json('/v1/admin/nodes')
      expect(nodes.map((one: { nodeId: number; state: string }) => [one.nodeId, one.state])).toEqual([
        [1, 'live'],
        [2, 'live'],
        [3, 'live'],
        [4, 'live'],
      ])
    }
    return true
  })
})

const READERS = 32
