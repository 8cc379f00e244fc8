import { assert, type LogIndex, NONE } from '@cordillera/base'
import { isJoint, isVoter } from './configuration.js'
import type { Entry } from './entry.js'
import { type GroupState, pushed } from './group-state.js'
import type { AppendReply, HeartbeatReply, SnapshotRequest } from './message.js'
import type { PeerProgress } from './progress.js'
import { committedIndex } from './quorum.js'
import { beginRound, onReadRoundConfirmed, readRoundUnderWay } from './reads.js'
import { type Leader, peerOf } from './role.js'

/**
 * The leader's half of AppendEntries: what to send to whom, and what is committed.
 *
 * Appends are built when a ready is taken, not when something is proposed: everything proposed since the last ready
 * travels in one message a peer, and peers at the same place share one array of entries. They leave before the leader's
 * own disk has synced them (thesis 10.2.1); its own disk counts towards a quorum only once it has.
 *
 * The commit index rides in appends and heartbeats; no message is sent for its sake alone.
 */

/** Sends to every peer what its window allows. */
export function sendAppends(state: GroupState, leader: Leader): void {
  const batch: SharedBatch = { from: 0, entries: noEntries, bytes: 0 }
  for (const peer of leader.peers) while (trySendAppend(state, peer, batch));
}

/** The entries last cut out of the log, for peers that go on at the same place. */
interface SharedBatch {
  from: LogIndex
  entries: readonly Entry[]
  bytes: number
}

/** Returns whether another message may follow at once. */
function trySendAppend(state: GroupState, peer: PeerProgress, batch: SharedBatch): boolean {
  const { inflightMessagesMax, inflightBytesMax } = state.options
  if (peer.state === 'snapshot') return false
  const isProbe = peer.state === 'probe'
  if (isProbe && peer.paused) return false
  const from = peer.nextIndex
  const mayCarry = from <= state.log.lastIndex && !peer.inflights.isFull(inflightMessagesMax, inflightBytesMax)
  if (!mayCarry && !isProbe && !peer.prodded) return false

  const prevIndex = from - 1
  const prevTerm = state.log.termAt(prevIndex)
  if (prevTerm === undefined) {
    wantSnapshot(state, peer)
    return false
  }
  if (mayCarry && !readBatch(state, peer, batch, from)) return false
  const entries = mayCarry ? batch.entries : noEntries
  peer.prodded = false
  state.send({
    kind: 'append-request',
    from: state.id,
    to: peer.id,
    term: state.term,
    prevIndex,
    prevTerm,
    commitIndex: state.commitIndex,
    entries,
  })
  if (isProbe) {
    peer.paused = true
    return false
  }
  if (entries.length === 0) return false
  peer.nextIndex = entries[entries.length - 1]!.index + 1
  peer.inflights.add(peer.nextIndex - 1, batch.bytes)
  return true
}

/** Reads what follows from `from` on into `batch`; false when it has to be loaded first. */
function readBatch(state: GroupState, peer: PeerProgress, batch: SharedBatch, from: LogIndex): boolean {
  if (batch.from === from) return true
  const { log, outbox } = state
  const { appendBytesMax } = state.options
  const entries = log.slice(from, log.lastIndex, appendBytesMax)
  if (entries === undefined) {
    // The replica's own load goes first, then that of a peer that did not have the last one.
    if (outbox.load === undefined || (outbox.loadPeer !== NONE && outbox.loadPeer === outbox.lastLoadPeer)) {
      outbox.load = { from, to: log.handedIndex, bytesMax: appendBytesMax }
      outbox.loadPeer = peer.id
    }
    return false
  }
  assert(entries.length > 0 && entries[0]!.index === from, 'the log returns what was asked for')
  batch.from = from
  batch.entries = entries
  batch.bytes = 0
  for (let i = 0; i < entries.length; i++) batch.bytes += entries[i]!.bytes.length
  return true
}

export function onAppendReply(state: GroupState, leader: Leader, reply: AppendReply): void {
  const peer = peerOf(leader, reply.from)
  if (peer === undefined) return
  peer.recentlyActive = true
  const isFirst = hear(leader, peer)
  if (!reply.accepted) {
    // Of the follower's last term at or below the hint, skip all that this log has of later terms: one round a term.
    const { hintIndex, hintTerm } = reply
    const hint = hintTerm > 0 ? state.log.findByTerm(hintIndex, hintTerm) : hintIndex
    if (peer.onRejected(reply.index, hint)) leader.replicationDue = true
    return
  }
  assert(reply.index <= state.log.lastIndex, 'an answer that shows a later leader was sorted out')
  if (peer.state === 'snapshot' && state.log.termAt(reply.index) === undefined) {
    // Said before it had the snapshot, or of one that the log has left behind meanwhile.
    return
  }
  const isNews = peer.onAccepted(reply.index)
  if (peer.nextIndex <= state.log.lastIndex) leader.replicationDue = true
  if (isNews) advanceCommit(state, leader)
  if (isNews || isFirst) continueTransfer(state, leader, peer)
}

/** The log cannot serve this peer, as far as is known; only heartbeats reach it until it has a snapshot. */
export function wantSnapshot(state: GroupState, peer: PeerProgress): void {
  if (peer.state === 'snapshot') return
  peer.becomeSnapshot()
  state.outbox.snapshots = pushed(state.outbox.snapshots, peer.id)
}

/** A peer that holds nothing of the group wants a snapshot. Late ones, of a peer that has something, do nothing. */
export function onSnapshotRequest(state: GroupState, leader: Leader, request: SnapshotRequest): void {
  const peer = peerOf(leader, request.from)
  if (peer === undefined) return
  peer.recentlyActive = true
  if (peer.matchIndex === 0) wantSnapshot(state, peer)
}

export function onHeartbeatReply(state: GroupState, leader: Leader, reply: HeartbeatReply): void {
  const peer = peerOf(leader, reply.from)
  if (peer === undefined) return
  peer.recentlyActive = true
  peer.paused = false
  if (peer.state === 'probe' || peer.matchIndex < state.log.lastIndex) {
    // Should appends or their answers be lost, this one finds out, even when the window is full.
    peer.prodded = true
    leader.replicationDue = true
  }
  onReadRoundConfirmed(state, leader, reply)
}

/** Commits what a quorum holds durably, by counting entries of this term only (figure 8, paper 5.4.2). */
export function advanceCommit(state: GroupState, leader: Leader): void {
  const index = committedIndex(state.configuration, leader.matchOf)
  if (index > state.commitIndex && index >= leader.termStartIndex) state.commitIndex = index
}

export function sendHeartbeats(state: GroupState, leader: Leader, quiesce: boolean): void {
  leader.heartbeatDue = false
  leader.readRoundDue = false
  leader.heartbeatElapsedTicks = 0
  // A lease is renewed whether or not a read waits, but for a rest.
  const readRound = leader.lease === undefined || quiesce ? readRoundUnderWay(leader) : beginRound(leader)
  for (const peer of leader.peers) sendHeartbeat(state, peer, readRound, quiesce)
}

/**
 * Asks no more peers for the newest round of reads than make a quorum with the leader: those that confirmed the newest
 * rounds before, and among equals those that follow the leader in the ring of ids, so that the nodes of a cluster share the
 * work. Should one not answer, the next tick asks everyone; so does a joint configuration.
 */
export function sendReadRound(state: GroupState, leader: Leader): void {
  leader.readRoundDue = false
  const readRound = readRoundUnderWay(leader)
  if (readRound === 0) return
  const { peers } = leader
  const { voters } = state.configuration
  const needed = isJoint(state.configuration) ? peers.length : Math.min(voters.length >>> 1, peers.length)
  const behind = peers.findIndex(({ id }) => id > state.id)
  for (let asked = 0; asked < needed; asked++) {
    let best: PeerProgress | undefined
    for (let i = 0; i < peers.length; i++) {
      const peer = peers[(Math.max(behind, 0) + i) % peers.length]!
      if (peer.askedRound === readRound || !isVoter(state.configuration, peer.id)) continue
      if (best === undefined || peer.readRound > best.readRound) best = peer
    }
    if (best === undefined) return
    best.askedRound = readRound
    sendHeartbeat(state, best, readRound, false)
  }
}

function sendHeartbeat(state: GroupState, peer: PeerProgress, readRound: number, quiesce: boolean): void {
  state.send({
    kind: 'heartbeat',
    from: state.id,
    to: peer.id,
    term: state.term,
    // Beyond its match the peer's log may be another's.
    commitIndex: Math.min(peer.matchIndex, state.commitIndex),
    readRound,
    quiesce,
  })
}

/** True for the first answer of the one that takes over. */
function hear({ transfer }: Leader, { id }: PeerProgress): boolean {
  if (transfer?.to !== id || transfer.isHeard) return false
  transfer.isHeard = true
  return true
}

/** Tells the next leader to campaign once it has the whole log (thesis 3.10). */
function continueTransfer(state: GroupState, leader: Leader, peer: PeerProgress): void {
  if (leader.transfer?.to !== peer.id || peer.matchIndex < state.log.lastIndex) return
  leader.lease?.forfeit()
  state.send({ kind: 'timeout-now', from: state.id, to: peer.id, term: state.term })
}

const noEntries: readonly Entry[] = []
