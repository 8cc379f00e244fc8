import { Buffer } from 'node:buffer'
import { keyspacePrefix } from '@cordillera/ranges'
import { expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'
import { turnsOfNode } from './testing/turns-of-node.js'
import { hexFraction } from './workload.js'

/**
 * Slow, stalled and full disks (rows 23 and 24 of the list of failures): leaderships leave, writes go on where a quorum is
 * fit, are refused with a code where none has room, and everything is as before once the disk is, without anybody's doing
 * and without leaderships going back and forth.
 */
const RANGES = 6
const KEYS = Array.from({ length: RANGES }, (_, i) => `${keyspacePrefix('default')}${hexFraction(i / RANGES)}key`)

class World {
  readonly cluster: SimulatedCluster
  readonly machines: readonly SimulatedNode[]
  #values = 0

  private constructor(seed: number, nodes: number) {
    this.cluster = new SimulatedCluster({ seed, runTurns: turnsOfNode, ranges: RANGES, nodes })
    this.machines = this.cluster.machines
  }

  /** Founded, and with leaders where they are to be. */
  static async founded(seed: number, nodes = 3): Promise<World> {
    const world = new World(seed, nodes)
    world.cluster.startAll()
    expect(await world.cluster.clock.runUntil(() => world.cluster.isReady(), 30_000)).toBe(true)
    await world.pass(10_000)
    for (const machine of world.machines) expect(leadersOf(machine)).toBeGreaterThan(0)
    return world
  }

  pass(ms: number): Promise<void> {
    return this.cluster.clock.run(ms)
  }

  async until(what: () => boolean, ms: number): Promise<void> {
    expect(await this.cluster.clock.runUntil(what, ms)).toBe(true)
  }

  /** What the operation ends with, `ok` or a code, and after how long. */
  async attempt(machine: SimulatedNode, kind: 'put' | 'delete' | 'get', key: string): Promise<[string, number]> {
    const { clock } = this.cluster
    const begin = clock.now()
    const { router } = machine.node!
    const outcome = await this.cluster.settle(
      new Promise<string>((resolve) => {
        const done = (error: { code: string } | undefined): void => resolve(error?.code ?? 'ok')
        const deadlineMs = begin + 5_000
        if (kind === 'put') router.put(key, Buffer.from(`v${++this.#values}`), deadlineMs, done)
        else if (kind === 'delete') router.delete(key, deadlineMs, done)
        else router.get(key, deadlineMs, done)
      }),
      6_000,
    )
    return [outcome, clock.now() - begin]
  }

  /** How operations of one kind on every range, through every machine but some, end: a code each, and the slowest. */
  async attemptAll(
    kind: 'put' | 'delete' | 'get',
    except?: SimulatedNode,
  ): Promise<{ outcomes: Set<string>; slowestMs: number }> {
    const outcomes = new Set<string>()
    let slowestMs = 0
    for (const machine of this.machines) {
      if (machine === except) continue
      for (const key of KEYS) {
        const [outcome, ms] = await this.attempt(machine, kind, key)
        outcomes.add(outcome)
        slowestMs = Math.max(slowestMs, ms)
      }
    }
    return { outcomes, slowestMs }
  }

  leaderChanges(): number {
    return this.machines.reduce((sum, { node }) => sum + (node?.metrics().leaderChangesTotal ?? 0), 0)
  }

  /** Nothing was found to be wrong. */
  expectSound(): void {
    expect([...this.cluster.checker.violations, ...this.cluster.failures]).toEqual([])
  }
}

function leadersOf(machine: SimulatedNode): number {
  return machine.node?.metrics().leaders ?? 0
}

const OK = new Set(['ok'])

test.each([1, 2, 3])(
  'seed %i: a stalled store gives up its leaderships, and gets them back once it is well',
  async (seed) => {
    const world = await World.founded(seed)
    const victim = world.machines[seed % 3]!
    const before = world.leaderChanges()
    victim.stallSyncs()
    // What meets the stall waits until it is found to be one, a second, and no longer.
    const first = await world.attemptAll('put')
    expect(first.outcomes).toEqual(OK)
    expect(first.slowestMs).toBeLessThan(1_500)
    await world.until(() => leadersOf(victim) === 0, 3_000)
    // Leaderships that moved are the only ones that did.
    expect(world.leaderChanges() - before).toBeLessThanOrEqual(RANGES + 1)
    const settled = world.leaderChanges()
    for (let round = 0; round < 3; round++) {
      const { outcomes, slowestMs } = await world.attemptAll('put')
      expect(outcomes).toEqual(OK)
      expect(slowestMs).toBeLessThan(200)
      await world.pass(3_000)
      expect(leadersOf(victim)).toBe(0)
    }
    expect(world.leaderChanges()).toBe(settled)
    victim.releaseSyncs()
    await world.until(() => leadersOf(victim) > 0, 20_000)
    expect(victim.node!.metrics().storeHealth).toBe(0)
    expect((await world.attemptAll('put')).outcomes).toEqual(OK)
    world.expectSound()
  },
)

test('a store whose sync does not return stops itself; the others go on, and it comes back when it is started', async () => {
  const world = await World.founded(4)
  const victim = world.machines[1]!
  victim.hasBadDisk = true
  victim.stallSyncs()
  await world.pass(25_000)
  expect(victim.status.kind).toBe('up')
  await world.until(() => victim.status.kind === 'failed', 10_000)
  expect(victim.status).toMatchObject({ error: { code: 'DISK_FAILED' } })
  const { outcomes, slowestMs } = await world.attemptAll('put', victim)
  expect(outcomes).toEqual(OK)
  expect(slowestMs).toBeLessThan(200)
  victim.heal()
  victim.start()
  await world.until(() => leadersOf(victim) > 0, 30_000)
  world.expectSound()
})

test('a slow store leads nothing, and a store that is slow again and again does so less and less often', async () => {
  const world = await World.founded(5)
  const victim = world.machines[2]!
  let isLeading = true
  let returns = 0
  for (let second = 0; second < 120; second++) {
    // Bad for five seconds in ten.
    victim.syncExtraMs = second % 10 < 5 ? 300 : 0
    for (const key of KEYS.slice(0, 2)) await world.attempt(world.machines[0]!, 'put', key)
    await world.pass(1_000)
    const leads = leadersOf(victim) > 0
    if (leads && !isLeading) returns++
    isLeading = leads
  }
  expect(returns).toBeLessThanOrEqual(4)
  victim.syncExtraMs = 0
  await world.until(() => leadersOf(victim) > 0, 40_000)
  world.expectSound()
})

test('where all stores are slow nothing moves, and everything is served', async () => {
  const world = await World.founded(6)
  for (const machine of world.machines) machine.syncExtraMs = 400
  await world.attemptAll('put')
  await world.until(() => world.machines.every(({ node }) => node!.metrics().storeHealth === 1), 20_000)
  await world.pass(5_000)
  const before = world.leaderChanges()
  for (let round = 0; round < 3; round++) {
    const { outcomes, slowestMs } = await world.attemptAll('put')
    expect(outcomes).toEqual(OK)
    expect(slowestMs).toBeLessThan(3_000)
  }
  expect(world.leaderChanges()).toBe(before)
  // Nor is it without leaders for long when one of them dies.
  world.machines[0]!.crash('killed')
  await world.until(() => world.machines.slice(1).every(({ node }) => node!.isReady()), 8_000)
  expect((await world.attemptAll('put', world.machines[0])).outcomes).toEqual(OK)
  world.expectSound()
})

test.each([7, 8])(
  'seed %i: full disks refuse values at once, and nothing else; they take them again by themselves',
  async (seed) => {
    const world = await World.founded(seed)
    expect((await world.attemptAll('put')).outcomes).toEqual(OK)
    const incarnations = world.machines.map(({ node }) => node)
    // Less than the reserve, more than a quarter of it, also when the log prepares one more segment.
    for (const machine of world.machines) machine.fillDisk(56 << 10)
    await world.pass(2_000)
    const puts = await world.attemptAll('put')
    expect(puts.outcomes).toEqual(new Set(['DISK_FULL']))
    expect(puts.slowestMs).toBeLessThan(100)
    expect((await world.attemptAll('get')).outcomes).toEqual(OK)
    expect((await world.attemptAll('delete')).outcomes).toEqual(OK)
    for (const machine of world.machines) machine.emptyDisk()
    await world.pass(2_000)
    expect((await world.attemptAll('put')).outcomes).toEqual(OK)
    expect(world.machines.map(({ node }) => node)).toEqual(incarnations)
    world.expectSound()
  },
)

test('a full disk on one node costs no write: its leaderships leave, and return with the room', async () => {
  const world = await World.founded(9)
  const victim = world.machines[1]!
  victim.fillDisk(8 << 10)
  await world.until(() => leadersOf(victim) === 0, 3_000)
  for (let round = 0; round < 5; round++) {
    const { outcomes, slowestMs } = await world.attemptAll('put')
    expect(outcomes).toEqual(OK)
    expect(slowestMs).toBeLessThan(500)
    await world.pass(2_000)
  }
  expect(victim.node!.metrics().storeSpace).toBe(2)
  const { node } = victim
  victim.emptyDisk()
  await world.until(() => leadersOf(victim) > 0, 10_000)
  expect(victim.node).toBe(node)
  world.expectSound()
})

test('deletes and values that come together are told apart', async () => {
  const world = await World.founded(10)
  for (const machine of world.machines) machine.fillDisk(40 << 10)
  await world.pass(2_000)
  const { clock } = world.cluster
  const { router } = world.machines[0]!.node!
  const ended: string[] = []
  const deadlineMs = clock.now() + 5_000
  const done = (name: string) => (error: { code: string } | undefined) => ended.push(`${name} ${error?.code ?? 'ok'}`)
  router.delete(KEYS[0]!, deadlineMs, done('delete'))
  router.put(KEYS[0]!, Buffer.from('v'), deadlineMs, done('put'))
  router.delete(`${KEYS[0]!}2`, deadlineMs, done('other delete'))
  await world.until(() => ended.length === 3, 1_000)
  expect(ended.sort()).toEqual(['delete ok', 'other delete ok', 'put DISK_FULL'])
  world.expectSound()
})
