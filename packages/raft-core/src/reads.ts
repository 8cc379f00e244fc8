import { assert, type LogIndex, type ReplicaId } from '@cordillera/base'
import { type GroupState, pushed } from './group-state.js'
import type { HeartbeatReply } from './message.js'
import { READS_WAITING_MAX } from './options.js'
import { committedIndex } from './quorum.js'
import { type Leader, peerOf } from './role.js'

/**
 * Linearizable reads by ReadIndex (thesis 6.4).
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

/** Queues a read; undefined when too many are waiting. */
export function tryAskRead(state: GroupState, leader: Leader): number | undefined {
  const { reads } = leader
  if (reads.waitingCount >= READS_WAITING_MAX) return undefined
  const readId = state.nextReadId++
  reads.asked.push(readId)
  reads.waitingCount++
  return readId
}

export function hasReadRoundToStart(state: GroupState, leader: Leader): boolean {
  return leader.reads.asked.length > 0 && state.commitIndex >= leader.termStartIndex
}

/** Gives all reads asked so far a round of their own, which leaves with this ready. */
export function startReadRound(state: GroupState, leader: Leader): void {
  const { reads } = leader
  reads.round++
  reads.rounds.push({ round: reads.round, index: state.commitIndex, readIds: reads.asked })
  reads.asked = []
  leader.readRoundDue = true
  releaseConfirmedReads(state, leader)
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
  releaseConfirmedReads(state, leader)
}

/** Leadership is lost: nothing of what waits can be answered. */
export function dropReads(state: GroupState, leader: Leader): void {
  for (const { readIds } of leader.reads.rounds) giveUp(state, readIds)
  giveUp(state, leader.reads.asked)
}

export function releaseConfirmedReads(state: GroupState, leader: Leader): void {
  const { reads } = leader
  if (reads.rounds.length === 0) return
  const confirmed = committedIndex(state.configuration, reads.roundOf)
  while (reads.rounds.length > 0 && reads.rounds[0]!.round <= confirmed) {
    const { index, readIds } = reads.rounds.shift()!
    reads.waitingCount -= readIds.length
    for (const readId of readIds) state.outbox.reads = pushed(state.outbox.reads, { readId, index })
  }
}

function giveUp(state: GroupState, readIds: readonly number[]): void {
  for (const readId of readIds) state.outbox.readsDropped = pushed(state.outbox.readsDropped, readId)
}
