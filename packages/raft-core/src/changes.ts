import { assert, NONE, type ReplicaId } from '@cordillera/base'
import {
  type ChangeError,
  type ChangeStep,
  type Configuration,
  changeConfiguration,
  isJoint,
  isVoter,
  peersOf,
} from './configuration.js'
import { becomeFollower } from './elections.js'
import { ENTRY_HEADER_BYTES, EntryType, sealEntry } from './entry.js'
import type { GroupState } from './group-state.js'
import { PeerProgress } from './progress.js'
import { applyConfirmedRounds } from './reads.js'
import { advanceCommit, wantSnapshot } from './replication.js'
import { type Leader, peerOf } from './role.js'

/**
 * Changes of the configuration: an entry each, in force from the moment it is *applied* (as in etcd, not as in the thesis,
 * where it is in force once appended). Why no two leaders of a term can be elected by different configurations all the
 * same: let C0, C1, C2 … be the configurations in the order of the log. Of two neighbours one is joint and has the other's
 * voters for a half, or both have the same voters: their quorums meet.
 *
 * 1. A change is proposed only when its leader has applied the one before, and something of its own term. So when C(k+1)'s
 *    entry is committed, C(k)'s was, and every follower that has C(k+1)'s entry has learnt, in the message that brought it,
 *    that C(k)'s is committed; both are on its disk in one write.
 * 2. A candidate has applied every change that it knows to be committed (`mayCampaign`). So one that has C(k+1)'s entry
 *    campaigns in C(k) at least.
 * 3. Say A wins a term in C(i), and B in C(i+2) or a later one. B has applied C(i+2), so its entry was committed in an
 *    earlier term, by a quorum of C(i+1). One of that quorum is in A's, and gave A its vote after it had the entry: so A has
 *    it too, and campaigned in C(i+1) at least, by 2.
 *
 * So those who can win in one term are in the same configuration or in neighbours.
 */

export type ChangeRefusal = ChangeError | 'change-pending' | 'not-ready' | 'not-caught-up'

/**
 * Why `steps` must not be proposed now; undefined when they may be. `change-pending`: an earlier one has not applied here,
 * or its joint configuration has not been left. `not-ready`: nothing of this term has applied here (Ongaro, raft-dev 2015).
 * `not-caught-up`: one that is to be promoted does not follow the log yet.
 */
export function refusalOf(state: GroupState, leader: Leader, steps: readonly ChangeStep[]): ChangeRefusal | undefined {
  const { configuration, appliedIndex } = state
  if (appliedIndex < leader.lastChangeIndex)
    return appliedIndex < leader.termStartIndex ? 'not-ready' : 'change-pending'
  if (isJoint(configuration)) return 'change-pending'
  const next = changeConfiguration(configuration, steps)
  if (typeof next === 'string') return next
  const lags = ({ kind, replicaId }: ChangeStep) =>
    kind === 'promote' && peerOf(leader, replicaId)?.state !== 'replicate'
  return steps.some(lags) ? 'not-caught-up' : undefined
}

/** An entry was applied that makes `configuration` the present one. */
export function onConfiguration(state: GroupState, configuration: Configuration): void {
  const { role } = state
  state.configuration = configuration
  if (role.kind === 'leader') {
    if (isVoter(configuration, state.id)) regroup(state, role)
    else resign(state, role)
  } else if (role.kind !== 'follower') becomeFollower(state, state.term, NONE)
}

/**
 * After entries were applied: the leader that finds itself in a joint configuration leaves it, whoever began it
 * (thesis 4.3; FAILURES #4).
 */
export function leaveWhenJoint(state: GroupState, leader: Leader): void {
  if (!isJoint(state.configuration) || state.appliedIndex < leader.lastChangeIndex) return
  const index = state.log.lastIndex + 1
  state.log.append(sealEntry(state.term, index, EntryType.leave, new Uint8Array(ENTRY_HEADER_BYTES)))
  leader.lastChangeIndex = index
  leader.uncommittedBytes += ENTRY_HEADER_BYTES
  leader.replicationDue = true
}

/** Those who are new have nothing, and are sent a snapshot first; of the others everything is still known. */
function regroup(state: GroupState, leader: Leader): void {
  const { configuration, id, log } = state
  const before = leader.peers
  leader.peers = peersOf(configuration, id).map((peer) => peerOf(leader, peer) ?? newPeer(peer, log.lastIndex + 1))
  for (const peer of leader.peers) if (!before.includes(peer)) wantSnapshot(state, peer)
  if (leader.transfer !== undefined && !configuration.voters.includes(leader.transfer.to)) leader.transfer = undefined
  leader.replicationDue = true
  leader.lease?.revoke()
  // Fewer may be enough now.
  advanceCommit(state, leader)
  applyConfirmedRounds(state, leader)
}

function newPeer(id: ReplicaId, nextIndex: number): PeerProgress {
  const peer = new PeerProgress(id, nextIndex)
  // As if it had been heard: one that has just come is not the reason to step down.
  peer.recentlyActive = true
  return peer
}

/** The leader is no voter any more (thesis 4.2.2): whoever has most of its log takes over at once. */
function resign(state: GroupState, leader: Leader): void {
  const { id: from, term, configuration } = state
  let heir: PeerProgress | undefined
  for (const peer of leader.peers) {
    if (!configuration.voters.includes(peer.id)) continue
    if (heir === undefined || peer.matchIndex > heir.matchIndex) heir = peer
  }
  assert(heir !== undefined, 'someone is left')
  state.send({ kind: 'timeout-now', from, to: heir.id, term })
  becomeFollower(state, term, NONE)
}
