import type { NodeId, RangeId } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { initialPlacement } from './initial-placement.js'
import { decideLeaderTransfers, defaultTransferLimits, preferredLeader, takeTransfers } from './leader-transfers.js'

/** A cluster in which every node decides in turn, and what it decides happens. */
class Cluster {
  readonly descriptors: Descriptor[]
  readonly leaders = new Map<RangeId, NodeId>()
  moves = 0

  constructor(
    readonly nodes: NodeId[],
    ranges: number,
    leaderOf: (places: NodeId[], at: number) => NodeId,
  ) {
    const rangeIds = Array.from({ length: ranges }, (_, i) => i + 1)
    const placement = initialPlacement({ rangeIds, nodes, replicas: Math.min(nodes.length, 3) })
    this.descriptors = [...placement].map(([rangeId, places]) => ({
      rangeId,
      start: '',
      end: null,
      epoch: { version: 1, confVersion: 1 },
      replicas: places.map((nodeId) => ({ nodeId, replicaId: rangeId * 10 + nodeId, type: 'voter' })),
    }))
    for (const [i, { rangeId }] of this.descriptors.entries()) {
      this.leaders.set(rangeId, leaderOf(placement.get(rangeId)!, i))
    }
  }

  countOf(node: NodeId): number {
    return [...this.leaders.values()].filter((leader) => leader === node).length
  }

  /** One round of every live node; the number of transfers. */
  round(down: NodeId = 0, draining: NodeId = 0): number {
    let transfers = 0
    for (const self of this.nodes) {
      if (self === down) continue
      const view = (nodeId: NodeId) => ({
        nodeId,
        isUp: nodeId !== down,
        upSinceMs: 0,
        isDraining: nodeId === draining,
        leaders: this.countOf(nodeId),
      })
      const lagEntries = new Map(this.nodes.map((nodeId) => [nodeId, 0]))
      const led = this.descriptors
        .filter(({ rangeId }) => this.leaders.get(rangeId) === self)
        .map((descriptor) => ({ descriptor, isTransferring: false, lagEntries }))
      const picture = { self, nowMs: 1e6, nodes: this.nodes.map(view), led }
      const decided = takeTransfers(decideLeaderTransfers(picture, defaultTransferLimits))
      expect(decided.length).toBeLessThanOrEqual(defaultTransferLimits.transfersMax)
      for (const { rangeId, to } of decided) this.leaders.set(rangeId, to)
      transfers += decided.length
    }
    this.moves += transfers
    return transfers
  }

  settle(down: NodeId = 0, draining: NodeId = 0): void {
    for (let rounds = 0; this.round(down, draining) > 0; rounds++) expect(rounds).toBeLessThan(200)
  }

  spread(nodes = this.nodes): number {
    const counts = nodes.map((node) => this.countOf(node))
    return Math.max(...counts) - Math.min(...counts)
  }
}

const cluster = fc
  .record({
    nodeCount: fc.integer({ min: 2, max: 6 }),
    ranges: fc.integer({ min: 1, max: 60 }),
    picks: fc.array(fc.nat(), { minLength: 60, maxLength: 60 }),
  })
  .map(({ nodeCount, ranges, picks }) => {
    const nodes = Array.from({ length: nodeCount }, (_, i) => i + 1)
    return new Cluster(nodes, ranges, (places, at) => places[picks[at]! % places.length]!)
  })

test('from any leaders, transfers end in balance, each range moving once at most', () => {
  fc.assert(
    fc.property(cluster, (c) => {
      c.settle()
      expect(c.spread()).toBeLessThanOrEqual(1)
      expect(c.moves).toBeLessThanOrEqual(c.descriptors.length)
    }),
    { numRuns: 300 },
  )
})

test('a balanced cluster makes no move, even when leaders are not where they are preferred', () => {
  fc.assert(
    fc.property(cluster, (c) => {
      fc.pre(c.spread() <= 1)
      expect(c.round()).toBe(0)
    }),
    { numRuns: 300 },
  )
})

test('a dead node’s leaderships spread over the others, and return when it is back', () => {
  for (const nodeCount of [3, 5]) {
    const nodes = Array.from({ length: nodeCount }, (_, i) => i + 1)
    const c = new Cluster(nodes, 17, (places) => places[0]!)
    const live = new Set(nodes.filter((node) => node !== 2))
    for (const descriptor of c.descriptors) {
      if (c.leaders.get(descriptor.rangeId) === 2) c.leaders.set(descriptor.rangeId, preferredLeader(descriptor, live))
    }
    expect(c.spread([...live])).toBeLessThanOrEqual(2)
    c.settle(2)
    const before = c.moves
    c.settle()
    expect(c.spread()).toBeLessThanOrEqual(1)
    expect(c.moves - before).toBeLessThanOrEqual(6)
  }
})

test('a draining node ends without leaderships, and the others stay even', () => {
  fc.assert(
    fc.property(cluster, (c) => {
      c.settle()
      c.settle(0, 1)
      expect(c.countOf(1)).toBe(0)
      if (c.nodes.length === 3) expect(c.spread([2, 3])).toBeLessThanOrEqual(1)
    }),
    { numRuns: 200 },
  )
})
