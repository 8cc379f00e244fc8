import { type ChangeStep, changeConfiguration, isJoint, leaveJoint } from '@cordillera/raft-core'
import type { Descriptor, ReplicaChange } from '@cordillera/ranges'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { changeDescriptor, configurationOf, isSurelyRemoved, leaveDescriptor, stepsOf } from './membership.js'

const first: Descriptor = {
  rangeId: 7,
  start: 'a',
  end: null,
  epoch: { version: 3, confVersion: 1 },
  replicas: [1, 2, 3].map((id) => ({ replicaId: id, nodeId: id, type: 'voter' })),
}

const step = fc.record({
  kind: fc.constantFrom<ChangeStep['kind'][]>('add-learner', 'promote', 'remove'),
  replicaId: fc.integer({ min: 1, max: 6 }),
})

function sorted(ids: readonly number[]): number[] {
  return [...ids].sort((a, b) => a - b)
}

it('a descriptor changes as its configuration does, each place where it was, each change a version', () => {
  let joint = 0
  fc.assert(
    fc.property(fc.array(fc.array(step, { maxLength: 4 }), { maxLength: 10 }), (all) => {
      let descriptor = first
      let configuration = configurationOf(first)
      let nodes = new Map(first.replicas.map(({ replicaId, nodeId }) => [replicaId, nodeId]))
      let confVersion = 1
      const check = (): void => {
        const { voters, outgoing, learners } = configurationOf(descriptor)
        expect(sorted(voters)).toEqual(sorted(configuration.voters))
        expect(sorted(outgoing)).toEqual(sorted(configuration.outgoing))
        expect(sorted(learners)).toEqual(sorted(configuration.learners))
        for (const { replicaId, nodeId } of descriptor.replicas) expect(nodeId).toBe(nodes.get(replicaId))
        expect(descriptor.epoch).toEqual({ version: 3, confVersion })
      }
      check()
      for (const [round, steps] of all.entries()) {
        const next = changeConfiguration(configuration, steps)
        if (typeof next === 'string') continue
        const changes = steps.map((one): ReplicaChange => ({ ...one, nodeId: 10 * round + one.replicaId }))
        expect(stepsOf(changes)).toEqual(steps)
        for (const { kind, replicaId, nodeId } of changes) if (kind === 'add-learner') nodes.set(replicaId, nodeId)
        descriptor = changeDescriptor(descriptor, changes)
        configuration = next
        confVersion++
        check()
        if (!isJoint(configuration)) continue
        joint++
        descriptor = leaveDescriptor(descriptor)
        configuration = leaveJoint(configuration)
        confVersion++
        check()
        expect(leaveDescriptor(descriptor)).toBe(descriptor)
        nodes = new Map(descriptor.replicas.map(({ replicaId, nodeId }) => [replicaId, nodeId]))
      }
    }),
    { numRuns: 1_000, seed: 3 },
  )
  expect(joint).toBeGreaterThan(100)
})

describe('a replica is surely removed', () => {
  const before = first
  const joint = changeDescriptor(changeDescriptor(before, [{ kind: 'add-learner', replicaId: 4, nodeId: 4 }]), [
    { kind: 'promote', replicaId: 4, nodeId: 4 },
    { kind: 'remove', replicaId: 3, nodeId: 3 },
  ])
  const after = leaveDescriptor(joint)
  const say = (descriptor: Descriptor, ...replicaIds: number[]) =>
    replicaIds.map((replicaId) => ({ replicaId, descriptor }))

  it('when a quorum of those who remain knows it', () => {
    expect(isSurelyRemoved(3, [...say(before, 3), ...say(after, 1, 4)])).toBe(true)
    expect(isSurelyRemoved(3, [...say(after, 3), ...say(after, 1, 2)])).toBe(true)
  })

  it('and neither on its own word or a single one’s, nor while it may be needed, nor when nobody tells', () => {
    expect(isSurelyRemoved(3, say(after, 3))).toBe(false)
    expect(isSurelyRemoved(3, [...say(after, 3), ...say(after, 1), ...say(joint, 2, 4)])).toBe(false)
    expect(isSurelyRemoved(3, [...say(joint, 3), ...say(joint, 1, 2, 4)])).toBe(false)
    expect(isSurelyRemoved(1, [...say(before, 1), ...say(after, 1, 2, 4)])).toBe(false)
    expect(isSurelyRemoved(3, [])).toBe(false)
  })

  it('and not by those who have not heard of it yet', () => {
    const [own] = say(after, 4)
    expect(isSurelyRemoved(4, [own!, ...say(before, 1, 2, 3)])).toBe(false)
  })
})
