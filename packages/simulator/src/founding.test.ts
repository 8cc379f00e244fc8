import { CordilleraError } from '@cordillera/base'
import { expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import { turnsOfNode } from './testing/turns-of-node.js'

function cluster(options: { seed: number; surplus?: number }): SimulatedCluster {
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

test('a fourth machine is refused and the others go on', async () => {
  const simulated = cluster({ seed: 3, surplus: 1 })
  const [first, second, third, fourth] = simulated.machines
  for (const machine of [first!, second!, third!]) machine.start()
  const isFounded = () => [first, second, third].every((machine) => machine!.node?.isReady() === true)
  expect(await simulated.clock.runUntil(isFounded, 10_000)).toBe(true)
  fourth!.start()
  expect(await simulated.clock.runUntil(() => fourth!.status.kind === 'failed', 10_000)).toBe(true)
  const { status } = fourth!
  expect(status.kind === 'failed' && status.error instanceof CordilleraError && status.error.code).toBe('JOIN_REFUSED')
  expect(isFounded()).toBe(true)
})

test('of four machines that come at once three found the cluster and one is refused', async () => {
  const simulated = cluster({ seed: 4, surplus: 1 })
  simulated.startAll()
  const isSettled = () => simulated.nodes().length === 3 && simulated.nodes().every((node) => node.isReady())
  expect(await simulated.clock.runUntil(isSettled, 10_000)).toBe(true)
  const refused = () => simulated.machines.filter(({ status }) => status.kind === 'failed').length === 1
  expect(await simulated.clock.runUntil(refused, 10_000)).toBe(true)
  expect(documents(simulated).size).toBe(1)
})
