import { cpSync, rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { freePorts, type NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, put } from './http-client.js'
import { newNode, scratchDirectory, startCluster } from './scratch.js'

/**
 * A data directory belongs to one process at a time, and to one cluster for ever: no flag of a later start changes that.
 */
test('a second process is told which one has the directory, and the first goes on', async () => {
  const cluster = await startCluster({ nodes: 1 })
  const [owner] = cluster.nodes
  const directory = owner!.dataPath.slice(0, -'/node-1'.length)
  const second = await newNode({ name: 'node-1', directory, flags: ['--init'] })
  const linesBefore = second.log(1e6)
  second.start()
  expect(await second.exited).toEqual({ code: 1, signal: null })
  const said = second.log(1e6).slice(linesBefore.length)
  expect(said).toMatch(/^cordillera: DIRECTORY_IN_USE: /m)
  expect(said).toContain(`process ${owner!.pid} `)
  await put(owner!.url, 'a', 'still here')
  expect(await get(owner!.url, 'a')).toBe('still here')
})

test('on an empty directory neither flag is an error with a code', async () => {
  const node = await newNode({ name: 'nobody', flags: [] })
  node.start()
  expect(await node.exited).toEqual({ code: 1, signal: null })
  expect(node.log()).toMatch(/^cordillera: CONFIG_INVALID: .*--init/m)
})

test('--init and --join on a directory with an identity change nothing', async () => {
  const first = await startCluster({ nodes: 1 })
  const other = await startCluster({ nodes: 1 })
  const node = first.nodes[0]!
  const { clusterId } = await node.json('/v1/admin/cluster')
  const { clusterId: otherId } = await other.nodes[0]!.json('/v1/admin/cluster')
  expect(otherId).not.toBe(clusterId)
  await put(node.url, 'a', 'kept')

  const starts = [
    { flags: ['--init', '--initial-nodes', '3', '--initial-ranges', '4'], event: 'init-ignored' },
    { flags: ['--join', other.nodes[0]!.peerAddress], event: 'join-names-addresses-only' },
    { flags: [], event: 'starting' },
  ]
  for (const { flags, event } of starts) {
    expect(await node.stop()).toEqual({ code: 0, signal: null })
    node.start(flags)
    await node.waitUntilReady()
    expect(node.log(1e6)).toContain(`"event":"${event}"`)
    expect(await node.json('/v1/admin/cluster')).toMatchObject({ clusterId, nodeCount: 1, rangeCount: 17 })
    expect(await get(node.url, 'a')).toBe('kept')
  }
  expect(await other.nodes[0]!.json('/v1/admin/cluster')).toMatchObject({ clusterId: otherId, nodeCount: 1 })
})

test('a joiner that is restarted with --init founds nothing', async () => {
  const cluster = await startCluster()
  const [, joiner] = cluster.nodes
  const before = await joiner!.json('/v1/admin/cluster')
  await put(joiner!.url, 'a', 'kept')
  await joiner!.kill()
  joiner!.start(['--init', '--initial-nodes', '1'])
  await joiner!.waitUntilReady()
  const { clusterId, nodeCount, rangeCount } = before
  expect(await joiner!.json('/v1/admin/cluster')).toMatchObject({ clusterId, nodeCount, rangeCount })
  expect(await get(joiner!.url, 'a')).toBe('kept')
})

test('a fourth node joins by whomever it asks, and has its id for ever', async () => {
  const cluster = await startCluster()
  for (const [i, member] of cluster.nodes.entries()) {
    const late = await newNode({ name: `late-${i}`, flags: ['--join', member.peerAddress] })
    late.start()
    await late.waitUntilReady()
    const id = await eventually('it is known', () => idOf(member, late))
    expect(id).toBe(4 + i)
    await late.kill()
    late.start([])
    await late.waitUntilReady()
    expect(await idOf(member, late)).toBe(id)
  }
  await eventually('everybody knows of six', async () => {
    const counts = await Promise.all(cluster.nodes.map((node) => node.json('/v1/admin/cluster')))
    return counts.every(({ nodeCount }) => nodeCount === 6)
  })
})

/** Of a node, as another one has it. */
async function idOf(member: NodeProcess, { peerAddress }: NodeProcess): Promise<number | undefined> {
  const { nodes } = await member.json('/v1/admin/nodes')
  return nodes.find((node: { readonly peerAddress: string }) => node.peerAddress === peerAddress)?.nodeId
}

test('a cluster whose nodes have all moved meets again by --join', async () => {
  const cluster = await startCluster()
  const [first, ...others] = cluster.nodes
  const { clusterId } = await first!.json('/v1/admin/cluster')
  await put(first!.url, 'a', 'kept')
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  const ports = await freePorts(cluster.nodes.length)
  for (const [i, node] of cluster.nodes.entries()) node.peerAddress = `127.0.0.1:${ports[i]}`
  first!.start([])
  for (const node of others) node.start(['--join', first!.peerAddress])
  for (const node of cluster.nodes) await node.waitUntilReady()
  expect(await first!.json('/v1/admin/cluster')).toMatchObject({ clusterId, nodeCount: 3 })
  for (const node of cluster.nodes) expect(await get(node.url, 'a')).toBe('kept')
  await eventually('every node knows where the others are now', async () => {
    const lists = await Promise.all(cluster.nodes.map((node) => node.json('/v1/admin/nodes')))
    const addresses = lists.map(({ nodes }) => nodes.map((node: { peerAddress: string }) => node.peerAddress).sort())
    const states = lists.flatMap(({ nodes }) => nodes.map((node: { state: string }) => node.state))
    const now = cluster.nodes.map((node) => node.peerAddress).sort()
    return addresses.every((list) => String(list) === String(now)) && states.every((state) => state === 'live')
  })
})

test('a node whose directory is put back from an older copy is found out, and takes part in nothing', async () => {
  const cluster = await startCluster()
  const [first, , restored] = cluster.nodes
  await put(first!.url, 'a', 'before')
  await restored!.kill()
  const copy = `${scratchDirectory()}/copy`
  cpSync(restored!.dataPath, copy, { recursive: true })
  restored!.start([])
  await restored!.waitUntilReady()
  for (let i = 0; i < 20; i++) await put(first!.url, `key-${i}`, 'after')
  await restored!.kill()
  rmSync(restored!.dataPath, { recursive: true })
  cpSync(copy, restored!.dataPath, { recursive: true })
  const linesBefore = restored!.log(1e6).length
  restored!.start([])
  expect(await restored!.exited).toEqual({ code: 1, signal: null })
  const said = restored!.log(1e6).slice(linesBefore)
  expect(said).toMatch(/DIRECTORY_INVALID: .*heard of a later state/)
  expect(said).not.toContain('"event":"link-up"')
  await put(first!.url, 'a', 'served')
  expect(await get(first!.url, 'key-19')).toBe('after')
})

test('a founder waits for its joiners, whoever comes first', async () => {
  const founder = await newNode({ name: 'founder', flags: ['--init', '--initial-nodes', '2'] })
  const joiner = await newNode({ name: 'joiner', flags: ['--join', founder.peerAddress] })
  joiner.start()
  founder.start()
  await Promise.all([founder.waitUntilReady(), joiner.waitUntilReady()])
  await eventually('both are registered', async () => {
    const { nodes } = await joiner.json('/v1/admin/nodes')
    return nodes.length === 2
  })
})
