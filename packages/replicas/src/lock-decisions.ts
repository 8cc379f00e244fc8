import { type Key, keyAfter, type Version } from '@cordillera/base'
import {
  idOf,
  type Lock,
  type Span,
  spanContains,
  type TransactionId,
  type TransactionMemory,
} from '@cordillera/ranges'
import type { ScanResult, ScanRequest as StateScan } from '@cordillera/state'
import type { DecidedReply, ScannedEntry, VersionedValue } from '@cordillera/wire'

/**
 * What the locks in a read's way mean to it.
 *
 * A reader at a timestamp sees a lock's change if its transaction has committed at or below that; a reader of the newest, if it
 * has committed at all. Whether it has, its record says. Of a transaction without a record, either nothing is committed, or all
 * of its locks were resolved before the record went: so who is told `absent` looks once more, *having confirmed anew* that what
 * it looks at is up to date; a lock that is there still belongs to a transaction that has not committed.
 */
export class LockDecisions {
  readonly #at: Version
  /** By transaction: the version of its changes, 0 when they are not for this reader; `absent`: once so. */
  readonly #known = new Map<string, Version | 'absent'>()

  /** `at` 0: the newest. */
  constructor(at: Version) {
    this.#at = at
  }

  /** A lock that this reader may not pass over. Whatever its transaction comes to has a higher version than it. */
  concerns(lock: Lock): boolean {
    return lock.mutation.kind !== 'check' && (this.#at === 0 || lock.since < this.#at)
  }

  /** Of these locks, one a transaction that nothing is known of. */
  unknown(locks: readonly Lock[]): Lock[] {
    const first = new Map<string, Lock>()
    for (const lock of locks) {
      const id = idOf(lock.transaction)
      if (!this.#known.has(id)) first.set(id, lock)
    }
    return [...first.values()]
  }

  /** True: what was looked at must be confirmed anew. */
  add(transaction: TransactionId, { state, version }: DecidedReply): boolean {
    const isSeen = state === 'committed' && (this.#at === 0 || version <= this.#at)
    this.#known.set(idOf(transaction), state === 'absent' ? 'absent' : isSeen ? version : 0)
    return state === 'absent'
  }

  /** The version of the lock's change; 0: this reader does not see it. */
  versionOf(lock: Lock): Version {
    const known = this.#known.get(idOf(lock.transaction))
    return typeof known === 'number' && known > lock.since ? known : 0
  }
}

/** The locks at these keys that concern the reader. */
export function locksAt(memory: TransactionMemory, keys: readonly Key[], decisions: LockDecisions): Lock[] {
  const locks: Lock[] = []
  for (const key of keys) {
    const lock = memory.lockOf(key)
    if (lock !== undefined && decisions.concerns(lock)) locks.push(lock)
  }
  return locks
}

/** The locks within the span that concern the reader. */
export function locksWithin(memory: TransactionMemory, span: Span, decisions: LockDecisions): Lock[] {
  const locks: Lock[] = []
  for (const lock of memory.locks()) {
    if (spanContains(span, lock.mutation.key) && decisions.concerns(lock)) locks.push(lock)
  }
  return locks
}

/** What a reader sees of keys instead of what is there without their locks; undefined: they are deleted. */
export type SeenThrough = ReadonlyMap<Key, VersionedValue | undefined>

/** All of these locks are decided. */
export function seenThrough(locks: readonly Lock[], decisions: LockDecisions): SeenThrough {
  const seen = new Map<Key, VersionedValue | undefined>()
  for (const lock of locks) {
    const version = decisions.versionOf(lock)
    const { mutation } = lock
    if (version > 0) seen.set(mutation.key, mutation.kind === 'put' ? { version, value: mutation.value } : undefined)
  }
  return seen
}

/**
 * One page of a span as a reader sees it, read in parts: what is `seen` through locks is of the moment of the call, and a snapshot
 * does not change.
 */
export async function scanThrough(
  scan: (request: StateScan) => Promise<ScanResult>,
  request: StateScan,
  seen: SeenThrough,
): Promise<ScanResult> {
  const entries: ScannedEntry[] = []
  let bytes = 0
  for (let span = request; ; ) {
    const { limit, bytesMax, values } = request
    const page = await scan({ ...span, limit: limit - entries.length, bytesMax: Math.max(1, bytesMax - bytes) })
    const last = page.entries[page.entries.length - 1]
    const covered = page.more && last !== undefined ? coveredSpan(span, last.key) : span
    for (const entry of merged(page.entries, seen, covered, request)) {
      const size = entry.key.length + (values ? entry.value.length : 0)
      if (entries.length === limit || (bytes + size > bytesMax && entries.length > 0)) return { entries, more: true }
      bytes += size
      entries.push(values ? entry : { ...entry, value: entry.value.subarray(0, 0) })
    }
    if (!page.more || last === undefined) return { entries, more: false }
    if (entries.length >= limit || bytes >= bytesMax) return { entries, more: true }
    span = request.reverse ? { ...span, end: last.key } : { ...span, start: keyAfter(last.key) }
  }
}

/** What of the span a page that ended with this key has shown. */
function coveredSpan(span: StateScan, last: Key): Span {
  return span.reverse ? { start: last, end: span.end } : { start: span.start, end: keyAfter(last) }
}

function merged(
  entries: readonly ScannedEntry[],
  seen: SeenThrough,
  covered: Span,
  { reverse }: StateScan,
): ScannedEntry[] {
  const all = entries.filter(({ key }) => !seen.has(key))
  for (const [key, value] of seen) if (value !== undefined && spanContains(covered, key)) all.push({ key, ...value })
  return all.sort((a, b) => (a.key === b.key ? 0 : a.key < b.key !== reverse ? -1 : 1))
}
