import { spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { bin } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, put } from './http-client.js'
import { startCluster } from './scratch.js'

/**
 * The commands of an operator, each a process, on a cluster of processes: what they print, what they end with, and that
 * asking twice, or for what cannot be, is answered clearly and changes nothing.
 */
interface Outcome {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function cordillera(url: string, ...args: string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [bin, ...args], {
      env: { ...process.env, CORDILLERA_ENDPOINT: url },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk) => {
      out += chunk
    })
    child.stderr.on('data', (chunk) => {
      err += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, err }))
  })
}

async function done(url: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await cordillera(url, ...args)
  expect([args, code, err]).toEqual([args, 0, expect.anything()])
  return out
}

async function json(url: string, ...args: string[]) {
  return JSON.parse(await done(url, ...args, '-o', 'json'))
}

test('ranges, leaderships, nodes, settings and keys, from the command line', { timeout: 120_000 }, async () => {
  const cluster = await startCluster()
  const [one, two] = cluster.nodes.map(({ url }) => url) as [string, string]
  const second = `${await cluster.nodes[1]!.nodeId()}`
  expect(await done(one, 'status')).toContain('healthy')
  expect(await json(two, 'status')).toMatchObject({ nodeCount: 3, rangeCount: 17, healthy: true })
  expect((await json(one, 'node', 'ls')).nodes.map(({ nodeId }: { nodeId: number }) => nodeId)).toEqual([1, 2, 3])

  await done(one, 'kv', 'put', 'a8/key', 'value')
  expect(await done(two, 'kv', 'get', 'a8/key')).toBe('value')
  expect(await cordillera(one, 'kv', 'get', 'nothing')).toMatchObject({
    code: 1,
    err: expect.stringContaining('KEY_NOT_FOUND'),
  })

  const holder = async () => (await json(two, 'range', 'ls', '--key', 'a8')).ranges[0]
  const { rangeId, leader, replicas } = await holder()
  await done(one, 'range', 'split', `${rangeId}`, '--key', 'a8')
  const right = await holder()
  expect(right).toMatchObject({ start: 'a8' })
  expect(right.rangeId).not.toBe(rangeId)
  const again = await cordillera(one, 'range', 'split', `${right.rangeId}`, '--key', 'a8')
  expect([again.code, again.err]).toEqual([1, expect.stringMatching(/^cordillera: (CONFLICT|BAD_REQUEST): /)])
  await done(two, 'range', 'merge', `${rangeId}`)
  expect((await holder()).rangeId).toBe(rangeId)

  const to = replicas.find(({ nodeId }: { nodeId: number }) => nodeId !== leader).nodeId
  await done(one, 'range', 'transfer-leader', `${rangeId}`, '--to', `${to}`)
  // Whoever asks for what is so already is told that it is done.
  await done(one, 'range', 'transfer-leader', `${rangeId}`, '--to', `${to}`)
  const explained = await json(one, 'range', 'explain', `${rangeId}`)
  expect(explained.decisions.map(({ kind }: { kind: string }) => kind)).toEqual(
    expect.arrayContaining(['split', 'merge']),
  )
  expect(await cordillera(one, 'range', 'show', '4711')).toMatchObject({
    code: 1,
    err: expect.stringContaining('NOT_FOUND'),
  })
  expect(await cordillera(one, 'range', 'move', `${rangeId}`, '--from', '1', '--to', '9')).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^cordillera: (NOT_FOUND|BAD_REQUEST|CONFLICT): /),
  })
  expect((await json(one, 'operator', 'ls')).operators.length).toBeGreaterThan(2)

  const refused = await cordillera(one, 'node', 'decommission', second)
  expect([refused.code, refused.err]).toEqual([
    1,
    expect.stringContaining('3 replicas on 3 nodes: add a node or lower the count'),
  ])
  await done(one, 'node', 'drain', second)
  expect((await fetch(`${two}/readyz`)).status).toBe(503)
  expect(await get(two, 'a8/key')).toBe('value')
  await done(one, 'node', 'undrain', second)
  await eventually('it is ready again', async () => (await fetch(`${two}/readyz`)).status === 200)

  await done(one, 'settings', 'set', 'rangeSplitBytes=33554432')
  expect((await json(two, 'settings', 'show')).rangeSplitBytes).toBe(33_554_432)
  expect(await cordillera(one, 'settings', 'set', 'nonsense=1')).toMatchObject({
    code: 1,
    err: expect.stringContaining('nonsense'),
  })
  expect(
    new Set(
      (await json(one, 'range', 'ls', '--limit', '100')).ranges.map(({ keyspace }: { keyspace: string }) => keyspace),
    ).size,
  ).toBeGreaterThan(0)
})

test('a range without its majority goes on from one replica, once a person has said so', {
  timeout: 180_000,
}, async () => {
  const cluster = await startCluster({ nodes: 5 })
  const [one] = cluster.nodes
  for (let i = 0; i < 32; i++) await put(one!.url, `${(i % 16).toString(16)}-${i}`, `${i}`)
  const { ranges } = await one!.json('/v1/admin/ranges?limit=100')
  const system = ranges.find(({ rangeId }: { rangeId: number }) => rangeId === 1)
  const nodesOf = ({ replicas }: { replicas: { nodeId: number }[] }) => replicas.map(({ nodeId }) => nodeId)
  // Two nodes of which the system range needs neither, or one.
  const lost = [1, 2, 3, 4, 5]
    .flatMap((a) => [1, 2, 3, 4, 5].filter((b) => b > a).map((b) => [a, b]))
    .find((pair) => pair.filter((id) => nodesOf(system).includes(id)).length < 2)!
  const stopped = ranges.filter((range: { replicas: { nodeId: number }[] }) =>
    lost.every((id) => nodesOf(range).includes(id)),
  )
  expect(stopped.length).toBeGreaterThan(0)
  const ids = await Promise.all(cluster.nodes.map((node) => node.nodeId()))
  const alive = cluster.nodes.find((_, i) => !lost.includes(ids[i]!))!
  const dead = cluster.nodes.filter((_, i) => lost.includes(ids[i]!))
  await Promise.all(dead.map((node) => node.kill()))
  const { rangeId, start } = stopped[0]
  const key = `${start === '' ? '0' : start}-probe`

  const asked = await cordillera(alive.url, 'range', 'recover', `${rangeId}`)
  expect([asked.code, asked.err]).toEqual([1, expect.stringContaining('--unsafe')])
  await eventually(
    'it may be recovered',
    async () => {
      const { code, err } = await cordillera(alive.url, 'range', 'recover', `${rangeId}`, '--unsafe', '--yes')
      expect([code, err]).toEqual([0, expect.stringContaining('What may be lost')])
      return true
    },
    60_000,
  )
  await eventually('it is written', () => put(alive.url, key, 'again').then(() => true), 30_000)
  for (const node of dead) node.start()
  for (const node of dead) await node.waitUntilReady(60_000)
  await eventually(
    'it has three replicas, and everybody is told the same',
    async () => {
      for (const node of cluster.nodes) {
        expect(await get(node.url, key)).toBe('again')
        const { ranges: shown } = await node.json(`/v1/admin/ranges/${rangeId}`)
        expect(shown[0].replicas.map(({ type }: { type: string }) => type)).toEqual(['voter', 'voter', 'voter'])
      }
      return true
    },
    60_000,
  )
  for (let i = 0; i < 32; i++) expect(await get(alive.url, `${(i % 16).toString(16)}-${i}`)).toBe(`${i}`)
})
