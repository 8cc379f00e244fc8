import type { LogIndex, ReplicaId, Term } from '@cordillera/base'
import { type Entry, entryPayload } from '../entry.js'
import type { Message } from '../message.js'
import { isQuorum } from '../quorum.js'
import type { Ready } from '../ready.js'
import type { VirtualReplica } from './virtual-replica.js'

/**
 * What must hold at every step of a cluster (paper, figure 3, and the durability rules), seen from outside of it.
 *
 * Throws an error that names the property. It remembers everything that was ever written, so that a property that is
 * broken between two replicas that never met is found as well.
 */
export class Invariants {
  readonly #leaders = new Map<Term, ReplicaId>()
  #newestTerm: Term = 0
  /** Every entry ever seen: by `index:term`, its payload and the term before it. */
  readonly #entries = new Map<string, string>()
  /** What each leader of a term had in its log, index to term. */
  readonly #leaderLogs = new Map<Term, Map<LogIndex, Term>>()
  /** Everything that some replica knew to be committed. */
  readonly #committed: Committed[] = []

  /** The highest index that any replica has known to be committed. */
  get committedIndex(): LogIndex {
    return this.#committed.length
  }

  get leaderCount(): number {
    return this.#leaders.size
  }

  /** The term and payload at each committed index, in order. */
  get committed(): readonly Committed[] {
    return this.#committed
  }

  /** After the replica wrote and applied what is in `ready`; `lastIndexBefore` is the log's end before that. */
  onReady(replica: VirtualReplica, ready: Ready, lastIndexBefore: LogIndex): void {
    const { group, log } = replica
    for (const entry of ready.entries) this.#logMatching(log.termAt(entry.index - 1)!, entry)
    if (ready.roleChange?.role === 'leader') this.#onElected(replica, ready.roleChange.term)
    else if (group.role === 'leader' && ready.entries.length > 0) {
      if (ready.entries[0]!.index <= lastIndexBefore) fail('leader append-only', replica)
    }
    for (const { index, term } of ready.entries) {
      // Also of one that has just resigned, by what this ready applied.
      if (this.#leaders.get(term) === replica.id) this.#leaderLogs.get(term)!.set(index, term)
    }
    for (const entry of ready.committed) {
      if (log.durableTermAt(entry.index) !== entry.term) fail('an entry is durable here before it is applied', replica)
      const known = this.#committed[entry.index - 1]
      if (known?.term !== entry.term || known.payload !== payloadOf(entry)) fail('state machine safety', replica)
    }
  }

  /** A leader's commit index rose while it led: only entries of its own term are committed by counting (figure 8). */
  onLeaderCommit(replica: VirtualReplica): void {
    const { group, log } = replica
    if (log.termAt(group.commitIndex) !== group.term) fail('commit by counting the own term only', replica)
  }

  /** After any step of a replica: what it knows to be committed is the same everywhere and durable on a quorum. */
  onCommit(replica: VirtualReplica, replicas: readonly VirtualReplica[]): void {
    const { log, group } = replica
    for (let index = this.#committed.length + 1; index <= group.commitIndex; index++) {
      const entry = log.entryAt(index)
      // Not handed to the host yet: it is looked at with the ready.
      if (entry === undefined) return
      // What was replaced by a snapshot is durable in the state.
      const isDurable = (id: ReplicaId) => {
        const holder = replicas.find((r) => r.id === id)!
        return holder.log.durableTermAt(index) === entry.term || holder.restoredIndex >= index
      }
      if (!isQuorum(group.configuration, isDurable)) fail(`entry ${index} is durable on a quorum`, replica)
      this.#committed.push({ term: entry.term, payload: payloadOf(entry), knownIn: group.term })
    }
  }

  /** Nobody has been elected in a later term than one that may read by its lease. */
  onLease(replica: VirtualReplica): void {
    const { group } = replica
    if (this.#newestTerm > group.term && group.hasLease) fail('a lease excludes later leaders', replica)
  }

  /** As a message leaves a replica: it says nothing that a crash could make untrue. */
  onSend(replica: VirtualReplica, message: Message): void {
    const { durableHardState: hardState } = replica.log
    if (message.kind === 'append-reply' && message.accepted) {
      if (hardState.term < message.term) fail('a term is durable before it is acknowledged in', replica)
      if (hardState.term > message.term) return
      // What the leader had compacted when it was elected was committed.
      const expected =
        this.#leaderLogs.get(message.term)?.get(message.index) ?? this.#committed[message.index - 1]?.term
      if (message.index > 0 && replica.log.durableTermAt(message.index) !== expected) {
        fail(`entry ${message.index} of term ${message.term} is durable before it is acknowledged`, replica)
      }
    }
    if (message.kind === 'vote-reply' && message.granted && !message.pre) {
      const isDurable = hardState.term === message.term && hardState.vote === message.to
      if (!isDurable && hardState.term <= message.term) fail('a vote is durable before it is given', replica)
    }
    if (message.kind === 'vote-request' && !message.pre && hardState.term < message.term) {
      fail('a candidacy is durable before votes are asked for', replica)
    }
  }

  #onElected(replica: VirtualReplica, term: Term): void {
    const other = this.#leaders.get(term)
    if (other !== undefined) fail(`election safety in term ${term} (${other} leads)`, replica)
    this.#leaders.set(term, replica.id)
    this.#newestTerm = Math.max(this.#newestTerm, term)
    const leaderLog = new Map<LogIndex, Term>()
    for (let index = replica.log.compactedIndex; index <= replica.log.lastIndex; index++) {
      leaderLog.set(index, replica.log.termAt(index)!)
    }
    this.#leaderLogs.set(term, leaderLog)
    this.#committed.forEach((entry, at) => {
      // The election may have been a while ago, and others may have been elected and have committed since.
      if (entry.knownIn >= term || at + 1 <= replica.log.compactedIndex) return
      if (leaderLog.get(at + 1) !== entry.term) fail('leader completeness', replica)
    })
  }

  #logMatching(prevTerm: Term, entry: Entry): void {
    const key = `${entry.index}:${entry.term}`
    const value = `${prevTerm} ${payloadOf(entry)}`
    const known = this.#entries.get(key)
    if (known !== undefined && known !== value) throw new Error(`broken: log matching at ${key}`)
    this.#entries.set(key, value)
  }
}

interface Committed {
  readonly term: Term
  readonly payload: string
  /** The term of whoever knew it first: not before that in which it was committed. */
  readonly knownIn: Term
}

export function payloadOf(entry: Entry): string {
  return Buffer.from(entryPayload(entry)).toString('latin1')
}

function fail(property: string, replica: VirtualReplica): never {
  const { id, group } = replica
  throw new Error(`broken: ${property} (replica ${id}, ${group.role}, term ${group.term}, commit ${group.commitIndex})`)
}
