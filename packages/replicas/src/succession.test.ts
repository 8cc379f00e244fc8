import type { Descriptor, RangeRecovery } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { readOf, type Store, Stores, writeOf } from './testing/stores.js'

/** A survivor that has more in its log than it knows to be committed, and what becomes of it. */
const SUCCESSOR = 900
const VERSION = 2 ** 20

interface Left {
  readonly stores: Stores
  readonly range: Descriptor
  readonly survivor: Store
  readonly recovery: RangeRecovery
}

/** The leader of three, alone; `tail` was proposed to it since. */
async function left(...tail: readonly ('write' | 'split' | 'change')[]): Promise<Left> {
  const stores = await Stores.open(3, 1)
  await stores.untilLed()
  const range = stores.descriptors[1]!
  expect(await stores.execute(writeOf(range, 'b', 'before'))).toMatchObject({ kind: 'written' })
  const survivor = stores.leaderOf(range.rangeId)!
  const replica = survivor.replicas.replica(range.rangeId)!
  stores.isolate(survivor.nodeId)
  for (const what of tail) {
    if (what === 'write') survivor.replicas.execute(writeOf(range, 'c', 'unsure'), () => {})
    const split = { kind: 'split', epoch: range.epoch, key: 'm', rangeId: 50, replicaIds: [101, 102, 103] } as const
    if (what === 'split') replica.proposeAdmin(split, () => {})
    if (what === 'change') replica.proposeChanges([{ kind: 'add-learner', replicaId: 104, nodeId: 2 }])
    await stores.pass(20)
  }
  await stores.until(() => replica.core.role !== 'leader', 'a leader that steps down')
  const { start, end, rangeId, epoch } = range
  const { replicaId, nodeId } = { ...replica, nodeId: survivor.nodeId, replicaId: replica.replicaId }
  const names = { rangeId, survivor: replicaId, nodeId, successor: SUCCESSOR }
  return { stores, range, survivor, recovery: { ...names, start, end, from: epoch.version, version: VERSION } }
}

function recover({ replicas, state }: Store, recovery: RangeRecovery): Promise<boolean> {
  const former = state.replicas.get(recovery.survivor)
  return former === undefined ? Promise.resolve(false) : replicas.recover(former, recovery)
}

async function untilUsable({ stores, range }: Left, store: Store): Promise<Descriptor> {
  await stores.until(() => store.replicas.replica(range.rangeId)?.isUsable === true, 'a leader')
  return store.replicas.replica(range.rangeId)!.descriptor
}

async function read({ stores }: Left, store: Store, range: Descriptor, key: string): Promise<string | undefined> {
  let value: string | undefined | null = null
  store.replicas.execute(readOf(range, key), (reply) => {
    if (reply.kind !== 'values') throw new Error(reply.kind)
    value = reply.values[0] && new TextDecoder().decode(reply.values[0].value)
  })
  await stores.until(() => value !== null, 'an answer')
  return value ?? undefined
}

describe('a survivor', () => {
  it('goes on alone, with all that its log has, under a new id', async () => {
    const world = await left('write')
    const { stores, survivor, recovery } = world
    expect(await stores.clock.run(recover(survivor, recovery))).toBe(true)
    const range = await untilUsable(world, survivor)
    expect(range.epoch.version).toBe(VERSION)
    expect(range.replicas).toEqual([{ replicaId: SUCCESSOR, nodeId: survivor.nodeId, type: 'voter' }])
    expect(await read(world, survivor, range, 'b')).toBe('before')
    expect(await read(world, survivor, range, 'c')).toBe('unsure')
    expect([...survivor.log.groups.keys()]).not.toContain(recovery.survivor)
    expect(survivor.state.mayCreate(recovery.survivor)).toBe(false)
    // Once more, it is done.
    expect(await recover(survivor, recovery)).toBe(false)
  })

  it.each(['split', 'change'] as const)('does not do the %s that its log has', async (what) => {
    const world = await left('write', what)
    const { stores, survivor, recovery, range: before } = world
    await stores.clock.run(recover(survivor, recovery))
    const range = await untilUsable(world, survivor)
    expect([range.start, range.end, range.replicas.length]).toEqual([before.start, before.end, 1])
    expect(survivor.replicas.replica(50)).toBeUndefined()
    expect(await read(world, survivor, range, 'c')).toBe('unsure')
  })

  it('and what it was apart from do not hear each other', async () => {
    const world = await left('write')
    const { stores, survivor, recovery, range } = world
    await stores.clock.run(recover(survivor, recovery))
    await untilUsable(world, survivor)
    stores.rejoin(survivor.nodeId)
    await stores.pass(10_000)
    const told = [...stores.stores.values()].map(({ replicas }) => {
      const { core, descriptor } = replicas.replica(range.rangeId)!
      return [descriptor.epoch.version, core.configuration.voters.length]
    })
    expect(told.sort()).toEqual([
      [1, 3],
      [1, 3],
      [VERSION, 1],
    ])
    for (const { fatal } of stores.stores.values()) expect(fatal).toEqual([])
  })

  it('is not what it was when that was decided', async () => {
    const { survivor, recovery } = await left()
    for (const other of [{ from: 2 }, { end: 'x' }]) {
      expect(await recover(survivor, { ...recovery, ...other })).toBe(false)
    }
    expect(survivor.replicas.replica(recovery.rangeId)!.replicaId).toBe(recovery.survivor)
  })

  it('is the old one, or the new one whole, wherever the power is lost', async () => {
    const kinds = new Set<string>()
    for (let ms = 0; ms < 12; ms++) {
      const world = await left('write', 'change')
      const { stores, survivor, recovery } = world
      void recover(survivor, recovery).catch(() => {})
      await stores.pass(ms)
      await stores.restart(survivor.nodeId)
      stores.isolate(survivor.nodeId)
      const again = stores.stores.get(survivor.nodeId)!
      kinds.add(again.state.replicas.has(recovery.survivor) ? 'old' : 'new')
      // What it knows to be committed is applied first.
      await stores.pass(100)
      await stores.clock.run(recover(again, recovery))
      const range = await untilUsable(world, again)
      expect(range.replicas.map(({ replicaId }) => replicaId)).toEqual([SUCCESSOR])
      expect(await read(world, again, range, 'c')).toBe('unsure')
      expect(again.fatal).toEqual([])
    }
    expect(kinds).toEqual(new Set(['old', 'new']))
  })
})
