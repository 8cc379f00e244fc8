import type { LogIndex, ReplicaId } from '@cordillera/base'
import type { Configuration } from './configuration.js'

/**
 * Quorum arithmetic, joint from the start: a joint configuration decides when both halves do (thesis 4.3).
 *
 * Pure; nothing is allocated, because the first function runs on every append reply. Counting is quadratic in the
 * number of voters, which is at most a handful. An empty half never stands in the way of the other; a configuration
 * without any voter decides nothing: it commits nothing and elects nobody.
 */

/** The two halves; the second is empty outside of a joint configuration. */
type Voters = Pick<Configuration, 'voters' | 'outgoing'>

/**
 * The highest index that a quorum has reached, given the index that each voter has reached. Also counts rounds of
 * reads, which are monotonic in the same way.
 */
export function committedIndex(configuration: Voters, matchOf: (voter: ReplicaId) => LogIndex): LogIndex {
  const { voters, outgoing } = configuration
  if (voters.length === 0) return outgoing.length === 0 ? 0 : majorityIndex(outgoing, matchOf)
  const incoming = majorityIndex(voters, matchOf)
  return outgoing.length === 0 ? incoming : Math.min(incoming, majorityIndex(outgoing, matchOf))
}

export type VoteResult = 'won' | 'lost' | 'pending'

/** The state of an election. `lost`: the voters who have not answered yet cannot turn it any more. */
export function voteResult(configuration: Voters, votes: ReadonlyMap<ReplicaId, boolean>): VoteResult {
  const { voters, outgoing } = configuration
  if (voters.length === 0 && outgoing.length === 0) return 'lost'
  const incoming = majorityVote(voters, votes)
  const leaving = majorityVote(outgoing, votes)
  if (incoming === 'lost' || leaving === 'lost') return 'lost'
  return incoming === 'won' && leaving === 'won' ? 'won' : 'pending'
}

/** Whether those for whom `holds` is true are a quorum. */
export function isQuorum(configuration: Voters, holds: (voter: ReplicaId) => boolean): boolean {
  const { voters, outgoing } = configuration
  if (voters.length === 0 && outgoing.length === 0) return false
  return isMajority(voters, holds) && isMajority(outgoing, holds)
}

function majorityIndex(voters: readonly ReplicaId[], matchOf: (voter: ReplicaId) => LogIndex): LogIndex {
  const needed = (voters.length >>> 1) + 1
  let best = 0
  for (let i = 0; i < voters.length; i++) {
    const candidate = matchOf(voters[i]!)
    if (candidate <= best) continue
    let reached = 0
    for (let j = 0; j < voters.length; j++) if (matchOf(voters[j]!) >= candidate) reached++
    if (reached >= needed) best = candidate
  }
  return best
}

function majorityVote(voters: readonly ReplicaId[], votes: ReadonlyMap<ReplicaId, boolean>): VoteResult {
  if (voters.length === 0) return 'won'
  const needed = (voters.length >>> 1) + 1
  let granted = 0
  let missing = 0
  for (const voter of voters) {
    const vote = votes.get(voter)
    if (vote === undefined) missing++
    else if (vote) granted++
  }
  if (granted >= needed) return 'won'
  return granted + missing >= needed ? 'pending' : 'lost'
}

function isMajority(voters: readonly ReplicaId[], holds: (voter: ReplicaId) => boolean): boolean {
  let count = 0
  for (const voter of voters) if (holds(voter)) count++
  return count * 2 > voters.length || voters.length === 0
}
