import { expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import { turnsOfNode } from './testing/turns-of-node.js'

function cluster(options: { seed: number; late?: number }): SimulatedCluster {
  return new SimulatedCluster({ runTurns: turnsOfNode, ranges: 3, ...options })
}

/** Different founding documents that the running nodes have. */
function documents(simulated: SimulatedCluster): Set<string> {
  return new Set(simulated.nodes().map((node) => JSON.stringify(node.identity.document)))
}

const nodeIds = (simulated: SimulatedCluster) =>
  simulated
    .nodes()
    .map((node) => node.identity.nodeId)
    .sort()

test('three machines found one cluster, and every range gets a leader', async () => {
  const simulated = cluster({ seed: 1 })
  simulated.startAll()
  expect(await simulated.clock.runUntil(() => simulated.isReady(), 10_000)).toBe(true)
  expect(nodeIds(simulated)).toEqual([1, 2, 3])
  expect(documents(simulated).size).toBe(1)
  expect(simulated.failures).toEqual([])
})

test('joiners may come first and wait', async () => {
  const simulated = cluster({ seed: 2 })
  simulated.machines[2]!.start()
  simulated.machines[1]!.start()
  await simulated.clock.run(5_000)
  expect(simulated.nodes()).toEqual([])
  simulated.machines[0]!.start()
  expect(await simulated.clock.runUntil(() => simulated.isReady(), 10_000)).toBe(true)
})

test.each(Array.from({ length: 30 }, (_, i) => i + 1))(
  'whoever dies while it is founded, one cluster comes of it (%i)',
  async (seed) => {
    const simulated = cluster({ seed })
    const random = simulated.fork()
    simulated.startAll()
    for (let crashes = 1 + random.below(6); crashes > 0; crashes--) {
      await simulated.clock.run(random.below(random.below(2) === 0 ? 40_000 : 1_500_000) / 1_000)
      const how = random.below(2) === 0 ? 'killed' : 'power-lost'
      const victims = random.below(3) === 0 ? simulated.machines : [simulated.machines[random.below(3)]!]
      for (const machine of victims) machine.crash(how)
      if (random.below(2) === 0) await simulated.clock.run(random.below(2_000))
      simulated.startAll()
    }
    expect(await simulated.clock.runUntil(() => simulated.isReady(), 30_000)).toBe(true)
    expect(nodeIds(simulated)).toEqual([1, 2, 3])
    expect(documents(simulated).size).toBe(1)
    expect(simulated.failures).toEqual([])
  },
)

test('a fourth machine joins, whoever of the others is there, and is given replicas', async () => {
  const simulated = cluster({ seed: 3, late: 1 })
  const [first, , , fourth] = simulated.machines
  simulated.startAll()
  expect(await simulated.clock.runUntil(() => simulated.isReady(), 10_000)).toBe(true)
  first!.crash('killed')
  fourth!.start()
  expect(await simulated.clock.runUntil(() => fourth!.node !== undefined, 20_000)).toBe(true)
  expect(fourth!.node!.identity.nodeId).toBe(4)
  first!.start()
  expect(await simulated.clock.runUntil(() => simulated.isReady() && simulated.isWhole(), 20_000)).toBe(true)
  expect(await simulated.clock.runUntil(() => fourth!.replicas.length > 0, 60_000)).toBe(true)
  expect(documents(simulated).size).toBe(1)
  expect(simulated.failures).toEqual([])
})

test('of four machines that come at once three found the cluster and one joins', async () => {
  const simulated = cluster({ seed: 4, late: 1 })
  for (const machine of simulated.machines) machine.start()
  const isSettled = () => simulated.nodes().length === 4 && simulated.isReady() && simulated.isWhole()
  expect(await simulated.clock.runUntil(isSettled, 20_000)).toBe(true)
  expect(nodeIds(simulated)).toEqual([1, 2, 3, 4])
  expect(documents(simulated).size).toBe(1)
})
