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

test('a new placement driver goes on within five seconds where every range is led', async () => {
  const cluster = new SimulatedCluster({ seed: 8, runTurns: turnsOfNode, nodes: 5, ranges: 8 })
  const { clock, machines } = cluster
  cluster.startAll()
  expect(await clock.runUntil(() => cluster.isReady(), 30_000)).toBe(true)
  await clock.run(10_000)
  machines.find(({ replicas }) => replicas.some(isSystemLeader))!.crash('killed')
  expect(await clock.runUntil(() => driverOf(cluster) !== undefined, 10_000)).toBe(true)
  expect(await clock.runUntil(() => explainedBy(cluster, 2) !== undefined, 5_000)).toBe(true)
})

test('a new placement driver goes on within ten seconds where many ranges that it has never heard of are not led', async () => {
  const cluster = new SimulatedCluster({ seed: 9, runTurns: turnsOfNode, nodes: 5, ranges: 10 })
  const { clock, machines } = cluster
  cluster.startAll()
  expect(await clock.runUntil(() => cluster.isReady(), 30_000)).toBe(true)
  const driver = machines.find(({ replicas }) => replicas.some(isSystemLeader))!
  const { placement, router } = driver.node!
  await cluster.settle(placement.setSettings({ placementEnabled: false }), 10_000)
  // One range is on the driver's node and on those two that have no part in the system range.
  const nodesOf = (rangeId: number) =>
    [...router.descriptors()].find((one) => one.rangeId === rangeId)!.replicas.map(({ nodeId }) => nodeId)
  const idOf = (machine: typeof driver) => machine.node!.identity.nodeId
  const others = machines.filter((machine) => !nodesOf(1).includes(idOf(machine)))
  const places = [driver, ...others].map(idOf)
  const { rangeId, start } = [...router.descriptors()].find((one) => one.rangeId > 2)!
  const command = async (request: Parameters<typeof placement.startOperator>[0]) => {
    const { operatorId } = await cluster.settle(placement.startOperator(request), 20_000)
    const { state, error } = await cluster.settle(placement.awaitOperator(operatorId, 60_000), 61_000)
    expect([request, state, error]).toEqual([request, 'done', undefined])
  }
  for (const add of places.filter((id) => !nodesOf(rangeId).includes(id))) {
    const remove = nodesOf(rangeId).find((id) => !places.includes(id))!
    await command({ kind: 'change-replicas', rangeId, add, remove })
  }
  for (let i = 9; i > 0; i--) await command({ kind: 'split', rangeId, key: `${start}${i}` })
  await clock.run(5_000)
  for (const machine of [driver, others[0]!]) machine.crash('killed')
  expect(await clock.runUntil(() => driverOf(cluster) !== undefined, 10_000)).toBe(true)
  expect(await clock.runUntil(() => explainedBy(cluster, rangeId) !== undefined, 10_000)).toBe(true)
  const leaderless = machines
    .flatMap(({ node, replicas }) => (node === undefined ? [] : replicas))
    .filter(({ core }) => core.leader === 0)
  expect(leaderless.length).toBeGreaterThan(9)
  const verdicts = new Set(leaderless.flatMap(({ descriptor }) => explainedBy(cluster, descriptor.rangeId)!))
  expect([...verdicts].filter((verdict) => verdict === 'do')).toEqual([])
  expect(cluster.failures).toEqual([])
})

function driverOf({ machines }: SimulatedCluster) {
  return machines.find(({ node, replicas }) => node !== undefined && replicas.some(isSystemLeader))?.node?.placement
    .driver
}

/** What placement says of the range, at once, wherever it is; undefined: nothing yet. */
function explainedBy(cluster: SimulatedCluster, rangeId: number): string[] | undefined {
  try {
    return driverOf(cluster)
      ?.explain(rangeId)
      .map(({ verdict }) => verdict)
  } catch {
    return undefined
  }
}

function isSystemLeader({ descriptor, core }: { descriptor: { rangeId: number }; core: { role: string } }): boolean {
  return descriptor.rangeId === 1 && core.role === 'leader'
}
