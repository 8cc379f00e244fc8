import type { ReplicaId } from '@cordillera/base'

/**
 * Who is in a group, and how that changes (thesis, chapter 4).
 *
 * Joint when `outgoing` is not empty: then every decision needs a majority of `voters` and a majority of `outgoing`
 * (4.3). Learners are sent everything and decide nothing (4.2.1). No id twice in one list; a learner is in neither half.
 * Immutable; a change is another object.
 */
export interface Configuration {
  readonly voters: readonly ReplicaId[]
  /** The voters of the configuration that is being left; empty outside of a joint configuration. */
  readonly outgoing: readonly ReplicaId[]
  readonly learners: readonly ReplicaId[]
}

/** What is done to one replica. One that is removed is gone for good: ids are never used again. */
export interface ChangeStep {
  readonly kind: 'add-learner' | 'promote' | 'remove'
  readonly replicaId: ReplicaId
}

/**
 * Why a change makes no sense:
 *
 * - `empty`: there is nothing in it,
 * - `joint`: the configuration must be left first,
 * - `repeated`: a replica is named twice,
 * - `present`: one that is to be added is there,
 * - `absent`: one that is to be removed is not,
 * - `no-learner`: one that is to be promoted is none,
 * - `no-voters`: nobody would be left to decide anything.
 */
export type ChangeError = 'empty' | 'joint' | 'repeated' | 'present' | 'absent' | 'no-learner' | 'no-voters'

/**
 * The configuration after all `steps` at once. It is joint when the set of voters changes, also by one: no argument about
 * single changes is needed then (thesis 4.1 and the defect in it that raft-dev found in 2015).
 */
export function changeConfiguration(
  configuration: Configuration,
  steps: readonly ChangeStep[],
): Configuration | ChangeError {
  const { voters, learners } = configuration
  if (steps.length === 0) return 'empty'
  if (isJoint(configuration)) return 'joint'
  const nextVoters = new Set(voters)
  const nextLearners = new Set(learners)
  const named = new Set<ReplicaId>()
  for (const { kind, replicaId } of steps) {
    if (named.has(replicaId)) return 'repeated'
    named.add(replicaId)
    if (kind === 'add-learner') {
      if (nextVoters.has(replicaId) || nextLearners.has(replicaId)) return 'present'
      nextLearners.add(replicaId)
    } else if (kind === 'promote') {
      if (!nextLearners.delete(replicaId)) return 'no-learner'
      nextVoters.add(replicaId)
    } else if (!nextVoters.delete(replicaId) && !nextLearners.delete(replicaId)) return 'absent'
  }
  if (nextVoters.size === 0) return 'no-voters'
  const changesVoters = nextVoters.size !== voters.length || voters.some((id) => !nextVoters.has(id))
  return { voters: [...nextVoters], outgoing: changesVoters ? voters : [], learners: [...nextLearners] }
}

/** The configuration behind a joint one. */
export function leaveJoint({ voters, learners }: Configuration): Configuration {
  return { voters, outgoing: [], learners }
}

export function isVoter(configuration: Configuration, replicaId: ReplicaId): boolean {
  return configuration.voters.includes(replicaId) || configuration.outgoing.includes(replicaId)
}

export function isJoint(configuration: Configuration): boolean {
  return configuration.outgoing.length > 0
}

/** Everyone but `self`, each once: voters first, in the order given, learners last. */
export function peersOf({ voters, outgoing, learners }: Configuration, self: ReplicaId): ReplicaId[] {
  const peers = new Set([...voters, ...outgoing, ...learners])
  peers.delete(self)
  return [...peers]
}
