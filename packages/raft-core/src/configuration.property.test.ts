import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type ChangeStep,
  type Configuration,
  changeConfiguration,
  isJoint,
  leaveJoint,
  peersOf,
} from './configuration.js'
import { isQuorum } from './quorum.js'

const ids = [1, 2, 3, 4, 5, 6]
const step = fc.record({
  kind: fc.constantFrom('add-learner', 'promote', 'remove'),
  replicaId: fc.constantFrom(...ids),
}) satisfies fc.Arbitrary<ChangeStep>

/** Everyone's place in a table, and the change as someone would do it by hand. */
function naive(configuration: Configuration, steps: readonly ChangeStep[]): Configuration | string {
  const table = new Map<number, string>()
  for (const id of configuration.voters) table.set(id, 'voter')
  for (const id of configuration.learners) table.set(id, 'learner')
  if (steps.length === 0) return 'empty'
  if (configuration.outgoing.length > 0) return 'joint'
  const before = ids.filter((id) => table.get(id) === 'voter').join()
  for (const [at, { kind, replicaId }] of steps.entries()) {
    if (steps.slice(0, at).some((other) => other.replicaId === replicaId)) return 'repeated'
    const place = table.get(replicaId)
    if (kind === 'add-learner') {
      if (place !== undefined) return 'present'
      table.set(replicaId, 'learner')
    }
    if (kind === 'promote') {
      if (place !== 'learner') return 'no-learner'
      table.set(replicaId, 'voter')
    }
    if (kind === 'remove') {
      if (place === undefined) return 'absent'
      table.delete(replicaId)
    }
  }
  const voters = ids.filter((id) => table.get(id) === 'voter')
  if (voters.length === 0) return 'no-voters'
  const outgoing = voters.join() === before ? [] : [...configuration.voters]
  return { voters, outgoing, learners: ids.filter((id) => table.get(id) === 'learner') }
}

function sorted(configuration: Configuration | string): Configuration | string {
  if (typeof configuration === 'string') return configuration
  const { voters, outgoing, learners } = configuration
  const inOrder = (list: readonly number[]) => [...list].sort((a, b) => a - b)
  return { voters: inOrder(voters), outgoing: inOrder(outgoing), learners: inOrder(learners) }
}

describe('a change of a configuration', () => {
  it('does what one would do by hand, or says why not, from any configuration that changes lead to', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.array(step, { maxLength: 4 }), fc.boolean()), { maxLength: 12 }), (changes) => {
        let configuration: Configuration = { voters: [1, 2, 3], outgoing: [], learners: [] }
        for (const [steps, leaves] of changes) {
          const before = JSON.stringify(configuration)
          const next = changeConfiguration(configuration, steps)
          expect(sorted(next)).toEqual(sorted(naive(configuration, steps)))
          expect(JSON.stringify(configuration)).toBe(before)
          seen.add(typeof next === 'string' ? next : isJoint(next) ? 'changed voters' : 'changed learners')
          if (typeof next !== 'string') configuration = next
          if (leaves) configuration = leaveJoint(configuration)
        }
      }),
      // Chance seldom removes everyone at once.
      {
        numRuns: 1_000,
        examples: [[[[[1, 2, 3].map((replicaId) => ({ kind: 'remove' as const, replicaId })), false]]]],
      },
    )
    expect([...seen].sort()).toEqual([
      'absent',
      'changed learners',
      'changed voters',
      'empty',
      'joint',
      'no-learner',
      'no-voters',
      'present',
      'repeated',
    ])
  })

  it('does so for every change of one or two steps in every configuration of three replicas', () => {
    const three = [1, 2, 3]
    const steps = (['add-learner', 'promote', 'remove'] as const).flatMap((kind) =>
      three.map((replicaId): ChangeStep => ({ kind, replicaId })),
    )
    const changes = [[], ...steps.flatMap((first) => [[first], ...steps.map((second) => [first, second])])]
    // What each replica is, in base four: nothing, a learner, a voter, one that is being left.
    for (let code = 0; code < 4 ** 3; code++) {
      const those = (place: number) => three.filter((_id, at) => Math.floor(code / 4 ** at) % 4 === place)
      const configuration: Configuration = { voters: those(2), outgoing: those(3), learners: those(1) }
      for (const change of changes) {
        const [next, expected] = [changeConfiguration(configuration, change), naive(configuration, change)]
        expect(sorted(next), JSON.stringify({ configuration, change })).toEqual(sorted(expected))
      }
    }
  })

  it('keeps the quorums of before and after from deciding without each other', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 4 }), fc.nat(63), fc.nat(63), (steps, a, b) => {
        const old: Configuration = { voters: [1, 2, 3], outgoing: [], learners: [4, 5] }
        const joint = changeConfiguration(old, steps)
        if (typeof joint === 'string' || !isJoint(joint)) return
        const has = (set: number) => (id: number) => (set & (1 << (id - 1))) !== 0
        const meet = (first: Configuration, second: Configuration) =>
          !isQuorum(first, has(a)) || !isQuorum(second, has(b)) || (a & b) !== 0
        expect(meet(old, joint)).toBe(true)
        expect(meet(joint, leaveJoint(joint))).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })

  it('knows everyone once', () => {
    const configuration = { voters: [1, 2, 3], outgoing: [3, 4], learners: [5] }
    expect(peersOf(configuration, 3)).toEqual([1, 2, 4, 5])
    expect(peersOf(configuration, 9)).toEqual([1, 2, 3, 4, 5])
  })
})
