import { Buffer } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import type { OperatorInfo } from '@cordillera/node'
import { keyspacePrefix, SYSTEM_RANGE_ID } from '@cordillera/ranges'
import { expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'
import { turnsOfNode } from './testing/turns-of-node.js'

/**
 * A range whose majority is lost stands, until a person has it go on from what is left: what that has is kept, whoever is killed
 * meanwhile. What was lost may come back at any time and in any company: nothing is written in its name any more, nobody believes
 * it, and it goes.
 *
 * Five machines; the system range is on the first three, the range in question on the last three.
 */
const KEPT = `${keyspacePrefix('default')}kept`
const TORN = `${keyspacePrefix('default')}torn`

class World {
  readonly cluster: SimulatedCluster
  readonly machines: readonly SimulatedNode[]
  /** By the nodes' ids. */
  readonly #byNode = new Map<number, SimulatedNode>()
  rangeId = 0

  private constructor(seed: number) {
    this.cluster = new SimulatedCluster({ seed, runTurns: turnsOfNode, ranges: 1, nodes: 3, late: 2 })
    this.machines = this.cluster.machines
  }

  static async founded(seed: number): Promise<World> {
    const world = new World(seed)
    const { cluster } = world
    cluster.startAll()
    await world.until(() => cluster.isReady(), 30_000)
    for (const machine of world.machines.slice(0, 3)) world.#byNode.set(machine.node!.identity.nodeId, machine)
    await world.placement(false)
    for (const late of [4, 5]) {
      const machine = world.machines[late - 1]!
      machine.start()
      await world.until(() => machine.node?.identity.nodeId === late && cluster.isWhole(), 30_000)
      world.#byNode.set(late, machine)
    }
    const replica = world.machine(1).replicas.find(({ descriptor }) => descriptor.rangeId !== SYSTEM_RANGE_ID)!
    world.rangeId = replica.descriptor.rangeId
    for (const [from, to] of [
      [1, 4],
      [2, 5],
    ] as const) {
      const { replicaId } = replica.descriptor.replicas.find(({ nodeId }) => nodeId === from)!
      await cluster.settle(world.node(3).upkeep.replace(world.rangeId, replicaId, to, 30_000), 40_000)
    }
    await world.until(() => world.leader() !== 0 && world.holders().join() === '3,4,5', 30_000)
    return world
  }

  machine(nodeId: number): SimulatedNode {
    return this.#byNode.get(nodeId)!
  }

  node(nodeId: number) {
    return this.machine(nodeId).node!
  }

  async until(what: () => boolean, ms: number): Promise<void> {
    expect(await this.cluster.clock.runUntil(what, ms)).toBe(true)
  }

  /** Whose replicas of the range take part. */
  holders(): number[] {
    const has = ({ replicas }: SimulatedNode) => replicas.some(({ descriptor }) => descriptor.rangeId === this.rangeId)
    const holding = [...this.#byNode].filter(([, machine]) => machine.node !== undefined && has(machine))
    return holding.map(([nodeId]) => nodeId).sort((a, b) => a - b)
  }

  #replicas() {
    return this.machines
      .flatMap(({ node, replicas }) => (node === undefined ? [] : replicas))
      .filter((replica) => {
        return replica.descriptor.rangeId === this.rangeId
      })
  }

  /** In the newest version; 0 for nobody. */
  leader(): number {
    const leaders = this.#replicas().filter(({ isUsable }) => isUsable)
    leaders.sort((a, b) => b.descriptor.epoch.version - a.descriptor.epoch.version || b.term - a.term)
    return leaders[0]?.nodeOf(leaders[0].replicaId) ?? 0
  }

  placement(placementEnabled: boolean): Promise<unknown> {
    return this.cluster.settle(this.node(1).placement.setSettings({ placementEnabled }), 10_000)
  }

  /** What it ends with: a value, `written`, or the code. */
  attempt(nodeId: number, key: string, value?: string): Promise<string> {
    const deadlineMs = this.cluster.clock.now() + 2_000
    const { router } = this.node(nodeId)
    const outcome = new Promise<string>((resolve) => {
      if (value !== undefined) {
        router.put(key, Buffer.from(value), deadlineMs, (error) => resolve(error?.code ?? 'written'))
        return
      }
      router.get(key, deadlineMs, (error, found) => {
        resolve(error?.code ?? (found === undefined ? 'nothing' : Buffer.from(found.value).toString()))
      })
    })
    return this.cluster.settle(outcome, 5_000)
  }

  /** The outcome of an attempt to recover the range, by the words of its refusal. */
  async recover(nodeId: number, acceptDataLoss: boolean): Promise<OperatorInfo | CordilleraError> {
    try {
      return await this.cluster.settle(this.node(nodeId).placement.recoverRange(this.rangeId, acceptDataLoss), 30_000)
    } catch (error) {
      if (error instanceof CordilleraError) return error
      throw error
    }
  }

  ended({ operatorId }: OperatorInfo): Promise<OperatorInfo> {
    return this.cluster.settle(this.node(2).placement.awaitOperator(operatorId, 60_000), 70_000)
  }

  /** Acknowledged by the nodes 4 and 5 alone, which are lost behind it. */
  async loseMajority(): Promise<void> {
    expect(await this.attempt(1, KEPT, 'kept')).toBe('written')
    expect(await this.attempt(1, TORN, 'before')).toBe('written')
    await this.cluster.clock.run(3_000)
    for (const lost of [4, 5]) this.#cut(3, lost)
    // One that does not know yet that it leads no more would take the write into its log, and it is not lost then.
    const isDeposed = (): boolean =>
      this.machine(3).replicas.every(({ descriptor, core }) => {
        return descriptor.rangeId !== this.rangeId || core.role !== 'leader'
      })
    await this.until(() => isDeposed() && (this.leader() === 4 || this.leader() === 5), 10_000)
    expect(await this.attempt(1, TORN, 'lost')).toBe('written')
    for (const lost of [4, 5]) {
      this.machine(lost).crash('power-lost')
      // What was held up on its way would still arrive.
      this.cluster.network.reset(this.machine(3).address, this.machine(lost).address)
    }
    this.cluster.network.heal()
  }

  #cut(a: number, b: number): void {
    const [from, to] = [this.machine(a).address, this.machine(b).address]
    this.cluster.network.block(from, to)
    this.cluster.network.block(to, from)
  }

  /** The lost ones hear each other and nobody else. */
  cutOffLost(): void {
    for (const lost of [4, 5]) for (const other of [1, 2, 3]) this.#cut(lost, other)
  }

  expectSound(): void {
    expect([...this.cluster.checker.violations, ...this.cluster.failures]).toEqual([])
  }
}

test.each([1, 2, 3])('seed %i: a range goes on from its last replica, and what was lost comes back', async (seed) => {
  const world = await World.founded(seed)
  const { cluster } = world
  expect(await world.recover(1, true)).toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('leader') })
  await world.loseMajority()
  await cluster.clock.run(5_000)
  expect(await world.attempt(1, KEPT)).toMatch(/^(?:OUTCOME_UNKNOWN|UNAVAILABLE)$/)

  const refused = await world.recover(1, false)
  expect(refused).toMatchObject({
    code: 'BAD_REQUEST',
    message: expect.stringContaining('If nodes 4, 5, which cannot be reached'),
  })
  await cluster.clock.run(3_000)
  expect(world.leader()).toBe(0)

  const begun = await world.recover(2, true)
  expect(begun).toMatchObject({ kind: 'recover', state: 'running', rangeId: world.rangeId })
  // Asked twice, it is the same.
  expect(await world.recover(3, true)).toMatchObject({ operatorId: (begun as OperatorInfo).operatorId })
  const ended = await world.ended(begun as OperatorInfo)
  expect(ended).toMatchObject({ state: 'done', result: { nodeId: 3 } })
  expect(await world.recover(1, true)).toMatchObject({ code: 'CONFLICT' })
  expect(world.leader()).toBe(3)
  expect(await world.attempt(1, KEPT)).toBe('kept')
  expect(await world.attempt(1, TORN)).toBe('before')
  expect(await world.attempt(2, TORN, 'after')).toBe('written')

  // Back among themselves, the lost ones are a majority of what the range was; nothing is written there.
  world.cutOffLost()
  for (const lost of [4, 5]) world.machine(lost).start()
  await cluster.clock.run(8_000)
  expect(world.holders()).toContain(4)
  expect(await world.attempt(4, KEPT, 'forked')).not.toBe('written')
  cluster.network.heal()
  await world.until(() => cluster.isWhole() && world.holders().join() === '3', 20_000)
  for (const nodeId of [1, 4, 5]) expect(await world.attempt(nodeId, TORN)).toBe('after')
  expect(await world.attempt(4, KEPT)).toBe('kept')

  await world.placement(true)
  await world.until(() => world.holders().length === 3, 120_000)
  expect(await world.attempt(5, KEPT, 'written again')).toBe('written')
  await cluster.clock.run(5_000)
  expect(world.holders().length).toBe(3)
  world.expectSound()
})

test.each([4, 5, 6, 7])(
  'seed %i: what is acknowledged by nodes that come back is in the range that goes on',
  async (seed) => {
    const world = await World.founded(seed)
    const { cluster } = world
    await world.loseMajority()
    await cluster.clock.run(3_000)
    expect(await world.ended((await world.recover(1, true)) as OperatorInfo)).toMatchObject({ state: 'done' })
    for (const lost of [4, 5]) world.machine(lost).start()
    let acknowledged = 'before'
    let outcomes = 0
    for (let i = 0; i < 400; i++) {
      const nodeId = 4 + (i % 2)
      if (world.machine(nodeId).node === undefined) {
        await cluster.clock.run(5)
        continue
      }
      const outcome = await world.attempt(nodeId, TORN, `value ${i}`)
      if (outcome !== 'written') continue
      acknowledged = `value ${i}`
      outcomes++
      expect(await world.attempt(1, TORN)).toBe(acknowledged)
    }
    expect(outcomes).toBeGreaterThan(100)
    await world.until(() => world.holders().join() === '3', 20_000)
    expect(await world.attempt(5, TORN)).toBe(acknowledged)
    world.expectSound()
  },
)

test.each(Array.from({ length: 12 }, (_, i) => i))('case %i: nodes are killed while it goes on', async (i) => {
  const world = await World.founded(100 + i)
  const { cluster } = world
  await world.loseMajority()
  await cluster.clock.run(3_000)
  const begun = await world.recover(2, true)
  expect(begun).toMatchObject({ state: 'running' })
  // It is decided on after 3 s; the survivor's log, and then its state, are written in the ms behind that.
  await cluster.clock.run(3_000 + 6 * i)
  const driver = [1, 2, 3].find((nodeId) =>
    world.machine(nodeId).replicas.some(({ descriptor, core }) => {
      return descriptor.rangeId === SYSTEM_RANGE_ID && core.role === 'leader'
    }),
  )
  const victims = i % 3 === 0 ? [3] : i % 3 === 1 ? [driver ?? 1] : [3, driver ?? 1]
  for (const nodeId of new Set(victims)) world.machine(nodeId).crash(i % 2 === 0 ? 'killed' : 'power-lost')
  await cluster.clock.run(500)
  for (const nodeId of new Set(victims)) world.machine(nodeId).start()
  await world.until(() => [1, 2, 3].every((nodeId) => world.machine(nodeId).node !== undefined), 30_000)
  let ended = await world.ended(begun as OperatorInfo)
  if (ended.state === 'failed') {
    // The survivor was gone before it was decided on: nothing was done.
    expect(ended.error?.code).toBe('NOT_FOUND')
    await cluster.clock.run(5_000)
    ended = await world.ended((await world.recover(2, true)) as OperatorInfo)
  }
  expect(ended.state).toBe('done')
  await world.until(() => world.leader() === 3 && world.holders().join() === '3', 5_000)
  expect(await world.attempt(1, KEPT)).toBe('kept')
  expect(await world.attempt(1, TORN)).toBe('before')
  for (const lost of [4, 5]) world.machine(lost).start()
  await world.until(() => cluster.isWhole() && world.holders().join() === '3', 30_000)
  expect(await world.attempt(4, TORN)).toBe('before')
  world.expectSound()
})
