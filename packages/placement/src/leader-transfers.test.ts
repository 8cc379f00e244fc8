import type { Descriptor, ReplicaPlace } from '@cordillera/ranges'
import { expect, test } from 'vitest'
import {
  decideLeaderTransfers,
  type LeaderPicture,
  preferredLeader,
  type TransferLimits,
  takeTransfers,
} from './leader-transfers.js'

const limits: TransferLimits = { transfersMax: 2, graceMs: 1000, lagEntriesMax: 10 }

function range(rangeId: number, nodes: number[], types: ReplicaPlace['type'][] = []): Descriptor {
  const replicas = nodes.map((nodeId, i) => ({ nodeId, replicaId: rangeId * 10 + nodeId, type: types[i] ?? 'voter' }))
  return { rangeId, start: '', end: null, epoch: { version: 1, confVersion: 1 }, replicas }
}

/** Node 1 leads ranges 1 to 6, of which 4 to 6 prefer node 2; node 2 leads nothing, node 3 leads 3. */
function picture(change: (parts: Mutable) => void = () => {}): LeaderPicture {
  const lags = () => new Map([2, 3].map((nodeId) => [nodeId, 0]))
  const parts: Mutable = {
    self: 1,
    nowMs: 10_000,
    nodes: [6, 0, 3].map((leaders, i) => ({ nodeId: i + 1, isUp: true, upSinceMs: 0, isDraining: false, leaders })),
    led: [1, 2, 3, 4, 5, 6].map((rangeId) => ({
      descriptor: range(rangeId, rangeId > 3 ? [2, 3, 1] : [1, 2, 3]),
      isTransferring: false,
      lagEntries: lags(),
    })),
  }
  change(parts)
  return parts
}

type Mutable = {
  self: number
  nowMs: number
  nodes: { nodeId: number; isUp: boolean; upSinceMs: number; isDraining: boolean; leaders: number }[]
  led: { descriptor: Descriptor; isTransferring: boolean; lagEntries: Map<number, number> }[]
}

const show = (p: LeaderPicture, l = limits): string[] =>
  decideLeaderTransfers(p, l).map((d) =>
    d.kind === 'transfer' ? `${d.rangeId} to ${d.to}: ${d.reason}` : `${d.rangeId} ${d.reason}`,
  )
const of4 = (p: LeaderPicture): string => show(p)[3]!

test('leaderships go to the preferred node, a bounded number at once', () => {
  expect(show(picture())).toEqual([
    '1 is-preferred',
    '2 is-preferred',
    '3 is-preferred',
    '4 to 2: preferred',
    '5 to 2: preferred',
    '6 enough-under-way',
  ])
  expect(takeTransfers(decideLeaderTransfers(picture(), limits)).map(({ rangeId }) => rangeId)).toEqual([4, 5])
})

test('what was decided in the round counts, so that it does not go too far', () => {
  const p = picture((parts) => {
    parts.nodes[2]!.leaders = 5
    for (const led of parts.led) led.descriptor = range(led.descriptor.rangeId, [2, 1, 3])
  })
  expect(takeTransfers(decideLeaderTransfers(p, { ...limits, transfersMax: 9 })).length).toBe(3)
})

test('transfers under way count, towards the bound and as if they had happened', () => {
  const p = picture((parts) => {
    parts.led[3]!.isTransferring = true
  })
  expect(show(p).slice(3)).toEqual(['4 under-way', '5 to 2: preferred', '6 enough-under-way'])
})

test('a node that has just come up gets nothing during its grace', () => {
  expect(
    of4(
      picture((parts) => {
        parts.nodes[1]!.upSinceMs = 9500
      }),
    ),
  ).toBe('4 in-grace')
  expect(
    of4(
      picture((parts) => {
        parts.nodes[1]!.upSinceMs = 9000
      }),
    ),
  ).toBe('4 to 2: preferred')
})

test('a replica that is behind, or not known to follow, gets nothing', () => {
  expect(of4(picture((parts) => void parts.led[3]!.lagEntries.set(2, 11)))).toBe('4 behind')
  expect(of4(picture((parts) => void parts.led[3]!.lagEntries.delete(2)))).toBe('4 behind')
  expect(of4(picture((parts) => void parts.led[3]!.lagEntries.set(2, 10)))).toBe('4 to 2: preferred')
})

test('a node that is down or draining is not preferred: the next one is', () => {
  expect(
    of4(
      picture((parts) => {
        parts.nodes[1]!.isUp = false
      }),
    ),
  ).toBe('4 to 3: preferred')
  expect(
    of4(
      picture((parts) => {
        parts.nodes[1]!.isDraining = true
      }),
    ),
  ).toBe('4 to 3: preferred')
})

test('nothing is to be gained where leaderships are even, or by giving to a node that leads as many', () => {
  const even = picture((parts) => {
    for (const [i, leaders] of [6, 5, 6].entries()) parts.nodes[i]!.leaders = leaders
  })
  expect(of4(even)).toBe('4 balanced')
  const elsewhere = picture((parts) => {
    for (const [i, leaders] of [6, 6, 0].entries()) parts.nodes[i]!.leaders = leaders
  })
  expect(of4(elsewhere)).toBe('4 balanced')
})

test('leaderships that are leaving count no more', () => {
  const p = picture((parts) => {
    for (const [i, leaders] of [6, 5, 3].entries()) parts.nodes[i]!.leaders = leaders
    parts.led[5]!.isTransferring = true
  })
  expect(of4(p)).toBe('4 balanced')
})

test('a node in its grace does not make the others uneven', () => {
  const p = picture((parts) => {
    for (const [i, leaders] of [6, 5, 0].entries()) parts.nodes[i]!.leaders = leaders
    parts.nodes[2]!.upSinceMs = 9999
  })
  expect(of4(p)).toBe('4 balanced')
})

test('a draining node spreads what it gives', () => {
  const p = picture((parts) => {
    parts.nodes[0]!.isDraining = true
  })
  const decisions = takeTransfers(decideLeaderTransfers(p, { ...limits, transfersMax: 9 }))
  expect(decisions.map(({ to }) => to)).toEqual([2, 2, 2, 2, 3, 2])
})

test('a draining node gives everything to whoever leads least and has caught up, grace or not', () => {
  const p = picture((parts) => {
    parts.nodes[0]!.isDraining = true
    parts.nodes[1]!.upSinceMs = 9999
    parts.led[0]!.lagEntries.set(2, 99)
    for (const node of [2, 3]) parts.led[1]!.lagEntries.set(node, 99)
    parts.led[2]!.descriptor = range(3, [1, 2], ['voter', 'learner'])
  })
  expect(show(p, { ...limits, transfersMax: 9 })).toEqual([
    '1 to 3: draining',
    '2 behind',
    '3 no-target',
    '4 to 2: draining',
    '5 to 2: draining',
    '6 to 2: draining',
  ])
})

test('the preferred leader is the first live voter in the descriptor’s order', () => {
  const descriptor = range(1, [3, 1, 2], ['learner', 'voter', 'voter'])
  expect(preferredLeader(descriptor, new Set([1, 2, 3]))).toBe(1)
  expect(preferredLeader(descriptor, new Set([2, 3]))).toBe(2)
  expect(preferredLeader(descriptor, new Set([3]))).toBe(0)
})
