import { expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import { turnsOfNode } from './testing/turns-of-node.js'

test('a range that nobody leads keeps no other one from being repaired, though the placement driver has died with its leader', async () => {
  const cluster = new SimulatedCluster({ seed: 7, runTurns: turnsOfNode, nodes: 5, ranges: 8 })
  const { clock, machines } = cluster
  cluster.startAll()
  expect(await clock.runUntil(() => cluster.isReady(), 30_000)).toBe(true)
  const leader = () => machines.find(({ replicas }) => replicas.some(isSystemLeader))!
  await cluster.settle(leader().node!.placement.setSettings({ deadNodeAfterMs: 60_000 }), 10_000)
  await clock.run(10_000)
  const ranges = () =>
    new Map(machines.flatMap(({ replicas }) => replicas.map(({ descriptor }) => [descriptor.rangeId, descriptor])))
  const first = leader()
  const nodesOf = (rangeId: number) =>
    ranges()
      .get(rangeId)!
      .replicas.map(({ nodeId }) => nodeId)
  // With it another one, so that a range has no majority left; not the system range.
  const idOf = (machine: typeof first) => machine.node!.identity.nodeId
  const second = machines.find((machine) => {
    const lost = [idOf(first), idOf(machine)]
    const isStopped = [...ranges().keys()].some((rangeId) => lost.every((id) => nodesOf(rangeId).includes(id)))
    return machine !== first && isStopped && !nodesOf(1).includes(idOf(machine))
  })!
  const lost = [idOf(first), idOf(second)]
  const isStopped = (rangeId: number) => nodesOf(rangeId).filter((id) => lost.includes(id)).length === 2
  const [stopped, others] = [
    [...ranges().keys()].filter(isStopped),
    [...ranges().keys()].filter((id) => !isStopped(id)),
  ]
  expect([stopped.length > 0, others.length > 1]).toEqual([true, true])
  for (const machine of [first, second]) machine.crash('killed')
  const live = machines.filter((machine) => machine !== first && machine !== second)
  const newest = (rangeId: number) =>
    live
      .flatMap(({ replicas }) => replicas.filter(({ descriptor }) => descriptor.rangeId === rangeId))
      .sort((a, b) => b.descriptor.epoch.confVersion - a.descriptor.epoch.confVersion)[0]?.descriptor
  const isRepaired = (rangeId: number) => {
    const voters = newest(rangeId)?.replicas.filter(({ type }) => type === 'voter') ?? []
    return voters.length === 3 && voters.every(({ nodeId }) => !lost.includes(nodeId))
  }
  await clock.run(30_000)
  // It is said what it waits for, by somebody who is there.
  const explained = cluster.settle(live[0]!.node!.placement.explain(stopped[0]!), 20_000)
  expect((await explained).decisions.length).toBeGreaterThan(0)
  expect(await clock.runUntil(() => others.every(isRepaired), 120_000)).toBe(true)
  expect(cluster.failures).toEqual([])
})

function isSystemLeader({ descriptor, core }: { descriptor: { rangeId: number }; core: { role: string } }): boolean {
  return descriptor.rangeId === 1 && core.role === 'leader'
}
