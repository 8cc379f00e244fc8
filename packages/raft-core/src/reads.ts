import { assert, type LogIndex, type ReplicaId } from '@cordillera/base'
import { type GroupState, pushed } from './group-state.js'
import type { HeartbeatReply } from './message.js'
import { READS_WAITING_MAX } from './options.js'
import { committedIndex } from './quorum.js'
import { type Leader, peerOf } from './role.js'

/**
 * Linearizable reads by ReadIndex (thesis 6.4), or at once while a lease is valid (`lease.ts`).
 *
 * Reads asked between two readies share one round. A round gets its number, and its index, only after the reads were
 * asked; every heartbeat from then on carries it, and a peer's answer confirms that the peer still knew this leader
 * after that. It asks a quorum at first, and everyone when it lasts (`sendReadRound`). Rounds are monotonic, so the newest
 * confirmed one is a quorum index like the commit index.
 *
 * A leader without a commit in its own term may not know what is committed (FAILURES #2): its reads wait, in a queue
 * that is bounded. Leadership lost, all are given up.
 */
export class ReadQueue {
  /** Asked, in no round yet. */
  asked: number[] = []
  /** Under way, oldest first. */
  readonly rounds: ReadRound[] = []
  /** The newest round. */
  round = 0
  waitingCount = 0
  /** The round that a voter has confirmed; for the quorum arithmetic. */
  readonly roundOf: (voter: ReplicaId) => number

  constructor(roundOf: (voter: ReplicaId) => number) {
    this.roundOf = roundOf
  }
}

interface ReadRound {
  readonly round: number
  readonly index: LogIndex
  readonly readIds: readonly number[]
}

/** Queues a read, or confirms it at once by the lease; undefined when too many are waiting. */
export function tryAskRead(state: GroupState, leader: Leader): number | undefined {
  const { reads } = leader
  const { outbox, commitIndex } = state
  if (reads.waitingCount + outbox.reads.length >= READS_WAITING_MAX) return undefined
  const readId = state.nextReadId++
  if (mayReadByLease(state, leader)) {
    outbox.reads = pushed(outbox.reads, { readId, index: commitIndex })
    return readId
  }
  reads.asked.push(readId)
  reads.waitingCount++
  return readId
}

/** Whether a read asked now needs no round: nobody can have been elected in a later term, and this one has a commit. */
export function mayReadByLease(state: GroupState, leader: Leader): boolean {
  return state.commitIndex >= leader.termStartIndex && leader.lease?.isValid === true
}

export function hasReadRoundToStart(state: GroupState, leader: Leader): boolean {
  return leader.reads.asked.length > 0 && state.commitIndex >= leader.termStartIndex
}

/** Gives all reads asked so far a round of their own, which leaves with this ready. */
export function startReadRound(state: GroupState, leader: Leader): void {
  const { reads } = leader
  reads.rounds.push({ round: beginRound(leader), index: state.commitIndex, readIds: reads.asked })
  reads.asked = []
  leader.readRoundDue = true
  applyConfirmedRounds(state, leader)
}

/** What leaves from now on carries the number of a new round. */
export function beginRound({ reads, lease }: Leader): number {
  reads.round++
  lease?.onRoundSent(reads.round)
  return reads.round
}

/** The round that a heartbeat may confirm; 0 when no read waits for one. */
export function readRoundUnderWay(leader: Leader): number {
  return leader.reads.rounds.length > 0 ? leader.reads.round : 0
}

export function onReadRoundConfirmed(state: GroupState, leader: Leader, reply: HeartbeatReply): void {
  assert(reply.readRound <= leader.reads.round, 'a confirmed round of reads was begun')
  const peer = peerOf(leader, reply.from)
  if (peer === undefined || reply.readRound <= peer.readRound) return
  peer.readRound = reply.readRound
  applyConfirmedRounds(state, leader)
}

/** Leadership is lost: nothing of what waits can be answered. */
export function dropReads(state: GroupState, leader: Leader): void {
  for (const { readIds } of leader.reads.rounds) giveUp(state, readIds)
  giveUp(state, leader.reads.asked)
}

/** The rounds that a quorum has confirmed answer their reads, and renew the lease. */
export function applyConfirmedRounds(state: GroupState, leader: Leader): void {
  const { reads } = leader
  if (reads.rounds.length === 0 && leader.lease === undefined) return
  const confirmed = committedIndex(state.configuration, reads.roundOf)
  leader.lease?.onRoundsConfirmed(confirmed)
  while (reads.rounds.length > 0 && reads.rounds[0]!.round <= confirmed) {
    const { index, readIds } = reads.rounds.shift()!
    reads.waitingCount -= readIds.length
    for (const readId of readIds) state.outbox.reads = pushed(state.outbox.reads, { readId, index })
  }
}

function giveUp(state: GroupState, readIds: readonly number[]): void {
  for (const readId of readIds) state.outbox.readsDropped = pushed(state.outbox.readsDropped, readId)
}
