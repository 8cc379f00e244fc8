import { CordilleraError } from '@cordillera/base'
import type { RangeReply } from '@cordillera/wire'
import { describe, expect, it, vi } from 'vitest'
import { keyIn, readOf, Stores, writeOf } from './testing/stores.js'

function textOf(reply: RangeReply): string | undefined {
  if (reply.kind !== 'values') throw new Error(`a ${reply.kind} reply`)
  const value = reply.values[0]
  return value && new TextDecoder().decode(value.value)
}

describe('Replicas', () => {
  it('makes the batches of many groups durable with fewer fdatasyncs than batches', async () => {
    const stores = await Stores.open(3, 16)
    await stores.untilLed()
    const before = [...stores.stores.values()].map(({ log }) => log.stats.syncs)
    const replies: RangeReply[] = []
    const rounds = 20
    for (let round = 0; round < rounds; round++) {
      for (const descriptor of stores.descriptors) {
        const leader = stores.leaderOf(descriptor.rangeId)!
        leader.replicas.execute(writeOf(descriptor, keyIn(descriptor, `k${round}`), 'v'), (reply) =>
          replies.push(reply),
        )
      }
      await stores.until(() => replies.length === (round + 1) * stores.descriptors.length, 'all answers')
    }
    expect(replies.every(({ kind }) => kind === 'written')).toBe(true)
    const batches = rounds * stores.descriptors.length
    for (const [i, { log, fatal }] of [...stores.stores.values()].entries()) {
      // Every store appended a batch of each of the 17 groups in each round.
      expect(log.stats.entries).toBeGreaterThanOrEqual(batches)
      expect(log.stats.syncs - before[i]!).toBeLessThan(batches / 2)
      expect(fatal).toEqual([])
    }
  })

  it('answers a write after it is on a majority, and reads it back at the leader', async () => {
    const stores = await Stores.open(3, 2)
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const reply = await stores.execute(writeOf(descriptor, descriptor.start, 'one'))
    expect(reply.kind).toBe('written')
    const holders = [...stores.stores.values()].filter(({ replicas }) => {
      const { core } = replicas.replica(descriptor.rangeId)!
      return core.durableIndex >= 2
    })
    expect(holders.length).toBeGreaterThanOrEqual(2)
    expect(textOf(await stores.execute(readOf(descriptor, descriptor.start)))).toBe('one')
    expect(textOf(await stores.execute(readOf(descriptor, `${descriptor.start}x`)))).toBeUndefined()
  })

  it('refuses at a follower and names the leader', async () => {
    const stores = await Stores.open(3, 1)
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const leader = stores.leaderOf(descriptor.rangeId)!
    const follower = [...stores.stores.values()].find((store) => store !== leader)!
    await stores.until(() => follower.replicas.replica(descriptor.rangeId)!.core.leader !== 0, 'the follower knows')
    const replies: RangeReply[] = []
    follower.replicas.execute(writeOf(descriptor, descriptor.start, 'x'), (reply) => replies.push(reply))
    follower.replicas.execute(readOf({ ...descriptor, rangeId: 99 }, 'a'), (reply) => replies.push(reply))
    expect(replies).toMatchObject([
      { kind: 'refused', reason: 'not-leader', leader: leader.nodeId },
      { kind: 'refused', reason: 'no-range' },
    ])
  })

  it('takes nothing of a malformed block', async () => {
    const stores = await Stores.open(1, 1)
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const { replicas, log } = stores.leaderOf(descriptor.rangeId)!
    await stores.pass(500)
    const before = log.stats.entries
    const request = { kind: 'write' as const, rangeId: descriptor.rangeId, count: 1, block: Uint8Array.of(1, 1, 9, 9) }
    const replies: RangeReply[] = []
    expect(() => replicas.executeForeign(request, (reply) => replies.push(reply))).toThrow(CordilleraError)
    await stores.pass(500)
    expect(replies).toEqual([])
    expect(log.stats.entries).toBe(before)
  })

  it('rests when idle, and wakes with a write, and with a lost link', async () => {
    const stores = await Stores.open(3, 8)
    await stores.untilLed()
    const user = stores.descriptors.slice(1).map(({ rangeId }) => rangeId)
    const resting = (): number =>
      [...stores.stores.values()].reduce((sum, { replicas }) => {
        return sum + user.filter((rangeId) => replicas.replica(rangeId)!.core.quiescent).length
      }, 0)
    await stores.until(() => resting() === 3 * user.length, 'rest')
    const { messages } = stores
    await stores.pass(10_000)
    // The system range never rests: a heartbeat and its answer with two followers every 300 ms.
    expect(stores.messages - messages).toBeLessThan((10_000 / 300 + 2) * 4)

    const descriptor = stores.descriptors[3]!
    expect((await stores.execute(writeOf(descriptor, descriptor.start, 'x'))).kind).toBe('written')
    await stores.until(() => resting() === 3 * user.length, 'rest again')

    const gone = stores.leaderOf(descriptor.rangeId)!
    stores.cutOff.add(gone.nodeId)
    for (const store of stores.stores.values()) {
      for (const other of stores.stores.keys()) {
        if (other !== store.nodeId && (store === gone || other === gone.nodeId)) store.replicas.onLinkDown(other)
      }
    }
    await stores.untilLed()
    expect(stores.leaderOf(descriptor.rangeId)).not.toBe(gone)
    expect(textOf(await stores.execute(readOf(descriptor, descriptor.start)))).toBe('x')
  })

  it('does not wait for an election timeout when the leader’s process is gone', async () => {
    const stores = await Stores.open(3, 1)
    await stores.untilLed()
    await stores.pass(2_000)
    const { rangeId } = stores.descriptors[1]!
    const gone = stores.leaderOf(rangeId)!
    stores.cutOff.add(gone.nodeId)
    for (const store of stores.stores.values()) if (store !== gone) store.replicas.onNodeGone(gone.nodeId)
    const before = stores.clock.now()
    await stores.until(() => stores.leaderOf(rangeId) !== undefined, 'a new leader')
    expect(stores.clock.now() - before).toBeLessThan(1_000)
  })

  it('answers "lost" to a write that another leader’s entry replaced, and applies it nowhere', async () => {
    const stores = await Stores.open(3, 1)
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const former = stores.leaderOf(descriptor.rangeId)!
    stores.cutOff.add(former.nodeId)
    const replies: RangeReply[] = []
    former.replicas.execute(writeOf(descriptor, descriptor.start, 'never'), (reply) => replies.push(reply))
    await stores.untilLed()
    expect((await stores.execute(writeOf(descriptor, descriptor.start, 'later'))).kind).toBe('written')
    expect(replies).toEqual([])
    stores.cutOff.clear()
    await stores.until(() => replies.length > 0, 'an answer')
    expect(replies).toMatchObject([{ kind: 'refused', reason: 'lost' }])
    expect(textOf(await stores.execute(readOf(descriptor, descriptor.start)))).toBe('later')
  })

  it('stops at a failed fsync: nothing is acknowledged, and it is said once', async () => {
    const stores = await Stores.open(1, 4)
    await stores.untilLed()
    const { disk, fatal, replicas } = stores.stores.get(1)!
    disk.fail({ operation: 'sync', code: 'EIO' })
    const replies: RangeReply[] = []
    for (const descriptor of stores.descriptors) {
      replicas.execute(writeOf(descriptor, keyIn(descriptor, 'a'), 'x'), (reply) => replies.push(reply))
    }
    await stores.until(() => fatal.length > 0, 'the store stops')
    await stores.pass(1_000)
    expect(fatal).toHaveLength(1)
    expect(fatal[0]).toMatchObject({ code: 'DISK_FAILED' })
    expect(replies.map(({ kind }) => kind)).toEqual(stores.descriptors.map(() => 'unknown'))
  })

  it('stops when the log fails while the state is being flushed, and leaves no rejection to nobody', async () => {
    const stores = await Stores.open(1, 1, { stateFlushBytes: 1 })
    await stores.untilLed()
    const { disk, fatal, state, replicas } = stores.stores.get(1)!
    const descriptor = stores.descriptors[1]!
    const flush = state.flush.bind(state)
    state.flush = async () => {
      const flushed = await flush()
      disk.fail({ operation: 'sync', code: 'EIO' })
      replicas.execute(writeOf(descriptor, keyIn(descriptor, 'a'), 'x'), () => {})
      while (fatal.length === 0) await new Promise<void>((resolve) => stores.clock.after(1, resolve))
      return flushed
    }
    const unhandled: unknown[] = []
    const onUnhandled = (error: unknown): unknown => unhandled.push(error)
    process.on('unhandledRejection', onUnhandled)
    try {
      replicas.execute(writeOf(descriptor, keyIn(descriptor, 'a'), 'x'), () => {})
      await stores.until(() => fatal.length > 0, 'the store stops')
      await stores.pass(100)
      await new Promise(setImmediate)
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
    expect([fatal.length, unhandled]).toEqual([1, []])
  })

  it('stops when the log has failed with nothing under way, and does not throw at who asks it to forget entries', async () => {
    const stores = await Stores.open(1, 1, { stateFlushBytes: 1 })
    await stores.untilLed()
    const { fatal, replicas } = stores.stores.get(1)!
    const descriptor = stores.descriptors[1]!
    const { log } = replicas.replica(descriptor.rangeId)!
    log.compactTo = () => {
      throw new CordilleraError('DISK_FAILED')
    }
    await stores.execute(writeOf(descriptor, keyIn(descriptor, 'a'), 'x'))
    await stores.pass(1_000)
    replicas.retention.replicatedIndexes()
    expect(fatal).toMatchObject([{ code: 'DISK_FAILED' }])
  })

  it('forgets log entries only when they are flushed here and held by everyone', async () => {
    const stores = await Stores.open(3, 1, { stateFlushBytes: 1 })
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const leader = stores.leaderOf(descriptor.rangeId)!
    const absent = [...stores.stores.values()].find((store) => store !== leader)!
    stores.cutOff.add(absent.nodeId)
    for (let i = 0; i < 10; i++) await stores.execute(writeOf(descriptor, `${descriptor.start}${i}`, 'x'))
    await stores.pass(1_000)
    leader.replicas.retention.replicatedIndexes()
    await stores.pass(1_000)
    const { log, core } = leader.replicas.replica(descriptor.rangeId)!
    expect(log.compactedIndex).toBeLessThan(core.lastIndex - 5)
    stores.cutOff.clear()
    await stores.until(
      () => core.progressOf(absent.replicas.replica(descriptor.rangeId)!.replicaId)?.matchIndex === core.lastIndex,
      'it catches up',
    )
    leader.replicas.retention.replicatedIndexes()
    await stores.pass(1_000)
    expect(log.compactedIndex).toBe(core.lastIndex)
  })

  it('forgets the entries of a group that rests, and says so until it is heard', async () => {
    const stores = await Stores.open(3, 1, { stateFlushBytes: 1, stateFlushMs: 1 })
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const leader = stores.leaderOf(descriptor.rangeId)!
    for (let i = 0; i < 10; i++) await stores.execute(writeOf(descriptor, `${descriptor.start}${i}`, 'x'))
    const { log, core } = leader.replicas.replica(descriptor.rangeId)!
    await stores.until(() => core.quiescent, 'the group rests')
    const news = (node: number): unknown =>
      leader.replicas.retention
        .replicatedIndexes()
        .get(node)
        ?.find(([rangeId]) => rangeId === descriptor.rangeId)
    const others = [1, 2, 3].filter((node) => node !== leader.nodeId)
    const said = others.map(news)
    expect(said).toEqual(others.map(() => [descriptor.rangeId, core.lastIndex]))
    expect(log.compactedIndex).toBe(core.lastIndex)
    leader.replicas.retention.onSaid(others[0]!, [[descriptor.rangeId, core.lastIndex]])
    expect(others.map(news)).toEqual([undefined, said[1]])
    leader.replicas.onLinkUp(others[0]!, 2)
    expect(news(others[0]!)).toEqual(said[0])
  })

  it('does not count as held by everyone what the leader’s own disk does not hold yet', async () => {
    const stores = await Stores.open(3, 1, { stateFlushBytes: 1 })
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const leader = stores.leaderOf(descriptor.rangeId)!
    await stores.pass(1_000)
    const { core } = leader.replicas.replica(descriptor.rangeId)!
    leader.disk.stallSyncs()
    const durable = core.durableIndex
    leader.replicas.execute(writeOf(descriptor, keyIn(descriptor, 'a'), 'x'), () => {})
    await stores.until(() => core.commitIndex > durable, 'the followers alone commit')
    const said = [...leader.replicas.retention.replicatedIndexes().values()].flat()
    for (const [rangeId, index] of said) if (rangeId === descriptor.rangeId) expect(index).toBeLessThanOrEqual(durable)
    expect(core.durableIndex).toBe(durable)
    leader.disk.releaseSyncs()
    await stores.until(() => core.durableIndex === core.lastIndex, 'the sync')
  })

  it('silences a replica whose log turns out to be rotten, and no other', async () => {
    const stores = await Stores.open(3, 3)
    await stores.untilLed()
    const descriptor = stores.descriptors[1]!
    const { rangeId } = descriptor
    const damaged = stores.leaderOf(rangeId)!
    const { core, log } = damaged.replicas.replica(rangeId)!
    const takeReady = core.takeReady.bind(core)
    vi.spyOn(core, 'takeReady').mockImplementationOnce(() => ({
      ...takeReady(),
      load: { from: 1, to: 1, bytesMax: 1 },
    }))
    vi.spyOn(log, 'load').mockRejectedValueOnce(new CordilleraError('LOG_DAMAGED'))
    const replies: RangeReply[] = []
    damaged.replicas.execute(writeOf(descriptor, keyIn(descriptor, 'a'), 'x'), (reply) => replies.push(reply))
    await stores.until(() => damaged.replicas.silenced.size > 0, 'it is silenced')
    expect([...damaged.replicas.silenced]).toMatchObject([[rangeId, { reason: 'log-damaged' }]])
    expect(replies.map(({ kind }) => kind)).toEqual(['unknown'])
    await stores.untilLed()
    expect(stores.leaderOf(rangeId)).not.toBe(damaged)
    for (const each of stores.descriptors) {
      expect(await stores.execute(writeOf(each, keyIn(each, 'b'), 'y'))).toMatchObject({ kind: 'written' })
    }
    expect(damaged.fatal).toEqual([])
  })

  it('hands its leaderships over when it drains', async () => {
    const stores = await Stores.open(3, 6)
    await stores.untilLed()
    const leaving = stores.stores.get(1)!
    let isDrained = false
    leaving.replicas.drain(10_000).then(() => {
      isDrained = true
    })
    await stores.until(() => isDrained, 'the drain')
    expect([...leaving.replicas.replicas()].filter(({ core }) => core.role === 'leader')).toEqual([])
    await stores.untilLed()
  })

  it('ends its drain when everybody drains, without handing leaderships back and forth', async () => {
    const stores = await Stores.open(3, 6)
    await stores.untilLed()
    await stores.pass(1_000)
    const terms = (): number =>
      [...stores.stores.values()].reduce((sum, { replicas }) => {
        return sum + stores.descriptors.reduce((s, { rangeId }) => s + replicas.replica(rangeId)!.core.term, 0)
      }, 0)
    const before = terms()
    let drained = 0
    for (const { replicas } of stores.stores.values()) {
      replicas.drain(30_000).then(() => {
        drained++
      })
    }
    const begun = stores.clock.now()
    await stores.until(() => drained === 3, 'every drain')
    expect(stores.clock.now() - begun).toBeLessThan(5_000)
    expect(terms()).toBe(before)
  })
})
