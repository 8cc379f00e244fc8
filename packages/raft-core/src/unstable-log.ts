import { assert, type LogIndex, type Term } from '@cordillera/base'
import { type Entry, isChange } from './entry.js'
import type { LogReader } from './log-reader.js'

/**
 * The log as the core sees it: the host's log, with the entries that the host has not been given yet on top, and how
 * much of it is durable here.
 *
 * Durability is counted by sync tokens, first in, first out: a token claims the log up to where it ended when the token
 * was given. Entries that replace others lower every outstanding claim to just before them: what is synced later may be
 * the bytes of the replaced ones (FAILURES #9). Committed entries are never replaced; the caller asserts it.
 */
export class UnstableLog {
  readonly #reader: LogReader
  #pending: Entry[] = NO_PENDING
  #pendingFrom: LogIndex = Number.MAX_SAFE_INTEGER
  #claims: Claim[] = NO_CLAIMS
  /** Where changes of the configuration are, ascending, above {@link #unknownTo}. */
  #changes: LogIndex[] = NO_CHANGES
  /** Of entries up to here nobody has looked whether they are changes. */
  readonly #unknownTo: LogIndex
  lastIndex: LogIndex
  lastTerm: Term
  /** Everything up to here is on this replica's disk, as it is in this log. */
  durableIndex: LogIndex

  constructor(reader: LogReader) {
    this.#reader = reader
    this.lastIndex = reader.lastIndex
    this.lastTerm = reader.termAt(reader.lastIndex) ?? 0
    this.durableIndex = reader.lastIndex
    this.#unknownTo = reader.lastIndex
  }

  get compactedIndex(): LogIndex {
    return this.#reader.compactedIndex
  }

  get hasPending(): boolean {
    return this.#pending.length > 0
  }

  get hasClaims(): boolean {
    return this.#claims.length > 0
  }

  /** Undefined outside of `compactedIndex` to `lastIndex`. */
  termAt(index: LogIndex): Term | undefined {
    if (index === this.lastIndex) return this.lastTerm
    if (index > this.lastIndex) return undefined
    return index >= this.#pendingFrom ? this.#pending[index - this.#pendingFrom]!.term : this.#reader.termAt(index)
  }

  /** Appends behind the last entry. */
  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1 && entry.term >= this.lastTerm, 'an entry continues the log')
    this.#push(entry)
  }

  /** Appends `entries` from position `start` on; the first replaces what is at its index and everything behind it. */
  replace(entries: readonly Entry[], start: number): void {
    const from = entries[start]!.index
    assert(from > this.compactedIndex && from <= this.lastIndex + 1, 'entries continue or replace the log')
    if (from <= this.lastIndex) this.#truncateFrom(from)
    for (let i = start; i < entries.length; i++) this.#push(entries[i]!)
  }

  /**
   * Entries from `from` on, not behind `to`, at least one and then as many as fit in `bytesMax`; undefined when the
   * first is not in memory. It may return fewer than it could: ask again for the rest.
   */
  slice(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    if (from < this.#pendingFrom) return this.#reader.entries(from, Math.min(to, this.#pendingFrom - 1), bytesMax)
    const pending = this.#pending
    const start = from - this.#pendingFrom
    const endMax = Math.min(to - this.#pendingFrom + 1, pending.length)
    let end = start + 1
    for (let bytes = pending[start]!.bytes.length; end < endMax; end++) {
      bytes += pending[end]!.bytes.length
      if (bytes > bytesMax) break
    }
    return start === 0 && end === pending.length && to >= this.lastIndex ? pending : pending.slice(start, end)
  }

  /** The last index at or below `index` whose term is at most `term`; where terms are not kept any more, that index. */
  findByTerm(index: LogIndex, term: Term): LogIndex {
    let at = Math.min(index, this.lastIndex)
    for (; at > 0; at--) {
      const termHere = this.termAt(at)
      if (termHere === undefined || termHere <= term) break
    }
    return at
  }

  /** Whether there is, or may be, a change of the configuration above `from`, up to `to`. */
  mayChangeBetween(from: LogIndex, to: LogIndex): boolean {
    return from < Math.min(to, this.#unknownTo) || this.#changes.some((index) => index > from && index <= to)
  }

  /** Nothing up to `index` will be asked of {@link mayChangeBetween} any more. */
  onApplied(index: LogIndex): void {
    while (this.#changes.length > 0 && this.#changes[0]! <= index) this.#changes.shift()
  }

  /** A snapshot at `index` takes the place of everything; the host's log does the same before it is read again. */
  restart(index: LogIndex, term: Term): void {
    if (index < this.lastIndex) this.#truncateFrom(index + 1)
    this.#pending = NO_PENDING
    this.#pendingFrom = Number.MAX_SAFE_INTEGER
    this.#changes = NO_CHANGES
    this.lastIndex = index
    this.lastTerm = term
    this.durableIndex = index
  }

  /** The end of what the host was given; loads reach up to here. */
  get handedIndex(): LogIndex {
    return Math.min(this.lastIndex, this.#pendingFrom - 1)
  }

  /** Hands out the entries that the host does not have yet; from now on they are read from its log. */
  takePending(): readonly Entry[] {
    const taken = this.#pending
    this.#pending = NO_PENDING
    this.#pendingFrom = Number.MAX_SAFE_INTEGER
    return taken
  }

  /** `token` will be synced once everything that was handed out so far is durable. Nothing is pending. */
  claim(token: number): void {
    if (this.#claims === NO_CLAIMS) this.#claims = []
    this.#claims.push({ token, lastIndex: this.lastIndex })
  }

  /** Everything up to `token` is durable. Returns whether `durableIndex` rose. */
  onSynced(token: number): boolean {
    const before = this.durableIndex
    while (this.#claims.length > 0 && this.#claims[0]!.token <= token) {
      const { lastIndex } = this.#claims.shift()!
      if (lastIndex > this.durableIndex) this.durableIndex = lastIndex
    }
    return this.durableIndex > before
  }

  #push(entry: Entry): void {
    if (this.#pending.length === 0) {
      this.#pending = [entry]
      this.#pendingFrom = entry.index
    } else {
      this.#pending.push(entry)
    }
    this.lastIndex = entry.index
    this.lastTerm = entry.term
    if (isChange(entry.type)) this.#changes = [...this.#changes, entry.index]
  }

  #truncateFrom(from: LogIndex): void {
    if (from <= this.#pendingFrom) {
      this.#pending = NO_PENDING
      this.#pendingFrom = Number.MAX_SAFE_INTEGER
    } else {
      this.#pending.length = from - this.#pendingFrom
    }
    for (const claim of this.#claims) if (claim.lastIndex >= from) claim.lastIndex = from - 1
    if (this.durableIndex >= from) this.durableIndex = from - 1
    while (this.#changes.length > 0 && this.#changes.at(-1)! >= from) this.#changes.pop()
  }
}

interface Claim {
  readonly token: number
  lastIndex: LogIndex
}

/** Shared and never written: the first of each makes an array of its own. */
const NO_PENDING: Entry[] = []
const NO_CLAIMS: Claim[] = []
const NO_CHANGES: LogIndex[] = []
