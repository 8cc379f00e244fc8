import { Buffer } from 'node:buffer'
import { beforeEach, describe, expect, it } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import { turnsOfNode } from './testing/turns-of-node.js'

/** A node that clients are sent to, and a range that it has no replica of. */
let cluster: SimulatedCluster
let gateway: Machine
let range: { readonly rangeId: number; readonly start: string }

type Machine = SimulatedCluster['machines'][number]

const leader = (): Machine =>
  cluster.machines.find(({ replicas }) =>
    replicas.some(({ descriptor, core }) => descriptor.rangeId === range.rangeId && core.role === 'leader'),
  )!
const isReady = () => gateway.node!.isReady()
const until = async (condition: () => boolean, ms: number) =>
  expect(await cluster.clock.runUntil(condition, ms)).toBe(true)

async function write(): Promise<void> {
  const written = new Promise<void>((resolve, reject) => {
    const deadlineMs = cluster.clock.now() + 5_000
    const done = (error: Error | undefined) => (error ? reject(error) : resolve())
    gateway.node!.router.put(`${range.start}k`, Buffer.from('v'), deadlineMs, done)
  })
  await cluster.settle(written, 6_000)
}

beforeEach(async () => {
  cluster = new SimulatedCluster({ seed: 11, runTurns: turnsOfNode, nodes: 4, ranges: 4 })
  cluster.startAll()
  await until(() => cluster.isReady(), 30_000)
  await cluster.clock.run(10_000)
  const pairs = cluster.machines.flatMap((machine) => {
    const { nodeId } = machine.node!.identity
    return [...machine.node!.router.descriptors()]
      .filter(({ rangeId, replicas }) => rangeId !== 1 && replicas.every((place) => place.nodeId !== nodeId))
      .map((descriptor) => ({ machine, descriptor }))
  })
  gateway = pairs[0]!.machine
  range = pairs[0]!.descriptor
})

describe('a node without a replica of a range', () => {
  it.each(['asked', 'not asked'])('is ready again once others lead it: %s before', async (asked) => {
    if (asked === 'asked') await write()
    leader().crash('killed')
    await until(() => !isReady(), 5_000)
    // No client asks for anything.
    await until(isReady, 20_000)
    await write()
    expect(cluster.failures).toEqual([])
  })

  it('is not ready while it cannot reach who leads, though it reaches the others', async () => {
    const [here, there] = [gateway.address, leader().address]
    for (const [from, to] of [
      [here, there],
      [there, here],
    ] as const)
      cluster.network.block(from, to)
    await until(() => !isReady(), 10_000)
    expect(await cluster.clock.runUntil(isReady, 20_000)).toBe(false)
    cluster.network.heal()
    await until(isReady, 20_000)
    await write()
    expect(cluster.failures).toEqual([])
  })
})
