import { Buffer } from 'node:buffer'
import { keyspacePrefix } from '@cordillera/ranges'
import { expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import { turnsOfNode } from './testing/turns-of-node.js'

test('a node that joins a grown cluster by a member that leads nothing of the system range is found by all, and finds all', async () => {
  const cluster = new SimulatedCluster({ seed: 3, runTurns: turnsOfNode, nodes: 1, late: 3, ranges: 2 })
  const { clock, machines } = cluster
  const until = async (condition: () => boolean, ms = 60_000) => expect(await clock.runUntil(condition, ms)).toBe(true)
  cluster.startAll()
  await until(() => cluster.isReady())
  for (const machine of machines.slice(1, 3)) {
    machine.start()
    await until(() => machine.node?.isReady() === true)
  }
  const voters = () => machines[0]!.replicas.map(({ descriptor }) => descriptor.replicas.length)
  await until(() => voters().every((count) => count === 3))
  const [first, second] = machines.map(({ node }) => node!)
  const isLed = () => second!.metrics().leaders! > 0 && machines[1]!.replicas.some(isSystemLeader)
  const command = { kind: 'transfer-leader', rangeId: 1, nodeId: second!.identity.nodeId } as const
  await cluster.settle(first!.placement.startOperator(command), 20_000)
  await until(isLed)
  const fourth = machines[3]!
  fourth.start({ kind: 'join', addresses: [machines[0]!.address] })
  await until(() => fourth.node?.isReady() === true)
  const { nodeId } = fourth.node!.identity
  // The registry is read as often.
  await clock.run(11_000)
  for (const { node } of machines) {
    expect((await cluster.settle(node!.nodes(), 20_000)).map((one) => one.nodeId)).toContain(nodeId)
  }
  for (const name of ['0', '4', '8', 'c']) {
    const key = `${keyspacePrefix('default')}${name}`
    const written = new Promise<void>((resolve, reject) => {
      fourth.node!.router.put(key, Buffer.from('v'), clock.now() + 5_000, (error) =>
        error ? reject(error) : resolve(),
      )
    })
    await cluster.settle(written, 6_000)
  }
  expect(cluster.failures).toEqual([])
})

function isSystemLeader({ descriptor, core }: { descriptor: { rangeId: number }; core: { role: string } }): boolean {
  return descriptor.rangeId === 1 && core.role === 'leader'
}
