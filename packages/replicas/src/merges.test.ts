import { type AdminCommand, type Descriptor, isFrozenBy, WriteBlockBuilder } from '@cordillera/ranges'
import type { RangeReply, RangeRequest } from '@cordillera/wire'
import { describe, expect, it } from 'vitest'
import type { Replica } from './replica.js'
import { readOf, type Store, Stores, writeOf } from './testing/stores.js'

const LEFT = 2
const RIGHT = 3
const ATTEMPT = 9
const limits = { laggardEntriesMax: 20, stateFlushMs: 300 }

/** A cluster of three and two neighbours, with a key in each. */
async function open(nodes = 3): Promise<{ stores: Stores; left: Descriptor; right: Descriptor }> {
  const stores = await Stores.open(nodes, 2, limits)
  await stores.untilLed()
  const [, left, right] = stores.descriptors as [Descriptor, Descriptor, Descriptor]
  await write(stores, left, 'b', 'left')
  await write(stores, right, 'y', 'right')
  return { stores, left, right }
}

async function write(stores: Stores, range: Descriptor, key: string, value: string): Promise<void> {
  expect(await stores.execute(writeOf(range, key, value))).toMatchObject({ kind: 'written' })
}

async function read(stores: Stores, range: Descriptor, key: string, at = 0): Promise<string | undefined> {
  const reply = await stores.execute(readOf(range, key, at))
  if (reply.kind !== 'values') throw new Error(`${reply.kind} ${'reason' in reply ? reply.reason : ''}`)
  const [value] = reply.values
  return value && new TextDecoder().decode(value.value)
}

function replicaAt({ replicas }: Store, rangeId: number): Replica | undefined {
  return replicas.replica(rangeId)
}

function rangeAt(stores: Stores, rangeId: number): Descriptor {
  return replicaAt(stores.leaderOf(rangeId)!, rangeId)!.descriptor
}

async function command(stores: Stores, rangeId: number, admin: AdminCommand): Promise<RangeReply> {
  const replies: RangeReply[] = []
  replicaAt(stores.leaderOf(rangeId)!, rangeId)!.proposeAdmin(admin, (reply) => replies.push(reply))
  await stores.until(() => replies.length > 0, `the end of ${admin.kind}`)
  return replies[0]!
}

async function freeze(stores: Stores, attempt = ATTEMPT): Promise<void> {
  const [left, right] = [rangeAt(stores, LEFT), rangeAt(stores, RIGHT)]
  const begin = { kind: 'begin', version: left.epoch.version, rightId: RIGHT, attempt } as const
  expect(await command(stores, LEFT, begin)).toMatchObject({ kind: 'written' })
  const frozen = { kind: 'freeze', version: right.epoch.version, leftId: LEFT, attempt } as const
  expect(await command(stores, RIGHT, frozen)).toMatchObject({ kind: 'written' })
}

/** On every store that is there, durably. */
async function untilFrozen(stores: Stores): Promise<void> {
  const all = [...stores.stores.values()]
  const isFrozen = (store: Store): boolean => isFrozenBy(replicaAt(store, RIGHT)!.descriptor, LEFT, ATTEMPT)
  await stores.until(() => all.every(isFrozen), 'a right that is frozen everywhere')
  const flushes = all.map(({ state }) => state.flush())
  let isFlushed = false
  void Promise.all(flushes).then(() => {
    isFlushed = true
  })
  await stores.until(() => isFlushed, 'flushes')
}

function mergeOf(stores: Stores): AdminCommand {
  return { kind: 'merge', epoch: rangeAt(stores, LEFT).epoch, attempt: ATTEMPT, right: rangeAt(stores, RIGHT) }
}

async function untilMerged(stores: Stores): Promise<void> {
  const isMerged = (store: Store): boolean =>
    replicaAt(store, RIGHT) === undefined && replicaAt(store, LEFT)?.descriptor.end === null
  await stores.until(() => [...stores.stores.values()].every(isMerged), 'one range on every store')
}

describe('a range that is frozen', () => {
  it('takes nothing, on its old version or its new one, and is as it was once it is thawed', async () => {
    const { stores, right } = await open()
    await freeze(stores)
    const frozen = rangeAt(stores, RIGHT)
    expect(frozen.epoch.version).toBe(2)
    for (const range of [right, frozen]) {
      for (const request of [writeOf(range, 'z', 'x'), readOf(range, 'y'), readOf(range, 'y', stores.oracle.take())]) {
        expect(await stores.execute(request)).toMatchObject({ kind: 'refused', reason: 'merging' })
      }
    }
    const leader = replicaAt(stores.leaderOf(RIGHT)!, RIGHT)!
    const change = { kind: 'remove', replicaId: right.replicas[0]!.replicaId, nodeId: 1 } as const
    expect(leader.proposeChanges([change])).toMatchObject({ kind: 'refused' })
    const split = { kind: 'split', epoch: frozen.epoch, key: 'q', rangeId: 50, replicaIds: [51, 52, 53] } as const
    expect(await command(stores, RIGHT, split)).toMatchObject({ reason: 'epoch-mismatch' })
    expect(await command(stores, LEFT, { kind: 'abort', attempt: ATTEMPT })).toMatchObject({ kind: 'written' })
    const thaw = { kind: 'thaw', version: 2, leftId: LEFT, attempt: ATTEMPT } as const
    expect(await command(stores, RIGHT, thaw)).toMatchObject({ kind: 'written' })
    expect(await command(stores, LEFT, { kind: 'end', attempt: ATTEMPT })).toMatchObject({ kind: 'written' })
    await write(stores, rangeAt(stores, RIGHT), 'z', 'goes on')
    expect(await read(stores, rangeAt(stores, RIGHT), 'z')).toBe('goes on')
    expect(rangeAt(stores, LEFT)).toMatchObject({ end: right.start, epoch: { version: 1 }, lastMerge: ATTEMPT })
  })

  it('does nothing with what was proposed behind the freeze, also of its new version', async () => {
    const { stores, right } = await open()
    const leader = replicaAt(stores.leaderOf(RIGHT)!, RIGHT)!
    await command(stores, LEFT, { kind: 'begin', version: 1, rightId: RIGHT, attempt: ATTEMPT })
    const replies: RangeReply[] = []
    leader.proposeAdmin({ kind: 'freeze', version: 1, leftId: LEFT, attempt: ATTEMPT }, () => {})
    const next = { ...right, epoch: { version: 2, confVersion: 1 } }
    for (const range of [right, next]) leader.execute(writeOf(range, 'y', 'too late'), (reply) => replies.push(reply))
    await stores.until(() => replies.length === 2, 'answers')
    expect(replies).toMatchObject([{ reason: 'epoch-mismatch' }, { reason: 'epoch-mismatch' }])
    const held = stores.leaderOf(RIGHT)!.state.get('y')
    expect(Buffer.from(held!.value).toString()).toBe('right')
  })
})

describe('two ranges that merge', () => {
  it('are one on every store, with what both held and remember, and who comes for the right is told', async () => {
    const { stores, left, right } = await open()
    const retry = ({ rangeId, epoch }: Descriptor): RangeRequest => {
      const builder = new WriteBlockBuilder(epoch.version, { nodeId: 9, incarnation: 1 })
      return { kind: 'write', rangeId, count: 1, block: builder.put(7, 'y', Buffer.from('once')).take(7) }
    }
    const first = await stores.execute(retry(right))
    await write(stores, right, 'y', 'another')
    const before = stores.oracle.take()
    await freeze(stores)
    await untilFrozen(stores)
    expect(await command(stores, LEFT, mergeOf(stores))).toEqual({ kind: 'written', outcomes: [] })
    await untilMerged(stores)
    const whole = rangeAt(stores, LEFT)
    expect(whole).toEqual({
      ...left,
      end: null,
      epoch: { version: 3, confVersion: 1 },
      lastMerge: ATTEMPT,
      lastMerged: ATTEMPT,
    })
    expect([await read(stores, whole, 'b'), await read(stores, whole, 'y')]).toEqual(['left', 'another'])
    expect(await read(stores, whole, 'y', before)).toBe('another')
    expect(await stores.execute(retry(whole))).toEqual(first)
    expect(await read(stores, whole, 'y')).toBe('another')
    await write(stores, whole, 'z', 'of the whole')
    const replies: RangeReply[] = []
    const { replicas } = stores.leaderOf(LEFT)!
    replicas.execute(readOf(right, 'y'), (reply) => replies.push(reply))
    expect(replies).toMatchObject([{ kind: 'refused', reason: 'epoch-mismatch', descriptors: [whole] }])
    for (const { fatal, log } of stores.stores.values()) {
      expect(fatal).toEqual([])
      for (const { replicaId } of right.replicas) expect(log.groups.has(replicaId)).toBe(false)
    }
  })

  it('on a lone node as well', async () => {
    const { stores } = await open(1)
    await freeze(stores)
    await untilFrozen(stores)
    await command(stores, LEFT, mergeOf(stores))
    await untilMerged(stores)
    await stores.restart(1, limits)
    await stores.until(() => stores.leaderOf(LEFT) !== undefined, 'a leader')
    await untilMerged(stores)
    expect(await read(stores, rangeAt(stores, LEFT), 'y')).toBe('right')
    expect(stores.stores.get(1)!.replicas.silenced.size).toBe(0)
  })

  it('lose nothing when every store loses power before the merge is in the state database, or behind it', async () => {
    for (const isFlushed of [false, true]) {
      const { stores } = await open()
      await freeze(stores)
      await untilFrozen(stores)
      await command(stores, LEFT, mergeOf(stores))
      if (isFlushed) {
        await untilMerged(stores)
        await stores.pass(2_000)
      }
      for (const nodeId of [1, 2, 3]) await stores.restart(nodeId, limits)
      await stores.until(() => stores.leaderOf(LEFT) !== undefined, 'a leader')
      await untilMerged(stores)
      const whole = rangeAt(stores, LEFT)
      expect([await read(stores, whole, 'b'), await read(stores, whole, 'y')]).toEqual(['left', 'right'])
      for (const { fatal } of stores.stores.values()) expect(fatal).toEqual([])
    }
  })
})

describe('a store that was away while two ranges merged', () => {
  async function withoutOne(): Promise<{ stores: Stores; away: Store }> {
    const { stores } = await open()
    await freeze(stores)
    await untilFrozen(stores)
    const away = [...stores.stores.values()].find(
      (one) => one !== stores.leaderOf(LEFT) && one !== stores.leaderOf(RIGHT),
    )!
    stores.isolate(away.nodeId)
    expect(await command(stores, LEFT, mergeOf(stores))).toMatchObject({ kind: 'written' })
    return { stores, away }
  }

  it('merges them by its log', async () => {
    const { stores, away } = await withoutOne()
    await write(stores, rangeAt(stores, LEFT), 'z', 'meanwhile')
    stores.rejoin(away.nodeId)
    await untilMerged(stores)
    await stores.until(() => away.state.get('z') !== undefined, 'what came behind the merge')
    expect(away.replicas.counts.snapshotsInstalled).toBe(0)
  })

  it('gets the whole by a snapshot, which takes the place of both', async () => {
    const { stores, away } = await withoutOne()
    for (let i = 0; i < 50; i++) await write(stores, rangeAt(stores, LEFT), `z${i}`, 'of the whole')
    await stores.pass(1_000)
    stores.rejoin(away.nodeId)
    await untilMerged(stores)
    await stores.until(() => away.state.get('z49') !== undefined, 'all of it')
    expect(away.replicas.counts.snapshotsInstalled).toBe(1)
    expect([...away.state.replicas.values()].map(({ descriptor }) => descriptor.rangeId)).toEqual([1, LEFT])
    for (const key of ['b', 'y', 'z0']) expect(away.state.get(key)).toEqual(stores.leaderOf(LEFT)!.state.get(key))
    expect(away.fatal).toEqual([])
  })

  it('gets by a snapshot what was cut again since, and the rest of it by another one', async () => {
    const { stores, away } = await withoutOne()
    const { epoch } = rangeAt(stores, LEFT)
    const split = { kind: 'split', epoch, key: 't', rangeId: 60, replicaIds: [201, 202, 203] } as const
    expect(await command(stores, LEFT, split)).toMatchObject({ kind: 'written' })
    await stores.until(() => stores.leaderOf(60) !== undefined, 'a leader of the new range')
    for (let i = 0; i < 50; i++) {
      await write(stores, rangeAt(stores, LEFT), `c${i}`, 'of the left')
      await write(stores, rangeAt(stores, 60), `z${i}`, 'of the new one')
    }
    await stores.pass(1_000)
    stores.rejoin(away.nodeId)
    const isEqual = (id: number): boolean => {
      return replicaAt(away, id)?.state.appliedIndex === replicaAt(stores.leaderOf(id)!, id)!.state.appliedIndex
    }
    await stores.until(() => [LEFT, 60].every(isEqual), 'all of it')
    expect([...away.state.replicas.values()].map(({ descriptor }) => descriptor.rangeId)).toEqual([1, LEFT, 60])
    for (const key of ['b', 'y', 'c0', 'z0']) expect(away.state.get(key)).toEqual(stores.leaderOf(60)!.state.get(key))
    expect(away.fatal).toEqual([])
  })
})
