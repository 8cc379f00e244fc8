import { type ChangeStep, changeConfiguration, isJoint, leaveJoint } from '@cordillera/raft-core'
import type { Descriptor, ReplicaChange } from '@cordillera/ranges'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { changeDescriptor, configurationOf, leaveDescriptor, stepsOf } from './membership.js'

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
