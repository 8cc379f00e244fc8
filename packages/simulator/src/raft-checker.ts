import { Buffer } from 'node:buffer'
import type { Key, LogIndex, RangeId, ReplicaId, Term } from '@cordillera/base'
import type { Entry, HardState, Ready } from '@cordillera/raft-core'

/**
 * What Raft promises, looked at with every step of every replica of a cluster, from outside of it (paper, figure 3, and
 * what a store owes it):
 *
 * - *election safety*: a term has one leader,
 * - *leader append-only*: a leader replaces nothing in its log,
 * - *log matching*: an entry of an index and a term is the same everywhere, and so is the term before it,
 * - *leader completeness*: a leader has everything that was committed in earlier terms,
 * - *state machine safety*: replicas apply the same entries, one behind the other, none twice in a life,
 * - *durability*: what is committed is durable on a quorum; what was said to be durable is there after a crash,
 * - *hard state*: terms and commit indexes never go back, and a vote is never changed within its term,
 * - *coverage*: ranges have every key, and no two of a store have the same.
 *
 * It remembers everything ever written, so that what two replicas that never met disagree on is found as well. What it
 * finds is in {@link violations}; it goes on behind it.
 */
export interface CheckedReplica {
  readonly replicaId: ReplicaId
  readonly descriptor: {
    readonly rangeId: RangeId
    readonly start: Key
    readonly end: Key | null
    readonly replicas: readonly { readonly replicaId: ReplicaId }[]
  }
  readonly core: { readonly role: string; readonly term: Term; readonly commitIndex: LogIndex }
  readonly log: {
    readonly compactedIndex: LogIndex
    readonly lastIndex: LogIndex
    readonly hardState: HardState
    termAt(index: LogIndex): Term | undefined
  }
  readonly state: { readonly appliedIndex: LogIndex }
}

type CheckedReady = Pick<Ready, 'entries' | 'hardState' | 'syncToken' | 'committed' | 'roleChange'>

/** What one replica wrote, over all its lives. */
interface Written {
  lastIndex: LogIndex
  term: Term
  vote: ReplicaId
  commitIndex: LogIndex
  appliedIndex: LogIndex
  durable: { readonly terms: Map<LogIndex, Term>; lastIndex: LogIndex; term: Term; vote: ReplicaId }
  /** Not durable yet, in order. */
  unsynced: { readonly token: number; readonly entries: readonly Entry[]; readonly hardState: HardState | undefined }[]
}

interface RangeHistory {
  readonly leaders: Map<Term, ReplicaId>
  /** By `index:term`, what is before the entry and what it holds. */
  readonly entries: Map<string, string>
  /** By index; `inTerm`: when it was known to be committed, at the latest. */
  readonly committed: Map<LogIndex, { readonly term: Term; readonly bytes: string; readonly inTerm: Term }>
  committedIndex: LogIndex
}

const VIOLATIONS_MAX = 20

export class RaftChecker {
  readonly violations: string[] = []
  readonly #ranges = new Map<RangeId, RangeHistory>()
  readonly #replicas = new Map<ReplicaId, Written>()

  /** A life of the replica begins with what its disk held. */
  onOpened(replica: CheckedReplica): void {
    const { log } = replica
    const before = this.#replicas.get(replica.replicaId)
    if (before !== undefined) this.#checkRecovered(replica, before)
    const { term, vote } = log.hardState
    const terms = new Map<LogIndex, Term>()
    for (let index = log.compactedIndex; index <= log.lastIndex; index++) terms.set(index, log.termAt(index)!)
    this.#replicas.set(replica.replicaId, {
      lastIndex: log.lastIndex,
      term,
      vote,
      commitIndex: 0,
      appliedIndex: replica.state.appliedIndex,
      durable: { terms, lastIndex: log.lastIndex, term, vote },
      unsynced: [],
    })
  }

  /** What `ready` appends is in the log, and not durable yet. */
  onReady(replica: CheckedReplica, ready: CheckedReady): void {
    const written = this.#replicas.get(replica.replicaId)!
    const range = this.#range(replica)
    if (ready.hardState !== undefined) this.#onHardState(replica, written, ready.hardState)
    this.#onEntries(replica, written, range, ready)
    if (ready.syncToken > 0) {
      written.unsynced.push({ token: ready.syncToken, entries: ready.entries, hardState: ready.hardState })
    }
    if (replica.core.commitIndex < written.commitIndex) this.#fail('the commit index goes back', replica)
    written.commitIndex = replica.core.commitIndex
    for (const entry of ready.committed) this.#onCommitted(replica, written, range, entry)
  }

  /** Everything up to `ready` is said to be durable. */
  onSynced(replica: CheckedReplica, ready: CheckedReady): void {
    const { unsynced, durable } = this.#replicas.get(replica.replicaId)!
    while (unsynced.length > 0 && unsynced[0]!.token <= ready.syncToken) {
      const { entries, hardState } = unsynced.shift()!
      for (const { index, term } of entries) {
        durable.terms.set(index, term)
        durable.lastIndex = index
      }
      if (hardState !== undefined) {
        durable.term = hardState.term
        durable.vote = hardState.vote
      }
    }
  }

  /** The ranges of one store, and those of the whole cluster when it is known to be `whole`. */
  checkSpans(descriptors: readonly CheckedReplica['descriptor'][], isWhole: boolean): void {
    const sorted = [...descriptors].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
    if (isWhole && sorted[0]?.start !== '') this.#note('coverage: no range has the first key')
    for (const [i, { rangeId, end }] of sorted.entries()) {
      const next = sorted[i + 1]
      if (next === undefined) {
        if (isWhole && end !== null) this.#note(`coverage: range ${rangeId} is the last and has an end`)
      } else if (end === null || end > next.start) {
        this.#note(`coverage: the ranges ${rangeId} and ${next.rangeId} overlap`)
      } else if (isWhole && end < next.start) {
        this.#note(`coverage: nobody has what is between the ranges ${rangeId} and ${next.rangeId}`)
      }
    }
  }

  #checkRecovered(replica: CheckedReplica, { durable, unsynced }: Written): void {
    const { log } = replica
    let leastLast = durable.lastIndex
    for (const { entries } of unsynced) if (entries.length > 0) leastLast = Math.min(leastLast, entries[0]!.index - 1)
    if (log.lastIndex < leastLast) this.#fail(`durability: the log ended at ${leastLast} at least`, replica)
    for (let index = log.compactedIndex + 1; index <= log.lastIndex; index++) {
      const term = log.termAt(index)
      const isWritten = unsynced.some(({ entries }) => entries.some((e) => e.index === index && e.term === term))
      const isDurable = index <= durable.lastIndex && durable.terms.get(index) === term
      if (!isDurable && !isWritten) this.#fail(`durability: entry ${index} has term ${term}`, replica)
    }
    const { term, vote } = log.hardState
    const isAnyOf = [durable, ...unsynced.flatMap(({ hardState }) => hardState ?? [])].some(
      (one) => one.term === term && one.vote === vote,
    )
    if (!isAnyOf) this.#fail(`hard state: term ${durable.term}, vote ${durable.vote} became ${term}, ${vote}`, replica)
  }

  #onHardState(replica: CheckedReplica, written: Written, { term, vote }: HardState): void {
    if (term < written.term) this.#fail(`hard state: the term ${written.term} goes back to ${term}`, replica)
    if (term === written.term && written.vote !== 0 && vote !== written.vote) {
      this.#fail(`hard state: the vote of term ${term} for ${written.vote} becomes one for ${vote}`, replica)
    }
    written.term = term
    written.vote = vote
  }

  #onEntries(replica: CheckedReplica, written: Written, range: RangeHistory, ready: CheckedReady): void {
    const { log, core } = replica
    const [first] = ready.entries
    if (ready.roleChange?.role === 'leader') this.#onElected(replica, range, ready.roleChange.term, first?.index)
    else if (core.role === 'leader' && first !== undefined && first.index <= written.lastIndex) {
      this.#fail(`leader append-only: entry ${first.index} is replaced`, replica)
    }
    let before = first === undefined ? undefined : log.termAt(first.index - 1)
    for (const entry of ready.entries) {
      const key = `${entry.index}:${entry.term}`
      const content = `${before} ${bytesOf(entry)}`
      const known = range.entries.get(key)
      if (known === undefined) range.entries.set(key, content)
      else if (known !== content) this.#fail(`log matching: entry ${key}`, replica)
      before = entry.term
      written.lastIndex = entry.index
    }
  }

  /** `firstOwn`: the first entry that it appended as a leader, if it has. */
  #onElected(replica: CheckedReplica, range: RangeHistory, term: Term, firstOwn: LogIndex | undefined): void {
    const other = range.leaders.get(term)
    if (other !== undefined && other !== replica.replicaId) {
      this.#fail(`election safety: term ${term} has replica ${other} as well`, replica)
    }
    range.leaders.set(term, replica.replicaId)
    const { log } = replica
    // Whoever has the last one has all before it, by log matching. An earlier term's leader may come late.
    let last = range.committedIndex
    while (last > log.compactedIndex && (range.committed.get(last)?.inTerm ?? term) >= term) last--
    const known = range.committed.get(last)
    if (known === undefined || last <= log.compactedIndex) return
    const isOld = firstOwn === undefined || last < firstOwn
    if (!isOld || log.termAt(last) !== known.term) {
      this.#fail(`leader completeness: committed entry ${last} of term ${known.term} is missing`, replica)
    }
  }

  #onCommitted(replica: CheckedReplica, written: Written, range: RangeHistory, entry: Entry): void {
    const { index, term } = entry
    if (index !== written.appliedIndex + 1) {
      this.#fail(`state machine safety: entry ${index} is applied behind ${written.appliedIndex}`, replica)
    }
    written.appliedIndex = index
    const bytes = bytesOf(entry)
    const known = range.committed.get(index)
    if (known !== undefined) {
      if (known.term !== term || known.bytes !== bytes) {
        this.#fail(`state machine safety: entry ${index} is of term ${term} here and ${known.term} there`, replica)
      }
      return
    }
    range.committed.set(index, { term, bytes, inTerm: replica.core.term })
    range.committedIndex = Math.max(range.committedIndex, index)
    const places = replica.descriptor.replicas
    const holders = places.filter(({ replicaId }) => {
      const durable = this.#replicas.get(replicaId)?.durable
      return durable !== undefined && index <= durable.lastIndex && durable.terms.get(index) === term
    })
    if (holders.length * 2 <= places.length) {
      this.#fail(`durability: entry ${index} is applied, and durable on ${holders.length} of ${places.length}`, replica)
    }
  }

  #range({ descriptor }: CheckedReplica): RangeHistory {
    let range = this.#ranges.get(descriptor.rangeId)
    if (range === undefined) {
      range = { leaders: new Map(), entries: new Map(), committed: new Map(), committedIndex: 0 }
      this.#ranges.set(descriptor.rangeId, range)
    }
    return range
  }

  #fail(what: string, { replicaId, descriptor, core }: CheckedReplica): void {
    const { role, term, commitIndex } = core
    this.#note(
      `${what} (range ${descriptor.rangeId}, replica ${replicaId}: ${role}, term ${term}, commit ${commitIndex})`,
    )
  }

  #note(violation: string): void {
    if (this.violations.length < VIOLATIONS_MAX) this.violations.push(violation)
  }
}

function bytesOf({ bytes }: Entry): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}
