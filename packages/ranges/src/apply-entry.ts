import { ByteReader, type Key, type Version } from '@cordillera/base'
import { type Descriptor, spanContains } from './descriptor.js'
import { PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.js'
import type { OperationMemory, SessionMemory } from './operation-memory.js'
import { mismatchOutcome, OUTCOME_EXPIRED, OUTCOME_MEMORY_FULL, type OutcomeCode } from './outcome.js'
import {
  DELETE,
  KIND_MASK,
  readBlock,
  readFlags,
  readGuard,
  readSequence,
  readStamp,
  readWriteBlockHeader,
  type WriteGuard,
} from './write-block.js'

/**
 * What a committed entry does to a range's state: a function of the state it reads (the view, whose memory it changes)
 * and the payload alone, so that every replica comes to the same result.
 *
 * Epoch, span and conditions are checked here, not when the entry was proposed: a split or another write may lie between
 * the two. A block either is of this epoch and span, or nothing of it happens; its neighbours in the entry are not
 * affected. `confVersion` never rejects data. An operation that the range remembers does not run again: it has the
 * outcome that it had.
 */

/** What applying may read, and the memory, which it changes. */
export interface ApplyView {
  readonly descriptor: Descriptor
  readonly memory: OperationMemory
  /** The newest applied version of a key; 0 when it is absent. */
  versionOf(key: Key): Version
}

/** `value` undefined deletes. It is a view of the payload: keep that unchanged for as long. */
export interface Write {
  readonly key: Key
  readonly value: Uint8Array | undefined
  readonly version: Version
}

/** `applied`: an outcome a command, in order. `epoch-mismatch`: nothing of the block happened; ask for the route. */
export type BlockResult =
  | { readonly kind: 'applied'; readonly outcomes: readonly OutcomeCode[] }
  | { readonly kind: 'epoch-mismatch' }

export interface AppliedEntry {
  /** The version of the first command … */
  readonly timestamp: Version
  /** … and so many more belong to this entry, its first included. */
  readonly commandCount: number
  /** In order, versions rising; the last of a key wins. */
  readonly writes: readonly Write[]
  /** A result a block, in order. */
  readonly results: readonly BlockResult[]
}

const MISMATCH: BlockResult = { kind: 'epoch-mismatch' }

/**
 * Applies the payload of a command entry. Throws `CORRUPT` when the payload is malformed, in which case none of it
 * counts and the store must stop.
 */
export function applyEntry(view: ApplyView, payload: Uint8Array): AppliedEntry {
  const reader = new ByteReader(payload)
  const { timestamp, ageMs } = readStamp(reader)
  view.memory.advanceAge(ageMs)
  const entry = new EntryApplication(view, timestamp)
  const results: BlockResult[] = []
  while (reader.remaining > 0) results.push(entry.applyBlock(readBlock(reader)))
  return { timestamp, commandCount: entry.commandCount, writes: entry.writes, results }
}

class EntryApplication {
  readonly writes: Write[] = []
  commandCount = 0
  readonly #view: ApplyView
  readonly #timestamp: Version
  /** What this entry made of keys, once a condition has asked; 0 for deleted. */
  #versions: Map<Key, Version> | undefined

  constructor(view: ApplyView, timestamp: Version) {
    this.#view = view
    this.#timestamp = timestamp
  }

  /** Commands are read whole before the first one takes effect: one outside of the span refuses them all. */
  applyBlock(block: ByteReader): BlockResult {
    const { epochVersion, count, session, lowestOutstanding, firstSequence } = readWriteBlockHeader(block)
    const { descriptor } = this.#view
    const candidates = new Array<Write>(count)
    const sequences = new Array<number>(count)
    let guards: (WriteGuard | undefined)[] | undefined
    let isWithin = epochVersion === descriptor.epoch.version
    let sequence = firstSequence
    for (let i = 0; i < count; i++) {
      const flags = readFlags(block)
      sequence = readSequence(block, sequence)
      const key = block.key(PREFIXED_KEY_BYTES_MAX)
      if (!spanContains(descriptor, key)) isWithin = false
      const guard = readGuard(block, flags)
      if (guard !== undefined) {
        guards ??= []
        guards[i] = guard
      }
      const value = (flags & KIND_MASK) === DELETE ? undefined : block.bytes(VALUE_BYTES_MAX)
      candidates[i] = { key, value, version: this.#timestamp + this.commandCount + i }
      sequences[i] = sequence
    }
    block.end()
    this.commandCount += count
    if (!isWithin) return MISMATCH
    const memory = session.nodeId === 0 ? undefined : this.#view.memory.open(session, lowestOutstanding)
    const refused = memory === 'expired' ? OUTCOME_EXPIRED : memory === 'memory-full' ? OUTCOME_MEMORY_FULL : 0
    if (refused !== 0) return { kind: 'applied', outcomes: new Array<OutcomeCode>(count).fill(refused) }
    const outcomes = new Array<OutcomeCode>(count)
    for (let i = 0; i < count; i++) {
      outcomes[i] = this.#applyOnce(memory as SessionMemory | undefined, sequences[i]!, candidates[i]!, guards?.[i])
    }
    return { kind: 'applied', outcomes }
  }

  #applyOnce(
    session: SessionMemory | undefined,
    sequence: number,
    write: Write,
    guard: WriteGuard | undefined,
  ): OutcomeCode {
    const remembered = session?.find(sequence)
    if (remembered !== undefined) return remembered
    const outcome = guard === undefined ? this.#write(write) : this.#applyGuarded(write, guard)
    session?.add(sequence, outcome)
    return outcome
  }

  #applyGuarded(write: Write, guard: WriteGuard): OutcomeCode {
    const { idempotency } = guard
    const { memory } = this.#view
    if (idempotency !== undefined) {
      const remembered = memory.findIdempotent(idempotency)
      if (remembered !== undefined) return remembered
    }
    const newest = this.#versionOf(write.key)
    const isMet =
      (guard.ifVersion === undefined || guard.ifVersion === newest) && (guard.ifPresent === undefined || newest !== 0)
    const outcome = isMet ? this.#write(write) : mismatchOutcome(newest)
    if (idempotency !== undefined) memory.addIdempotent(idempotency, outcome)
    return outcome
  }

  #write(write: Write): OutcomeCode {
    this.writes.push(write)
    this.#versions?.set(write.key, write.value === undefined ? 0 : write.version)
    return write.version
  }

  #versionOf(key: Key): Version {
    if (this.#versions === undefined) {
      this.#versions = new Map()
      for (const { key: written, value, version } of this.writes) {
        this.#versions.set(written, value === undefined ? 0 : version)
      }
    }
    return this.#versions.get(key) ?? this.#view.versionOf(key)
  }
}
