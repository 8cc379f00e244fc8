import { beforeEach, describe, expect, it } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import { turnsOfNode } from './testing/turns-of-node.js'

/** Commands that contradict each other, or what is there: one counts, the others are refused, and no range loses what it needs. */
let cluster: SimulatedCluster

const placement = (machine = 0) => cluster.machines[machine]!.node!.placement
const settle = <T>(promise: Promise<T>) => cluster.settle(promise, 20_000)
const voters = () =>
  new Map(
    cluster.machines.flatMap(({ replicas }) =>
      replicas
        .filter(({ core }) => core.role === 'leader')
        .map(({ descriptor }) => {
          return [descriptor.rangeId, descriptor.replicas.filter(({ type }) => type === 'voter').length] as const
        }),
    ),
  )

async function outcomeOf(command: Promise<{ readonly state: string }>): Promise<string> {
  return command.then(
    ({ state }) => state,
    (error) => `${error.code}: ${error.message}`,
  )
}

beforeEach(async () => {
  cluster = new SimulatedCluster({ seed: 5, runTurns: turnsOfNode, nodes: 3, late: 1, ranges: 3 })
  cluster.startAll()
  expect(await cluster.clock.runUntil(() => cluster.isReady(), 30_000)).toBe(true)
  cluster.machines[3]!.start()
  const isThere = () => cluster.machines[3]!.node?.isReady() === true
  expect(await cluster.clock.runUntil(isThere, 30_000)).toBe(true)
  await cluster.clock.run(10_000)
})

describe('decommissions', () => {
  it('of two nodes of four at once: one is refused, and every range keeps its three replicas', async () => {
    const [one, other] = cluster.machines.slice(1, 3).map(({ node }) => node!.identity.nodeId)
    const commands = [
      placement(0).startOperator({ kind: 'decommission', nodeId: one! }),
      placement(3).startOperator({ kind: 'decommission', nodeId: other! }),
    ]
    const outcomes = (await settle(Promise.all(commands.map(outcomeOf)))).sort()
    expect(outcomes).toEqual([
      expect.stringContaining('3 replicas on 3 nodes: add a node or lower the count'),
      expect.stringMatching(/^(running|done)$/),
    ])
    await cluster.clock.run(30_000)
    expect([...voters().values()].every((count) => count === 3)).toBe(true)
    expect(cluster.failures).toEqual([])
  })

  it('are not undone by another word: what they made of a node is taken back by its own', async () => {
    const [nodeId] = cluster.machines.slice(1, 2).map(({ node }) => node!.identity.nodeId)
    await settle(placement().startOperator({ kind: 'decommission', nodeId: nodeId! }))
    for (const kind of ['drain', 'undrain'] as const) {
      const outcome = await settle(outcomeOf(placement().startOperator({ kind, nodeId: nodeId! })))
      expect(outcome).toMatch(/^CONFLICT: node \d is decommission(ing|ed): recommission it first$/)
    }
    expect(await settle(outcomeOf(placement().startOperator({ kind: 'recommission', nodeId: nodeId! })))).toBe(
      'running',
    )
  })
})

describe('a decommission of who was decommissioned', () => {
  it('is done at once, and makes nobody be emptied again', async () => {
    const { nodeId } = cluster.machines[1]!.node!.identity
    const decommission = async () => {
      const { operatorId } = await placement().startOperator({ kind: 'decommission', nodeId })
      return (await placement().awaitOperator(operatorId, 60_000)).state
    }
    expect(await cluster.settle(decommission(), 61_000)).toBe('done')
    const isGone = () =>
      cluster.machines.some(({ node }) => node?.placement.driver.decommissioned().includes(nodeId) === true)
    let [state, wasThere] = ['', !isGone()]
    decommission().then((end) => {
      state = end
    })
    const isOver = () => {
      wasThere ||= !isGone()
      return state !== ''
    }
    expect(await cluster.clock.runUntil(isOver, 30_000)).toBe(true)
    expect([state, wasThere]).toEqual(['done', false])
  })
})

describe('a drain', () => {
  it('is refused where nobody could take the leaderships over', async () => {
    await settle(placement(3).setSettings({ placementEnabled: false }))
    const { ranges } = await settle(cluster.machines[0]!.node!.ranges({}))
    const nodes = ranges.find(({ rangeId }) => rangeId === 1)!.replicas.map(({ nodeId }) => nodeId)
    const drain = (nodeId: number) => settle(outcomeOf(placement().startOperator({ kind: 'drain', nodeId })))
    expect(await drain(nodes[0]!)).toBe('running')
    expect(await drain(nodes[1]!)).toBe('running')
    expect(await drain(nodes[2]!)).toMatch(/^CONFLICT: no other node could lead range 1/)
    expect(await settle(outcomeOf(placement().startOperator({ kind: 'undrain', nodeId: nodes[0]! })))).toBe('running')
  })
})

describe('what a node is to have that is to have less', () => {
  it('is refused, by the word that would let it', async () => {
    await settle(placement(3).setSettings({ placementEnabled: false }))
    const { ranges } = await settle(cluster.machines[0]!.node!.ranges({}))
    const range = ranges.find(({ rangeId, replicas }) => rangeId !== 1 && replicas.length === 3)!
    const held = range.replicas.map(({ nodeId }) => nodeId)
    const free = cluster.machines.map(({ node }) => node!.identity.nodeId).find((id) => !held.includes(id))!
    const follower = held.find((nodeId) => nodeId !== range.leader)!
    for (const nodeId of [free, follower]) {
      await settle(placement().startOperator({ kind: 'drain', nodeId }))
    }
    const { rangeId } = range
    const moves = [
      placement().startOperator({ kind: 'change-replicas', rangeId, add: free, remove: follower }),
      placement().startOperator({ kind: 'transfer-leader', rangeId, nodeId: follower }),
    ]
    expect(await settle(Promise.all(moves.map(outcomeOf)))).toEqual([
      `CONFLICT: node ${free} is draining: undrain it first`,
      `CONFLICT: node ${follower} is draining: undrain it first`,
    ])
  })
})

describe('a cut that several ask for at once', () => {
  it('is made once, and the others are told that it is there', async () => {
    const cut = () => placement(3).startOperator({ kind: 'split', rangeId: 2, key: 'default\x001' })
    const { operatorId } = await settle(cut())
    await settle(placement().awaitOperator(operatorId, 15_000))
    expect(await settle(outcomeOf(cut()))).toMatch(/^CONFLICT: the key is a boundary already: range \d+ begins there$/)
    const outside = placement().startOperator({ kind: 'split', rangeId: 2, key: 'default\x002' })
    expect(await settle(outcomeOf(outside))).toMatch(/^BAD_REQUEST: the key is outside of range 2; range \d+ holds it$/)
  })
})

describe('a change of the range as somebody has seen it', () => {
  it('is made once, however often it is asked for', async () => {
    const rangeId = 2
    const { ranges } = await settle(cluster.machines[0]!.node!.ranges({}))
    const { version } = ranges.find((range) => range.rangeId === rangeId)!.epoch
    const merge = () => placement().startOperator({ kind: 'merge', rangeId, version })
    const { operatorId } = await settle(merge())
    await settle(placement().awaitOperator(operatorId, 15_000))
    expect(await settle(outcomeOf(merge()))).toBe(
      'CONFLICT: range 2 is at version 3, not 1: it was cut or merged since',
    )
  })
})

describe('settings', () => {
  it('count from the moment that they are answered', async () => {
    await settle(placement(3).setSettings({ replicas: 1 }))
    const nodeId = cluster.machines[1]!.node!.identity.nodeId
    // Three replicas on three nodes would be in the way.
    await settle(placement(3).startOperator({ kind: 'decommission', nodeId }))
    await settle(placement(3).setSettings({ placementEnabled: false }))
    const other = cluster.machines[2]!.node!.identity.nodeId
    const outcome = await settle(outcomeOf(placement().startOperator({ kind: 'decommission', nodeId: other })))
    expect(outcome).toContain('placementEnabled is off')
  })
})

describe('a replica that is to go', () => {
  it('stays where the others could decide on nothing without it', async () => {
    await settle(placement().setSettings({ placementEnabled: false }))
    const [, second, third] = cluster.machines
    third!.crash('killed')
    await cluster.clock.run(5_000)
    const { nodeId } = second!.node!.identity
    const range = second!.replicas.find(({ descriptor }) => {
      const nodes = descriptor.replicas.map((place) => place.nodeId)
      return descriptor.rangeId !== 1 && nodes.includes(nodeId) && nodes.some((id) => !isUp(id))
    })!.descriptor
    const command = { kind: 'change-replicas', rangeId: range.rangeId, remove: nodeId } as const
    const { operatorId } = await settle(placement().startOperator(command))
    const { state, error } = await settle(placement().awaitOperator(operatorId, 15_000))
    expect([state, error?.code]).toEqual(['failed', 'CONFLICT'])
    expect(error?.detail).toContain('too few voters')
    expect(voters().get(range.rangeId)).toBe(3)
  })
})

describe('a replica that was removed while its machine was away', () => {
  it('is collected when that is back, though everybody whom it remembers has left the range since', async () => {
    await settle(placement(3).setSettings({ placementEnabled: false }))
    const [a, b, c, d] = cluster.machines.map(({ node }) => node!.identity.nodeId)
    const third = cluster.machines[2]!
    const { ranges } = await settle(cluster.machines[3]!.node!.ranges({}))
    const isOnFirstThree = ({ replicas }: (typeof ranges)[number]) => replicas.every(({ nodeId }) => nodeId !== d)
    const { rangeId } = ranges.find((range) => range.rangeId !== 1 && isOnFirstThree(range))!
    const done = async (command: { readonly add?: number; readonly remove?: number }) => {
      const request = { kind: 'change-replicas', rangeId, ...command } as const
      const { operatorId } = await settle(placement(3).startOperator(request))
      const { state, error } = await cluster.settle(placement(3).awaitOperator(operatorId, 60_000), 61_000)
      expect([command, state, error]).toEqual([command, 'done', undefined])
    }
    third.crash('killed')
    await cluster.clock.run(5_000)
    await done({ add: d!, remove: c! })
    await done({ remove: a! })
    await done({ remove: b! })
    third.start()
    const isCollected = () =>
      third.node !== undefined && third.replicas.every(({ descriptor }) => descriptor.rangeId !== rangeId)
    expect(await cluster.clock.runUntil(isCollected, 60_000)).toBe(true)
  })
})

function isUp(nodeId: number): boolean {
  return cluster.nodes().some((node) => node.identity.nodeId === nodeId)
}
