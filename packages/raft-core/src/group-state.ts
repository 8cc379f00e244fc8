import { type LogIndex, NONE, type ReplicaId, type Term } from '@cordillera/base'
import type { Configuration } from './configuration.js'
import { LeaseGrant } from './lease.js'
import type { Message } from './message.js'
import type { RaftOptions } from './options.js'
import type { Ready } from './ready.js'
import type { Role } from './role.js'
import { UnstableLog } from './unstable-log.js'

/**
 * The memory of one group: figure 2's state, timers, and what waits for the next ready.
 *
 * Elections, replication, reads and the assembly of readies are functions over it, one file each; only `RaftGroup`
 * holds one, so nothing outside of this package sees it.
 */
export class GroupState {
  readonly options: RaftOptions
  readonly id: ReplicaId
  readonly log: UnstableLog
  /** As of the applied index: entries change it when they are applied, not before. */
  configuration: Configuration
  role: Role = { kind: 'follower', leader: NONE }
  term: Term
  vote: ReplicaId
  commitIndex: LogIndex
  /** The end of what was handed out as committed; `appliedIndex <= deliveredIndex <= commitIndex`. */
  deliveredIndex: LogIndex
  appliedIndex: LogIndex
  /** Bytes delivered and not known to be applied; counted down only when all of it is. */
  applyingBytes = 0

  /** For a leader: since the last check of its quorum. For others: since the leader was heard or an election began. */
  electionElapsedTicks = 0
  /** When, on that count, a replica that does not lead campaigns; random, drawn anew with every start of the count. */
  electionDueTicks = 0
  /** Beyond that. */
  campaignDelayTicks = 0
  readonly checksQuorum: boolean
  /** Present exactly when lease reads are on. */
  readonly leaseGrant: LeaseGrant | undefined
  quiescent = false
  /** A snapshot is being installed: nothing is delivered, and no election begun. */
  isRestoring = false

  /** Ids of reads, never used twice by this object. */
  nextReadId = 1
  readonly outbox = new Outbox()

  constructor(options: RaftOptions) {
    this.options = options
    this.id = options.replicaId
    this.log = new UnstableLog(options.log)
    this.configuration = options.configuration
    this.term = options.hardState.term
    this.vote = options.hardState.vote
    this.appliedIndex = options.appliedIndex
    this.deliveredIndex = options.appliedIndex
    this.commitIndex = Math.max(options.hardState.commitIndex, options.appliedIndex)
    this.outbox.writtenTerm = this.term
    this.outbox.writtenVote = this.vote
    this.outbox.writtenCommit = options.hardState.commitIndex
    this.outbox.shownTerm = this.term
    this.checksQuorum = options.checkQuorum ?? true
    this.leaseGrant = options.lease && new LeaseGrant(options.lease)
    this.restartElectionTimer()
  }

  /** The known leader of this term; 0 for none. */
  get leader(): ReplicaId {
    const { role } = this
    if (role.kind === 'leader') return this.id
    return role.kind === 'follower' ? role.leader : NONE
  }

  restartElectionTimer(): void {
    const { electionTimeoutTicks, random } = this.options
    this.electionElapsedTicks = 0
    this.electionDueTicks = electionTimeoutTicks + random.below(electionTimeoutTicks)
  }

  send(message: Message): void {
    this.outbox.messages = pushed(this.outbox.messages, message)
  }

  /** For what must not be said before everything that was accepted so far is durable. */
  sendAfterSync(message: Message): void {
    this.outbox.messagesAfterSync = pushed(this.outbox.messagesAfterSync, message)
  }
}

/** What waits for the next ready, and what the last ones said. Its lists are the shared empty one while empty. */
export class Outbox {
  messages: Message[] = noMessages
  messagesAfterSync: Message[] = noMessages
  reads: ConfirmedRead[] = noReads
  readsDropped: number[] = noReadIds
  /** Peers that want a snapshot. */
  snapshots: ReplicaId[] = noReplicas
  /** Wanted by this ready; only one load is under way at a time. */
  load: Ready['load']
  /** The peer that the wanted load is for, and the one that had the last; 0 for the replica itself, which goes first. */
  loadPeer: ReplicaId = NONE
  lastLoadPeer: ReplicaId = NONE
  loadUnderWay = false
  /** Committed entries are not in memory: nothing is delivered before `onLoaded`. */
  applyWaitsForLoad = false
  lastSyncToken = 0
  /** The hard state as the host was last given it. */
  writtenTerm: Term = 0
  writtenVote: ReplicaId = NONE
  writtenCommit: LogIndex = 0
  /** The role as the host was last told it. */
  shownRole: Role['kind'] = 'follower'
  shownTerm: Term = 0
  shownLeader: ReplicaId = NONE
}

export interface ConfirmedRead {
  readonly readId: number
  readonly index: LogIndex
}

/** Appends to a list that may be the shared empty one. */
export function pushed<T>(list: T[], item: T): T[] {
  if (list.length === 0) return [item]
  list.push(item)
  return list
}

export const noMessages: Message[] = []
export const noReads: ConfirmedRead[] = []
export const noReadIds: number[] = []
export const noReplicas: ReplicaId[] = []
