import type { ReplicaId } from '@cordillera/base'

/**
 * Who votes in a group. Joint when `outgoing` is not empty: then every decision needs a majority of `voters` and a
 * majority of `outgoing` (thesis 4.3). No id twice in one half. Immutable; a change is another object.
 */
export interface Configuration {
  readonly voters: readonly ReplicaId[]
  /** The voters of the configuration that is being left; empty outside of a joint configuration. */
  readonly outgoing: readonly ReplicaId[]
}

export function isVoter(configuration: Configuration, replicaId: ReplicaId): boolean {
  return configuration.voters.includes(replicaId) || configuration.outgoing.includes(replicaId)
}

export function isJoint(configuration: Configuration): boolean {
  return configuration.outgoing.length > 0
}

/** Everyone in either half but `self`, each once: voters first, in the order given. */
export function peersOf(configuration: Configuration, self: ReplicaId): ReplicaId[] {
  const peers: ReplicaId[] = []
  for (const id of configuration.voters) if (id !== self) peers.push(id)
  for (const id of configuration.outgoing) if (id !== self && !peers.includes(id)) peers.push(id)
  return peers
}
