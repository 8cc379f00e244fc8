import { type CordilleraError, ManualClock, silentLogger } from '@cordillera/base'
import { type Descriptor, WriteBlockBuilder } from '@cordillera/ranges'
import type { RangeRequest } from '@cordillera/wire'
import { describe, expect, it } from 'vitest'
import type { Replica } from './replica.js'
import { defaultStoreLimits, type StoreReport, StoreWatch } from './store-watch.js'

const RESERVE = 1_000

const descriptorOf = (rangeId: number, nodes: readonly number[]): Descriptor => ({
  rangeId,
  start: 'a',
  end: 'b',
  epoch: { version: 1, confVersion: 1 },
  replicas: nodes.map((nodeId) => ({ nodeId, replicaId: 10 * rangeId + nodeId, type: 'voter' })),
})

const on = (rangeId: number): Replica => ({ descriptor: descriptorOf(rangeId, [1, 2, 3]) }) as unknown as Replica

const writeOf = (builder: WriteBlockBuilder): RangeRequest => {
  return { kind: 'write', rangeId: 2, count: builder.count, block: builder.take() }
}
const PUT = writeOf(new WriteBlockBuilder(1).delete(1, 'k').put(2, 'k', Buffer.from('v')))
const DELETE = writeOf(new WriteBlockBuilder(1).delete(1, 'k', { ifVersion: 3 }).delete(2, 'l'))
const READ: RangeRequest = { kind: 'read', rangeId: 2, epochVersion: 1, at: 0, byFollower: false, keys: ['k'] }

/** Node 1's view; nodes in `down` are not reached. */
class World {
  readonly clock = new ManualClock()
  readonly down = new Set<number>()
  readonly reports: StoreReport[] = []
  readonly dead: CordilleraError[] = []
  probes = 0
  readonly stats = { writingForMs: 0, spaceShort: false }
  readonly watch = new StoreWatch({
    nodeId: 1,
    clock: this.clock,
    logger: silentLogger,
    log: {
      probe: () => {
        this.probes++
      },
      stats: this.stats as never,
    },
    limits: { ...defaultStoreLimits, diskReserveBytes: RESERVE },
    isUp: (node) => !this.down.has(node),
    onChanged: (report) => this.reports.push(report),
    onDead: (error) => this.dead.push(error),
  })

  async ticks(count: number, writing: boolean): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.stats.writingForMs = writing ? this.stats.writingForMs + 100 : 0
      this.clock.after(100, () => this.watch.onTick())
      await this.clock.next()
    }
  }

  takes(request: RangeRequest, nodes: readonly number[] = [1, 2, 3], role = 'leader'): boolean {
    const replica = { core: { role }, descriptor: descriptorOf(request.rangeId, nodes) } as unknown as Replica
    return this.watch.hasRoomFor(replica, request)
  }

  peer(node: number, space: StoreReport['space'], condition: StoreReport['condition'] = 'healthy'): void {
    this.watch.onPeer(node, { condition, space })
  }
}

describe('room', () => {
  it('refuses values where the stores with room are no quorum, and takes what has none', () => {
    const w = new World()
    expect(w.takes(PUT)).toBe(true)
    w.watch.onFreeBytes(RESERVE - 1)
    expect(w.takes(PUT)).toBe(true)
    w.peer(2, 'short')
    expect(w.takes(PUT)).toBe(false)
    expect(w.takes(DELETE)).toBe(true)
    expect(w.takes(READ)).toBe(true)
    expect(w.takes({ ...PUT, rangeId: 1 })).toBe(true)
    expect(w.takes(PUT, [1, 2, 3], 'follower')).toBe(true)
    expect(w.watch.counts.writesRefused).toBe(2)
    w.peer(2, 'ample')
    expect(w.takes(PUT)).toBe(true)
  })

  it('refuses on a lone store, and on one whose peers with room are away', () => {
    const w = new World()
    w.watch.onFreeBytes(RESERVE / 2)
    expect(w.takes(PUT, [1])).toBe(false)
    expect(w.takes(PUT)).toBe(true)
    w.down.add(3)
    expect(w.takes(PUT)).toBe(false)
    w.watch.onFreeBytes(10 * RESERVE)
    expect(w.takes(PUT)).toBe(true)
  })

  it('refuses deletes as well once a quorum is out of room, and drops what other leaders send', () => {
    const w = new World()
    w.watch.onFreeBytes(0)
    w.peer(3, 'out')
    expect(w.takes(DELETE)).toBe(false)
    const append = { kind: 'append-request', ...{ from: 1, to: 2, term: 1, prevIndex: 0, prevTerm: 0, commitIndex: 0 } }
    const full = { ...append, entries: [{}] } as never
    expect(w.watch.takes(on(2), full)).toBe(false)
    expect(w.watch.takes(on(1), full)).toBe(true)
    expect(w.watch.takes(on(2), { ...append, entries: [] } as never)).toBe(true)
    w.watch.onFreeBytes(RESERVE / 2)
    expect(w.watch.takes(on(2), full)).toBe(true)
    expect(w.takes(DELETE)).toBe(true)
  })

  it('counts both halves of a joint configuration', () => {
    const w = new World()
    const types = ['voter', 'incoming', 'outgoing', 'voter'] as const
    const replicas = types.map((type, i) => ({ nodeId: i + 1, replicaId: i + 1, type }))
    const descriptor = { ...descriptorOf(2, []), replicas }
    w.peer(2, 'short')
    w.peer(4, 'short')
    expect(w.watch.hasRoomFor({ core: { role: 'leader' }, descriptor } as unknown as Replica, PUT)).toBe(false)
  })
})

describe('who is fit', () => {
  it('leaves only where the others that are up and fit are a quorum', async () => {
    const w = new World()
    const range = descriptorOf(2, [1, 2, 3])
    await w.ticks(12, true)
    expect(w.reports).toEqual([{ condition: 'stalled', space: 'ample' }])
    expect(w.watch.isUnfit).toBe(true)
    const handOver = { kind: 'timeout-now', from: 1, to: 2, term: 1 } as const
    expect(w.watch.takes(on(2), handOver)).toBe(false)
    expect(w.watch.canLeave(range)).toBe(true)
    w.down.add(2)
    expect(w.watch.canLeave(range)).toBe(false)
    expect(w.watch.takes(on(2), handOver)).toBe(true)
    w.down.clear()
    w.peer(3, 'ample', 'slow')
    expect(w.watch.canLeave(range)).toBe(false)
    expect(w.watch.canLeave(descriptorOf(2, [1]))).toBe(false)
    w.watch.forgetPeer(3)
    expect(w.watch.canLeave(range)).toBe(true)
  })

  it('measures an unfit store that nobody writes to, and ends one whose sync does not return', async () => {
    const w = new World()
    await w.ticks(12, true)
    w.watch.onSync(1_200)
    await w.ticks(35, false)
    expect(w.probes).toBeGreaterThanOrEqual(2)
    await w.ticks(400, true)
    expect(w.dead).toMatchObject([{ code: 'DISK_FAILED', details: { isStalled: true } }])
  })
})
