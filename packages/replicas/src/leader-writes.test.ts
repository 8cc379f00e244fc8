import { ManualClock } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type RaftGroup } from '@cordillera/raft-core'
import { applyEntry, OperationMemory, WriteBlockBuilder } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { LeaderWrites } from './leader-writes.js'
import { type PendingBlock, Proposals } from './proposals.js'
import { TimestampOrder } from './timestamp-order.js'
import type { TimestampClaim, TimestampWaiter } from './timestamp-source.js'

const descriptor = { rangeId: 2, start: '', end: null, epoch: { version: 1, confVersion: 1 }, replicas: [] }

function setUp(entryBytesMax = 1 << 20) {
  const clock = new ManualClock()
  const core = { role: 'leader', term: 5, refusal: undefined as string | undefined, proposed: [] as number[][] }
  const ages: number[] = []
  const propose = (bytes: Uint8Array): object => {
    if (core.refusal !== undefined) return { kind: 'refused', reason: core.refusal, leader: 0 }
    const memory = new OperationMemory()
    const payload = bytes.subarray(ENTRY_HEADER_BYTES)
    const { writes } = applyEntry({ descriptor, memory, versionOf: () => 0 }, payload)
    ages.push(memory.ageMs)
    core.proposed.push(writes.map(({ version }) => version))
    return { kind: 'proposed', index: core.proposed.length, term: core.term }
  }
  const asks: TimestampWaiter[] = []
  const order = new TimestampOrder()
  const replies: string[] = []
  const writes = new LeaderWrites({
    core: {
      ...core,
      propose,
      get role() {
        return core.role
      },
      get term() {
        return core.term
      },
    } as unknown as RaftGroup,
    order,
    proposals: new Proposals(),
    clock,
    entryBytesMax,
    appliedAgeMs: () => 40,
    ask: (waiter) => asks.push(waiter),
    onProposed: () => {},
    refused: (reason) => ({ kind: 'refused', reason, leader: 0, descriptors: [] }),
  })
  const add = (name: string, count = 1): void => {
    const builder = new WriteBlockBuilder(1)
    for (let i = 0; i < count; i++) builder.put(0, `${name}${i}`, new Uint8Array(8))
    const block: PendingBlock = {
      block: builder.take(),
      count,
      reply: (reply) => replies.push(`${name}: ${reply.kind === 'refused' ? reply.reason : reply.kind}`),
    }
    writes.add(block)
  }
  /** A request leaves. */
  const claim = (): TimestampClaim => {
    const claimed = writes.claim()
    expect(claimed).toBeDefined()
    return claimed!
  }
  return { clock, core, order, writes, asks, ages, replies, add, claim }
}

describe('the writes of a leader', () => {
  it('that came before the request left share its answer and an entry; later ones ask again', () => {
    const s = setUp()
    s.add('a')
    s.add('b', 2)
    expect(s.asks).toHaveLength(1)
    const first = s.claim()
    expect(first.count).toBe(3)
    s.add('c')
    expect(s.asks).toHaveLength(2)
    first.grant(10)
    expect(s.core.proposed).toEqual([[10, 11, 12]])
    const second = s.claim()
    expect(second.count).toBe(1)
    second.grant(20)
    expect(s.core.proposed[1]).toEqual([20])
    expect(s.writes.isEmpty).toBe(true)
    expect(s.writes.bytes).toBe(0)
    expect(s.writes.claim()).toBeUndefined()
  })

  it('whose timestamps were asked for in an earlier term ask again', () => {
    const s = setUp()
    s.add('a')
    const claim = s.claim()
    s.core.term = 7
    claim.grant(10)
    expect(s.core.proposed).toEqual([])
    expect(s.asks).toHaveLength(2)
    s.claim().grant(20)
    expect(s.core.proposed).toEqual([[20]])
  })

  it('whose timestamps are not above the floor, or not above what was proposed, ask again, in their order', () => {
    const s = setUp()
    s.add('a')
    const claim = s.claim()
    s.add('b')
    s.order.raiseFloor(10)
    claim.grant(10)
    expect(s.core.proposed).toEqual([])
    const again = s.claim()
    expect(again.count).toBe(2)
    s.writes.propose(30, 0, [])
    again.grant(11)
    expect(s.core.proposed).toEqual([[]])
    s.claim().grant(31)
    expect(s.core.proposed[1]).toEqual([31, 32])
  })

  it('of several requests under way are proposed in the order of their timestamps, whichever comes first', () => {
    const s = setUp()
    s.add('a')
    const early = s.claim()
    s.add('b')
    const late = s.claim()
    late.grant(20)
    early.grant(10)
    expect(s.core.proposed).toEqual([[20]])
    s.claim().grant(30)
    expect(s.core.proposed).toEqual([[20], [30]])
  })

  it('are claimed anew, all of them, when their request is sent again', () => {
    const s = setUp()
    s.add('a')
    const lost = s.claim()
    s.add('b')
    lost.release()
    const again = s.claim()
    expect(again.count).toBe(2)
    lost.grant(5)
    again.grant(10)
    expect(s.core.proposed).toEqual([[10, 11]])
  })

  it('become several entries when they are many bytes, with timestamps in one row', () => {
    const s = setUp(60)
    for (const name of ['a', 'b', 'c']) s.add(name, 2)
    s.claim().grant(10)
    expect(s.core.proposed).toEqual([
      [10, 11],
      [12, 13],
      [14, 15],
    ])
  })

  it('are refused when leadership is lost, and when the proposal is', () => {
    const s = setUp()
    s.add('a')
    const claim = s.claim()
    s.add('b')
    s.core.role = 'follower'
    s.writes.refuseAll('not-leader')
    expect(s.replies).toEqual(['a: not-leader', 'b: not-leader'])
    expect(s.writes.claim()).toBeUndefined()
    claim.grant(10)
    s.core.role = 'leader'
    s.core.refusal = 'overloaded'
    s.add('c')
    s.claim().grant(20)
    expect(s.replies.slice(2)).toEqual(['c: overloaded'])
    expect(s.core.proposed).toEqual([])
    expect([s.writes.isEmpty, s.writes.bytes]).toEqual([true, 0])
  })

  it('carry the age of the range on from where the term began', async () => {
    const s = setUp()
    const write = (first: number): void => {
      s.add('a')
      s.claim().grant(first)
    }
    write(1)
    s.clock.after(500, () => write(2))
    while (await s.clock.next());
    expect(s.ages).toEqual([40, 540])
  })
})
