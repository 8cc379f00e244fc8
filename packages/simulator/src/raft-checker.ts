import { Buffer } from 'node:buffer'
import type { Key, LogIndex, RangeId, ReplicaId, Term } from '@cordillera/base'
import {
  type Configuration,
  type Entry,
  type HardState,
  isQuorum,
  type Message,
  type Ready,
} from '@cordillera/raft-core'
import { type Descriptor, type Epoch, encodeDescriptor, VERSIONS_PER_RECOVERY } from '@cordillera/ranges'

/**
 * What Raft promises, looked at with every step of every replica of a cluster, from outside of it (paper, figure 3, and
 * what a store owes it):
 *
 * - *election safety*: a term has one leader,
 * - *leader append-only*: a leader replaces nothing in its log,
 * - *log matching*: an entry of an index and a term is the same everywhere, and so is the term before it,
 * - *leader completeness*: a leader has everything that was committed in earlier terms,
 * - *state machine safety*: replicas apply the same entries, one behind the other, none twice in a life; a snapshot never takes
 *   one back,
 * - *durability*: what is committed is durable on a quorum, of both halves of a joint configuration; what was said to be
 *   durable is there after a crash,
 * - *promises*: a vote, the own candidacy and an acknowledgement leave when they are durable, and not before,
 * - *hard state*: terms and commit indexes never go back, and a vote is never changed within its term,
 * - *splits*, *merges*: a range is cut into the same halves everywhere, and made of the same two,
 * - *coverage*: ranges have every key once, with every split and merge, as far as the newest replicas have come; no two of a
 *   store have the same.
 *
 * A range that goes on without its majority, by a person's word, is another one from there on, of which nothing is known: what
 * it was may say other things, and has its own promises to keep.
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
    readonly epoch: Epoch
  }
  readonly core: {
    readonly role: string
    readonly term: Term
    readonly commitIndex: LogIndex
    readonly configuration: Configuration
  }
  readonly log: {
    readonly compactedIndex: LogIndex
    readonly lastIndex: LogIndex
    readonly hardState: HardState
    termAt(index: LogIndex): Term | undefined
  }
  readonly state: { readonly appliedIndex: LogIndex; readonly appliedTerm: Term }
}

interface Described {
  readonly descriptor: Descriptor
}

interface Remembering {
  readonly memory: { encode(): Uint8Array }
}

type CheckedReady = Pick<
  Ready,
  'entries' | 'hardState' | 'syncToken' | 'committed' | 'roleChange' | 'messages' | 'messagesAfterSync'
>

/** What one replica wrote, over all its lives. */
interface Written {
  lastIndex: LogIndex
  term: Term
  vote: ReplicaId
  commitIndex: LogIndex
  appliedIndex: LogIndex
  /** `baseIndex`: a snapshot holds everything up to there. */
  durable: {
    readonly terms: Map<LogIndex, Term>
    baseIndex: LogIndex
    lastIndex: LogIndex
    term: Term
    vote: ReplicaId
  }
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
  /** From behind which entry on they are in force where that has been applied; in order. */
  readonly configurations: { readonly behind: LogIndex; readonly configuration: Configuration }[]
}

const VIOLATIONS_MAX = 20

/** In place of the descriptor of a range that has become part of another one. */
const MERGED: CheckedReplica['descriptor'] = {
  rangeId: 0,
  start: '',
  end: '',
  epoch: { version: 0, confVersion: 0 },
}

export class RaftChecker {
  readonly violations: string[] = []
  readonly #ranges = new Map<string, RangeHistory>()
  readonly #replicas = new Map<ReplicaId, Written>()
  /** By range and index, what became of it. */
  readonly #splits = new Map<string, string>()
  readonly #merges = new Map<string, string>()
  /** The ranges of the newest history, as the first replica that came so far has them; undefined once one was recovered. */
  #tiling: Map<RangeId, CheckedReplica['descriptor']> | undefined = new Map()

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
      durable: { terms, baseIndex: log.compactedIndex, lastIndex: log.lastIndex, term, vote },
      unsynced: [],
    })
    this.onConfiguration(replica)
    this.#noteRange(replica.descriptor)
  }

  /** The configuration of the replica is another one, from its applied index on. */
  onConfiguration(replica: CheckedReplica): void {
    const { configurations } = this.#range(replica)
    const behind = replica.state.appliedIndex
    const newest = configurations.at(-1)
    if (newest !== undefined && newest.behind >= behind) return
    configurations.push({ behind, configuration: replica.core.configuration })
  }

  /** A snapshot has taken the place of the state, and of the log as far as it does not fit. */
  onRestored(replica: CheckedReplica): void {
    const { log, state } = replica
    const written = this.#replicas.get(replica.replicaId)!
    const { appliedIndex: index, appliedTerm: term } = state
    if (index <= written.appliedIndex) this.#fail(`state machine safety: a snapshot takes it back to ${index}`, replica)
    const known = this.#range(replica).committed.get(index)
    if (known === undefined || known.term !== term) {
      this.#fail(`state machine safety: a snapshot of entry ${index} of term ${term}, which was not committed`, replica)
    }
    written.appliedIndex = index
    const { durable } = written
    durable.baseIndex = Math.max(durable.baseIndex, index)
    this.onConfiguration(replica)
    if (log.compactedIndex < index) return
    // Nothing of the log is left, nor will be of what is on its way to the disk.
    durable.terms.clear()
    durable.terms.set(index, term)
    durable.lastIndex = written.lastIndex = index
    written.unsynced = written.unsynced.map((one) => ({ ...one, entries: [] }))
  }

  /** The entry at the applied index has cut the range: everywhere into the same halves. */
  onSplit(replica: CheckedReplica & Described, right: Described & CheckedReplica['state']): void {
    const { descriptor, state } = replica
    const at = `${historyOf(descriptor)}:${state.appliedIndex}`
    const halves = `${textOf(descriptor)} ${textOf(right.descriptor)}`
    const known = this.#splits.get(at)
    if (known === undefined) this.#splits.set(at, halves)
    else if (known !== halves) this.#fail(`split: ${halves} here and ${known} there`, replica)
    const { committed, committedIndex } = this.#range(right)
    const { appliedIndex: index, appliedTerm: term } = right
    if (committedIndex > 0 && known === undefined) this.#fail('split: the right half was there before', replica)
    // What its log begins behind.
    committed.set(index, { term, bytes: '', inTerm: term })
    this.#range(right).committedIndex = Math.max(committedIndex, index)
    if (known !== undefined) return
    this.#noteRange(descriptor)
    this.#noteRange(right.descriptor)
    this.#checkTiling()
  }

  /** The entry at the applied index has made one range of two: everywhere of the same, which remembers the same. */
  onMerged(replica: CheckedReplica & Described, right: Described & Remembering): void {
    const { descriptor, state } = replica
    const at = `${historyOf(descriptor)}:${state.appliedIndex}`
    const remembered = Buffer.from(right.memory.encode()).toString('hex')
    const whole = `${textOf(descriptor)} ${textOf(right.descriptor)} ${remembered}`
    const known = this.#merges.get(at)
    if (known === undefined) this.#merges.set(at, whole)
    else if (known !== whole) this.#fail(`merge: ${whole} here and ${known} there`, replica)
    if (known !== undefined) return
    this.#noteRange(descriptor)
    // Its id is never used again; replicas of it that lag are of no version that is newer.
    this.#tiling?.set(right.descriptor.rangeId, MERGED)
    this.#checkTiling()
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
    this.#checkSent(replica, written, ready.messages)
    if (ready.syncToken === 0) this.#checkSent(replica, written, ready.messagesAfterSync)
    for (const entry of ready.committed) this.#onCommitted(replica, written, range, entry)
  }

  /** Everything up to `ready` is said to be durable. */
  onSynced(replica: CheckedReplica, ready: CheckedReady): void {
    const written = this.#replicas.get(replica.replicaId)!
    const { unsynced, durable } = written
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
    this.#checkSent(replica, written, ready.messagesAfterSync)
  }

  /** What it says of itself must survive its next crash. What is of a term that it has left, durably, binds it no more. */
  #checkSent(replica: CheckedReplica, { durable }: Written, messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.term < durable.term) continue
      const isVote = message.kind === 'vote-reply' && message.granted && !message.pre
      const isCandidacy = message.kind === 'vote-request' && !message.pre
      if (isVote || isCandidacy) {
        const votedFor = isVote ? message.to : message.from
        if (durable.term !== message.term || durable.vote !== votedFor) {
          this.#fail(`promises: a vote for ${votedFor} leaves before it is durable`, replica)
        }
      } else if (message.kind === 'append-reply' && message.accepted) {
        const isDurable = message.index <= Math.max(durable.baseIndex, durable.lastIndex)
        if (!isDurable) this.#fail(`promises: entry ${message.index} is acknowledged before it is durable`, replica)
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

  #noteRange(descriptor: CheckedReplica['descriptor']): void {
    // What was lost has ranges of its own then, of which some may come back.
    if (descriptor.epoch.confVersion >= VERSIONS_PER_RECOVERY) this.#tiling = undefined
    const known = this.#tiling?.get(descriptor.rangeId)
    const isNewer = known === undefined || (known !== MERGED && descriptor.epoch.version >= known.epoch.version)
    if (isNewer) this.#tiling?.set(descriptor.rangeId, { ...descriptor })
  }

  #checkTiling(): void {
    if (this.#tiling !== undefined)
      this.checkSpans(
        [...this.#tiling.values()].filter((one) => one !== MERGED),
        true,
      )
  }

  #checkRecovered(replica: CheckedReplica, { durable, unsynced }: Written): void {
    const { log, state } = replica
    const { appliedIndex } = state
    // A snapshot of another branch, installed just before the crash: what is behind it in the log never was committed.
    const isRestored = log.lastIndex === appliedIndex && durable.terms.get(appliedIndex) !== state.appliedTerm
    if (!isRestored) this.#checkRecoveredLog(replica, durable, unsynced)
    this.#checkRecoveredVote(replica, durable, unsynced)
  }

  #checkRecoveredLog(replica: CheckedReplica, durable: Written['durable'], unsynced: Written['unsynced']): void {
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
  }

  #checkRecoveredVote(replica: CheckedReplica, durable: Written['durable'], unsynced: Written['unsynced']): void {
    const { log } = replica
    const { term, vote } = log.hardState
    const written = [durable, ...unsynced.flatMap(({ hardState }) => hardState ?? [])]
    const isAnyOf = written.some((one) => one.term === term && one.vote === vote)
    // A right half that came by a snapshot, after its log had been there before its state: of its term, without a vote.
    const isRaised = vote === 0 && written.every((one) => one.term < term)
    if (!isAnyOf && !isRaised)
      this.#fail(`hard state: term ${durable.term}, vote ${durable.vote} became ${term}, ${vote}`, replica)
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
    const holds = (replicaId: ReplicaId): boolean => {
      const durable = this.#replicas.get(replicaId)?.durable
      if (durable === undefined) return false
      return index <= durable.baseIndex || (index <= durable.lastIndex && durable.terms.get(index) === term)
    }
    if (!this.#configurationsFor(range, index).some((configuration) => isQuorum(configuration, holds))) {
      this.#fail(`durability: entry ${index} is applied, and durable on no quorum`, replica)
    }
  }

  /** By which an entry may have been committed: that in force before it, or, where it was not applied yet, the one before. */
  #configurationsFor({ configurations }: RangeHistory, index: LogIndex): Configuration[] {
    let at = configurations.length - 1
    while (at > 0 && configurations[at]!.behind >= index) at--
    return configurations.slice(Math.max(0, at - 1), at + 1).map(({ configuration }) => configuration)
  }

  #range({ descriptor }: Pick<CheckedReplica, 'descriptor'>): RangeHistory {
    const history = historyOf(descriptor)
    let range = this.#ranges.get(history)
    if (range === undefined) {
      range = { leaders: new Map(), entries: new Map(), committed: new Map(), committedIndex: 0, configurations: [] }
      this.#ranges.set(history, range)
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

/** A recovery raises the `confVersion` above all that was before; a merge leaves that of the range that goes on. */
function historyOf({ rangeId, epoch }: CheckedReplica['descriptor']): string {
  return `${rangeId}.${Math.floor(epoch.confVersion / VERSIONS_PER_RECOVERY)}`
}

function bytesOf({ bytes }: Entry): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

function textOf(descriptor: Descriptor): string {
  return `range ${descriptor.rangeId} ${Buffer.from(encodeDescriptor(descriptor)).toString('hex')}`
}
