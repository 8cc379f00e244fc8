import type { NodeId, RangeId, ReplicaId } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'

/**
 * Requests for the vote of a replica that is not here yet: the right half of a range that other stores have cut already. They
 * get no answer before it is cut here as well; then the last one of each is answered, and the new range has its leader without
 * another election. Raft bears it that a message comes late, or never: the oldest ones give way.
 */
export interface EarlyVote {
  readonly from: NodeId
  readonly rangeId: RangeId
  readonly message: Message
}

const EARLY_MAX = 1_024

export class EarlyVotes {
  readonly #byReplica = new Map<ReplicaId, EarlyVote>()

  /** Whether there was an earlier one: then the first election has come to nothing. */
  add(vote: EarlyVote): boolean {
    const { to } = vote.message
    const isAgain = this.#byReplica.delete(to)
    this.#byReplica.set(to, vote)
    if (this.#byReplica.size > EARLY_MAX) {
      const [oldest] = this.#byReplica.keys()
      this.#byReplica.delete(oldest!)
    }
    return isAgain
  }

  /** The one for a replica that is here from now on. */
  take(replicaId: ReplicaId): EarlyVote | undefined {
    const vote = this.#byReplica.get(replicaId)
    this.#byReplica.delete(replicaId)
    return vote
  }
}
