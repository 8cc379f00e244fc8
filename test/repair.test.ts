import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, put } from './http-client.js'
import { startCluster } from './scratch.js'

/**
 * What a node has missed for too long, or lost to its disk, it gets from the others, without anybody's doing: by snapshots, real
 * ones over real sockets into a real database.
 */
interface Places {
  readonly ranges: readonly {
    readonly rangeId: number
    readonly leader: number | null
    readonly replicas: readonly {
      readonly nodeId: number
      readonly replicaId: number
      readonly type: string
      readonly lag: number | null
    }[]
  }[]
}

/** Every range has three voters, each on a node of its own, and nobody lacks anything. */
async function untilWhole(node: NodeProcess): Promise<Places> {
  return eventually(
    'a whole range everywhere',
    async () => {
      const places = (await node.json('/v1/admin/ranges')) as Places
      for (const { rangeId, leader, replicas } of places.ranges) {
        expect(leader, `range ${rangeId}`).not.toBeNull()
        expect(replicas.map(({ nodeId }) => nodeId).sort(), `range ${rangeId}`).toEqual([1, 2, 3])
        for (const { type, lag } of replicas) {
          expect(type, `range ${rangeId}`).toBe('voter')
          // The system range is never at rest.
          expect(lag, `range ${rangeId}`).toBeLessThan(10)
        }
      }
      return places
    },
    40_000,
  )
}

async function metric(node: NodeProcess, name: string): Promise<number> {
  return (await node.metrics()).get(`cordillera_${name}`) ?? 0
}

test('a node that was away for more than the log keeps returns by snapshot, while writes go on', async () => {
  const cluster = await startCluster({ initialRanges: 1 })
  const [first, , away] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess]
  await put(first.url, 'kept', 'from before')
  await away.kill()
  const value = 'v'.repeat((1 << 20) - 10)
  // The state is flushed once it has 64 MiB to write; then the log is cut down to the 16 MiB that it keeps for laggards.
  for (let i = 0; i < 150; i++) await put(first.url, `large${i % 5}`, `${i} ${value}`)
  away.start()
  await away.waitUntilReady()
  let isBack = false
  const writes = (async () => {
    let count = 0
    while (!isBack) await put(first.url, 'meanwhile', `${++count}`)
    return count
  })()
  await eventually('a snapshot', async () => (await metric(away, 'snapshots_installed_total')) > 0, 40_000)
  isBack = true
  const count = await writes
  expect(count).toBeGreaterThan(0)
  await untilWhole(first)
  expect(
    (await metric(first, 'snapshots_sent_total')) + (await metric(cluster.nodes[1]!, 'snapshots_sent_total')),
  ).toBe(await metric(away, 'snapshots_installed_total'))
  // It alone, and one other: what it answers, it has.
  await first.kill()
  await eventually('the newest value', async () => (await get(away.url, 'meanwhile')) === `${count}`, 10_000)
  expect(await get(away.url, 'kept')).toBe('from before')
  for (let i = 145; i < 150; i++) expect((await get(away.url, `large${i % 5}`))?.slice(0, 4)).toBe(`${i} `)
})

test('replicas whose log is damaged are replaced under new ids; nothing is lost, and nobody has to do anything', async () => {
  const cluster = await startCluster({ initialRanges: 8 })
  const [first, second, damaged] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess]
  for (let i = 0; i < 64; i++) await put(first.url, `${(i % 16).toString(16)}${i}`, `value ${i}`)
  const before = await untilWhole(first)
  await damaged.kill()
  // A batch in the middle: what comes behind it tells that it was whole once.
  const logs = join(damaged.dataPath, 'log')
  const name = readdirSync(logs).find((each) => readFileSync(join(logs, each)).includes('value 40'))
  const bytes = readFileSync(join(logs, name!))
  const at = bytes.indexOf('value 40')
  bytes[at]! ^= 0x01
  writeFileSync(join(logs, name!), bytes)
  damaged.start()
  await damaged.waitUntilReady()
  expect(damaged.log(1e6)).toContain('"event":"replica-silenced"')
  const after = await untilWhole(first)
  await eventually('no silenced replica', async () => (await metric(damaged, 'silenced_replicas')) === 0)
  const idsOf = ({ ranges }: Places): number[] => ranges.flatMap(({ replicas }) => replicas.map((one) => one.replicaId))
  const fresh = idsOf(after).filter((id) => !idsOf(before).includes(id))
  expect(fresh.length).toBeGreaterThan(0)
  expect(fresh.length).toBeLessThan(9)
  for (const id of fresh) expect(id).toBeGreaterThan(Math.max(...idsOf(before)))
  // Restarted, it stays as it is; and with it and one other everything is there.
  await damaged.stop()
  damaged.start()
  await damaged.waitUntilReady()
  await untilWhole(first)
  await second.kill()
  for (let i = 0; i < 64; i++) {
    const key = `${(i % 16).toString(16)}${i}`
    await eventually(`the value of ${key}`, async () => (await get(damaged.url, key)) === `value ${i}`, 10_000)
  }
})
