import { beforeEach, describe, expect, it } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import { turnsOfNode } from './testing/turns-of-node.js'

/** Where people cut ranges: placement merges what is small and cold, and leaves those boundaries to people. */
let cluster: SimulatedCluster

type Command = Parameters<ReturnType<typeof placement>['startOperator']>[0]

const placement = () => cluster.nodes()[0]!.placement
const settle = <T>(promise: Promise<T>) => cluster.settle(promise, 20_000)
const ranges = async () => (await settle(cluster.nodes()[0]!.ranges({}))).ranges

async function done(command: Command) {
  const { operatorId } = await settle(placement().startOperator(command))
  const operator = await settle(placement().awaitOperator(operatorId, 15_000))
  expect([command, operator.state, operator.error]).toEqual([command, 'done', undefined])
  return operator
}

async function whyNotMerged(rangeId: number): Promise<string | undefined> {
  const { decisions } = await settle(placement().explain(rangeId))
  return decisions.find(({ kind }) => kind === 'merge')?.code
}

beforeEach(async () => {
  cluster = new SimulatedCluster({ seed: 7, runTurns: turnsOfNode, nodes: 3, ranges: 3 })
  cluster.startAll()
  expect(await cluster.clock.runUntil(() => cluster.isReady(), 30_000)).toBe(true)
  await settle(placement().setSettings({ rangeMergeCooldownMs: 0 }))
  await cluster.clock.run(10_000)
})

describe('a boundary that a person has put', () => {
  it('stays, whoever places ranges, until a person takes it away', async () => {
    const before = await ranges()
    const { goal, result } = await done({ kind: 'split', rangeId: 2, key: 'default\x001' })
    const { right } = result as { right: number }
    expect(goal).toEqual({ keyspace: 'default', key: '1', right })
    await cluster.clock.run(30_000)
    expect(await ranges()).toHaveLength(before.length + 1)
    expect(await whyNotMerged(2)).toBe('PINNED_BOUNDARY')

    const system = (await ranges()).find(({ rangeId }) => rangeId === 1)!
    const other = system.replicas.find(({ nodeId }) => nodeId !== system.leader)!.nodeId
    await done({ kind: 'transfer-leader', rangeId: 1, nodeId: other })
    await cluster.clock.run(30_000)
    expect(await ranges()).toHaveLength(before.length + 1)
    expect(await whyNotMerged(2)).toBe('PINNED_BOUNDARY')

    expect((await done({ kind: 'merge', rangeId: 2 })).goal).toEqual({ right })
    expect(await ranges()).toHaveLength(before.length)
    expect(cluster.failures).toEqual([])
  })
})

describe('an operator', () => {
  it('says which nodes a change of replicas is about', async () => {
    await settle(placement().setSettings({ placementEnabled: false }))
    const range = (await ranges()).find(({ rangeId }) => rangeId === 2)!
    const gone = range.replicas.find(({ nodeId }) => nodeId !== range.leader)!.nodeId
    expect((await done({ kind: 'change-replicas', rangeId: 2, remove: gone })).goal).toEqual({ remove: gone })
    expect((await done({ kind: 'change-replicas', rangeId: 2, add: gone })).goal).toEqual({ add: gone })
  })
})
