import { Buffer } from 'node:buffer'
import { keyspacePrefix } from '@cordillera/ranges'
import { beforeEach, expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'
import { turnsOfNode } from './testing/turns-of-node.js'
import { hexFraction } from './workload.js'

/**
 * State databases that lose rows and do not say so (row 28 of the list of failures): the replica that has something else than
 * the majority is found, takes part no more, not after a crash either, and is replaced, without anybody's doing.
 */
const RANGES = 3
const keyOf = (name: string): string => `${keyspacePrefix('default')}${hexFraction(0.5)}${name}`
const KEYS = Array.from({ length: 40 }, (_, i) => keyOf(`row-${i}`))
const [LOST, OTHER] = [KEYS[7]!, KEYS[8]!]

let cluster: SimulatedCluster

beforeEach(async () => {
  await founded({})
})

async function founded(options: { readonly scrubMs?: number }): Promise<void> {
  cluster = new SimulatedCluster({ seed: 11, runTurns: turnsOfNode, ranges: RANGES, ...options })
  cluster.startAll()
  expect(await cluster.clock.runUntil(() => cluster.isReady(), 30_000)).toBe(true)
  for (const key of KEYS) await put(key, `first ${key}`)
  // All of it is flushed.
  await cluster.clock.run(5_000)
}

function begunPut(key: string, value: string): Promise<void> {
  const { router } = cluster.nodes()[0]!
  return new Promise<void>((resolve, reject) => {
    router.put(key, Buffer.from(value), cluster.clock.now() + 5_000, (error) => (error ? reject(error) : resolve()))
  })
}

const put = (key: string, value: string): Promise<void> => cluster.settle(begunPut(key, value), 6_000)

function get(key: string): Promise<string | undefined> {
  const { router } = cluster.nodes()[0]!
  const read = new Promise<string | undefined>((resolve, reject) => {
    router.get(key, cluster.clock.now() + 5_000, (error, found) =>
      error ? reject(error) : resolve(found && Buffer.from(found.value).toString()),
    )
  })
  return cluster.settle(read, 6_000)
}

/** The row is gone from the machine's database, and nobody was told; what it had in memory is gone as well. */
async function lose(machine: SimulatedNode, key: string): Promise<void> {
  machine.close()
  expect(await cluster.clock.runUntil(() => machine.status.kind === 'down', 10_000)).toBe(true)
  const batch = machine.engine.batch()
  batch.delete(`d${key}`)
  await cluster.settle(batch.write(), 1_000)
  machine.start()
  expect(await cluster.clock.runUntil(() => cluster.isReady() && cluster.isWhole(), 20_000)).toBe(true)
}

const rangeOf = (machine: SimulatedNode) =>
  machine.replicas.find(({ descriptor: { start, end } }) => start <= LOST && (end === null || LOST < end))!

async function hashes(): Promise<(string | null)[]> {
  const [found] = await cluster.settle(
    cluster.nodes()[0]!.placement.hashes(rangeOf(cluster.machines[0]!).descriptor.rangeId),
    60_000,
  )
  return found!.replicas.map(({ hash }) => hash)
}

const silenced = (): number[] => cluster.nodes().map((node) => node.metrics().silencedReplicas!)
const events = (): string[] => cluster.failures.map((text) => text.split(' ')[3]!)

async function expectReplaced(machine: SimulatedNode, former: number): Promise<void> {
  const isReplaced = (): boolean =>
    rangeOf(machine)?.replicaId !== former && silenced().every((count) => count === 0) && cluster.isReady()
  expect(await cluster.clock.runUntil(isReplaced, 60_000)).toBe(true)
  await cluster.clock.run(5_000)
  expect(new Set(await hashes()).size).toBe(1)
  for (const key of KEYS) expect(await get(key)).toBe(`first ${key}`)
  expect(events()).toEqual(['replicas-diverged', 'replica-silenced'])
}

test('replicas of every range have equal hashes, the system range too, while they are written', async () => {
  let writes = 0
  const writing = async (): Promise<void> => {
    for (; writes < 300; writes++) await begunPut(keyOf(`more-${writes % 50}`), `${writes}`)
  }
  const written = writing()
  const compared = await cluster.settle(cluster.nodes()[1]!.placement.hashes(undefined), 60_000)
  expect(writes).toBeGreaterThan(0)
  expect(compared.length).toBe(RANGES + 1)
  for (const { index, replicas } of compared) {
    expect(replicas.map(({ nodeId }) => nodeId).sort()).toEqual([1, 2, 3])
    expect(replicas.every(({ hash, appliedIndex }) => hash?.length === 64 && appliedIndex >= index)).toBe(true)
    expect(new Set(replicas.map(({ hash }) => hash)).size).toBe(1)
  }
  await cluster.settle(written, 60_000)
  expect(cluster.failures).toEqual([])
})

test('a follower that lost a row is replaced', async () => {
  const follower = cluster.machines.find((machine) => rangeOf(machine).core.role !== 'leader')!
  const { replicaId } = rangeOf(follower)
  await lose(follower, LOST)
  expect(new Set(await hashes()).size).toBe(2)
  expect(silenced().reduce((a, b) => a + b)).toBe(1)
  await expectReplaced(follower, replicaId)
})

test('a leader that lost a row is replaced, and the row is read again', async () => {
  const leader = cluster.machines.find((machine) => rangeOf(machine).core.role === 'leader')!
  const { replicaId, descriptor } = rangeOf(leader)
  await lose(leader, LOST)
  const { nodeId } = leader.node!.identity
  await cluster.settle(cluster.nodes()[0]!.upkeep.transferLeader(descriptor.rangeId, nodeId, 10_000), 20_000)
  expect(await get(LOST)).toBeUndefined()
  await hashes()
  await expectReplaced(leader, replicaId)
})

test.each(['killed', 'power-lost'] as const)(
  'who was %s right after it was found out does not take part again',
  async (how) => {
    const follower = cluster.machines.find((machine) => rangeOf(machine).core.role !== 'leader')!
    const { replicaId } = rangeOf(follower)
    await lose(follower, LOST)
    await hashes()
    follower.crash(how)
    follower.start()
    expect(await cluster.clock.runUntil(() => follower.node !== undefined, 10_000)).toBe(true)
    expect(rangeOf(follower)?.replicaId).not.toBe(replicaId)
    const isReplaced = (): boolean => silenced().every((count) => count === 0) && cluster.isReady()
    expect(await cluster.clock.runUntil(isReplaced, 60_000)).toBe(true)
    await cluster.clock.run(5_000)
    expect(new Set(await hashes()).size).toBe(1)
  },
)

test('where there is no majority, nobody is silenced, and it is said', async () => {
  const [first, second] = cluster.machines
  await lose(first!, LOST)
  await lose(second!, OTHER)
  expect(new Set(await hashes()).size).toBe(3)
  await cluster.clock.run(5_000)
  expect(silenced()).toEqual([0, 0, 0])
  expect(events()).toEqual(['replicas-diverged'])
})

test('it is found without being asked for', async () => {
  await founded({ scrubMs: 20_000 })
  const follower = cluster.machines.find((machine) => rangeOf(machine).core.role !== 'leader')!
  const { replicaId } = rangeOf(follower)
  await lose(follower, LOST)
  expect(await cluster.clock.runUntil(() => events().includes('replica-silenced'), 60_000)).toBe(true)
  await expectReplaced(follower, replicaId)
})

test('a range that is not there, and voters that do not answer', async () => {
  const [asked, , third] = cluster.machines
  await expect(cluster.settle(asked!.node!.placement.hashes(999), 60_000)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  third!.crash('killed')
  // What it led has another leader by then: without one, nobody can say that what he has is up to date.
  await cluster.clock.run(5_000)
  expect((await hashes()).filter((hash) => hash === null).length).toBe(1)
  expect(cluster.failures).toEqual([])
})
