import { ManualClock, silentLogger } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import type { Replicas } from '@cordillera/replicas'
import { expect, it } from 'vitest'
import { LeaderPlacement } from './leader-placement.js'

const descriptors = Array.from(
  { length: 12 },
  (_, i): Descriptor => ({
    rangeId: i + 1,
    start: String.fromCharCode(i),
    end: String.fromCharCode(i + 1),
    epoch: { version: 1, confVersion: 1 },
    replicas: [0, 1, 2]
      .map((turn) => 1 + ((i + turn) % 3))
      .map((nodeId) => ({ nodeId, replicaId: 3 * i + nodeId, type: 'voter' })),
  }),
)

/** Node 1, which leads everything, and whom it hands leaderships to. */
function leaderOfAll(
  silent: readonly number[] = [],
  unfit: readonly number[] = [],
): {
  readonly placement: LeaderPlacement
  targets(): Promise<Set<number>>
} {
  const clock = new ManualClock()
  const given = new Set<number>()
  const replicas = descriptors.map((descriptor) => ({
    descriptor,
    core: {
      role: 'leader',
      leader: 0,
      lastIndex: 1,
      progressOf: (id: number) => ({ matchIndex: 1, recentlyActive: !silent.includes(1 + ((id - 1) % 3)) }),
    },
    nodeOf: () => 1,
  }))
  const fake = {
    stores: { isUnfit: unfit.includes(1), isFit: (node: number) => !unfit.includes(node) },
    replicas: () => replicas,
    transferLeadership: (_rangeId: number, node: number) => {
      given.add(node)
      return true
    },
  }
  const links = { isUp: () => true, sendRaft: () => true, sendSnapshot: () => true, call: () => true }
  const parts = { nodeId: 1, replicas: fake as unknown as Replicas, links, clock, logger: silentLogger }
  const placement = new LeaderPlacement(parts)
  const targets = async (): Promise<Set<number>> => {
    given.clear()
    for (let second = 0; second < 60; second++) {
      clock.after(1_000, () => placement.onSecond())
      await clock.next()
    }
    return new Set(given)
  }
  return { placement, targets }
}

it('hands no leadership to a node that drains, until its link comes up again', async () => {
  const { placement, targets } = leaderOfAll()
  for (const node of [1, 2, 3]) placement.onLinkUp(node)
  expect(await targets()).toEqual(new Set([2, 3]))
  placement.onDraining(2)
  expect(await targets()).toEqual(new Set([3]))
  placement.onLinkUp(2)
  expect(await targets()).toEqual(new Set([2, 3]))
})

it('hands no leadership to a replica that is silent, though its node is there', async () => {
  const { placement, targets } = leaderOfAll([3])
  for (const node of [1, 2, 3]) placement.onLinkUp(node)
  expect(await targets()).toEqual(new Set([2]))
})

it('hands no leadership to a node whose store is unfit, and none at all from one: that is done elsewhere', async () => {
  const slow = leaderOfAll([], [3])
  for (const node of [1, 2, 3]) slow.placement.onLinkUp(node)
  expect(await slow.targets()).toEqual(new Set([2]))
  const own = leaderOfAll([], [1])
  for (const node of [1, 2, 3]) own.placement.onLinkUp(node)
  expect(await own.targets()).toEqual(new Set())
})
