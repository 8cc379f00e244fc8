import { ByteReader, type Key, type Version } from '@cordillera/base'
import { applyTransactionStep, failedGuard, isStepWithin } from './apply-transaction.js'
import { type Descriptor, spanContains } from './descriptor.js'
import { PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.js'
import { isFrozen } from './merge.js'
import type { OperationMemory, SessionMemory } from './operation-memory.js'
import { OUTCOME_ABORTED, OUTCOME_EXPIRED, OUTCOME_LOCKED, OUTCOME_MEMORY_FULL, type OutcomeCode } from './outcome.js'
import type { TransactionStep } from './transaction-command.js'
import { DELETED, Write } from './write.js'
import { readFlags, readSequence, readStamp, readStep, readWriteBlockHeader, TRANSACTION } from './write-block.js'
import { DELETE, KIND_MASK, readGuardFields, type WriteGuard } from './write-guard.js'

/**
 * What a committed entry does to a range's state: a function of the state it reads (the view, whose memory it changes)
 * and the payload alone, so that every replica comes to the same result.
 *
 * Epoch, span and conditions are checked here, not when the entry was proposed: a split or another write may lie between
 * the two. A block either is of this epoch and span, or nothing of it happens; its neighbours in the entry are not
 * affected. `confVersion` never rejects data, a range that is frozen for a merge takes none. An operation that the range remembers does not run again: it has the
 * outcome that it had.
 */

/** What applying may read, and the memory, which it changes. */
export interface ApplyView {
  readonly descriptor: Descriptor
  readonly memory: OperationMemory
  /** The newest applied version of a key; 0 when it is absent. */
  versionOf(key: Key): Version
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
  /** In order; of one key, versions rise, and the last wins. What a transaction wrote may have an older version than the entry. */
  readonly writes: readonly Write[]
  /** A result a block, in order. */
  readonly results: readonly BlockResult[]
}

const MISMATCH: BlockResult = { kind: 'epoch-mismatch' }

/**
 * Applies the payload of a command entry: `entry` from `start` on. Throws `CORRUPT` when it is malformed, in which case none
 * of it counts and the store must stop. Without `wantResults` the results are left out: only the proposer needs them.
 */
export function applyEntry(view: ApplyView, entry: Uint8Array, start = 0, wantResults = true): AppliedEntry {
  const reader = new ByteReader(entry, start)
  const { timestamp, ageMs } = readStamp(reader)
  // Of a range that is frozen nothing changes any more, how much of its log ever applies: its left takes over what it remembers.
  if (!isFrozen(view.descriptor)) view.memory.advanceAge(ageMs)
  const application = new EntryApplication(view, entry, timestamp)
  const results: BlockResult[] = []
  while (reader.remaining > 0) {
    const length = reader.u32()
    const blockStart = reader.skip(length)
    const result = application.applyBlock(new ByteReader(entry, blockStart, blockStart + length), wantResults)
    if (wantResults) results.push(result)
  }
  return { timestamp, commandCount: application.commandCount, writes: application.writes, results }
}

/** Numbers of the block at hand. Blocks are applied one at a time, so one array does for all. */
const sequences: number[] = []

class EntryApplication {
  readonly writes: Write[] = []
  commandCount = 0
  readonly #view: ApplyView
  readonly #entry: Uint8Array
  readonly #timestamp: Version
  /** What this entry made of keys, once a condition has asked; 0 for deleted. */
  #versions: Map<Key, Version> | undefined

  constructor(view: ApplyView, entry: Uint8Array, timestamp: Version) {
    this.#view = view
    this.#entry = entry
    this.#timestamp = timestamp
  }

  /** Commands are read whole before the first one takes effect: one outside of the span refuses them all. */
  applyBlock(block: ByteReader, wantResults: boolean): BlockResult {
    const { writes } = this
    const { descriptor } = this.#view
    const { epochVersion, count, session, lowestOutstanding, firstSequence } = readWriteBlockHeader(block)
    const begin = writes.length
    let guards: (WriteGuard | undefined)[] | undefined
    let steps: (TransactionStep | undefined)[] | undefined
    let isWithin = epochVersion === descriptor.epoch.version && !isFrozen(descriptor)
    let sequence = firstSequence
    let version = this.#timestamp + this.commandCount
    for (let i = 0; i < count; i++) {
      const flags = readFlags(block)
      sequence = readSequence(block, sequence)
      const key = block.key(PREFIXED_KEY_BYTES_MAX)
      if (!spanContains(descriptor, key)) isWithin = false
      const guard = readGuardFields(block, flags)
      if (guard !== undefined) {
        guards ??= []
        guards[i] = guard
      }
      sequences[i] = sequence
      const kind = flags & KIND_MASK
      if (kind === TRANSACTION) {
        const step = readStep(block)
        if (!isStepWithin(descriptor, step)) isWithin = false
        steps ??= []
        steps[i] = step
        writes.push(Write.of(key, version++, undefined))
        continue
      }
      const start = kind === DELETE ? 0 : block.skipBytes(VALUE_BYTES_MAX)
      const end = kind === DELETE ? DELETED : block.offset
      // Taken back below if the command does not write after all.
      writes.push(new Write(key, version++, this.#entry, start, end))
    }
    block.end()
    this.commandCount += count
    if (!isWithin) {
      writes.length = begin
      return MISMATCH
    }
    const memory = session.nodeId === 0 ? undefined : this.#view.memory.open(session, lowestOutstanding)
    if (memory === 'expired' || memory === 'memory-full') {
      writes.length = begin
      const refused = memory === 'expired' ? OUTCOME_EXPIRED : OUTCOME_MEMORY_FULL
      return { kind: 'applied', outcomes: new Array<OutcomeCode>(count).fill(refused) }
    }
    if (steps !== undefined) return this.#applyMixed(memory, writes.splice(begin), guards, steps)
    const outcomes: OutcomeCode[] = []
    let kept = begin
    for (let i = 0; i < count; i++) {
      const write = writes[begin + i]!
      const outcome = this.#applyOnce(memory, sequences[i]!, write, guards?.[i], kept)
      if (outcome === write.version) writes[kept++] = write
      if (wantResults) outcomes.push(outcome)
    }
    writes.length = kept
    return { kind: 'applied', outcomes }
  }

  /** A block with parts of transactions: a command may write any number of keys. */
  #applyMixed(
    session: SessionMemory | undefined,
    commands: readonly Write[],
    guards: readonly (WriteGuard | undefined)[] | undefined,
    steps: readonly (TransactionStep | undefined)[],
  ): BlockResult {
    const { writes } = this
    const numbers = sequences.slice(0, commands.length)
    const outcomes: OutcomeCode[] = []
    for (const [i, write] of commands.entries()) {
      const [sequence, guard, step] = [numbers[i]!, guards?.[i], steps[i]]
      if (step === undefined) {
        const outcome = this.#applyOnce(session, sequence, write, guard, writes.length)
        if (outcome === write.version) writes.push(write)
        outcomes.push(outcome)
      } else {
        const remembered = session?.find(sequence)
        const outcome = remembered ?? this.#applyStep(step, write, guard)
        if (remembered === undefined && outcome !== OUTCOME_LOCKED) session?.add(sequence, outcome)
        outcomes.push(outcome)
      }
    }
    return { kind: 'applied', outcomes }
  }

  #applyStep(step: TransactionStep, { version }: Write, guard: WriteGuard | undefined): OutcomeCode {
    const { memory } = this.#view
    const idempotency = guard?.idempotency
    const known = idempotency === undefined ? undefined : memory.findIdempotent(idempotency)
    if (known !== undefined) return known
    const outcome = applyTransactionStep(
      {
        memory,
        newestOf: (asked) => this.#versionOf(asked, this.writes.length),
        write: (write) => {
          this.writes.push(write)
          this.#versions?.set(write.key, write.isDeletion ? 0 : write.version)
        },
      },
      step,
      version,
    )
    const isFinal = outcome !== OUTCOME_LOCKED && outcome !== OUTCOME_ABORTED
    if (idempotency !== undefined && isFinal) memory.addIdempotent(idempotency, outcome)
    return outcome
  }

  /** `kept`: so many of the entry's writes have taken effect so far. */
  #applyOnce(
    session: SessionMemory | undefined,
    sequence: number,
    write: Write,
    guard: WriteGuard | undefined,
    kept: number,
  ): OutcomeCode {
    const remembered = session?.find(sequence)
    if (remembered !== undefined) return remembered
    if (this.#view.memory.transactions.lockOf(write.key) !== undefined) return OUTCOME_LOCKED
    const outcome = guard === undefined ? write.version : this.#applyGuarded(write, guard, kept)
    if (outcome === write.version) this.#versions?.set(write.key, write.isDeletion ? 0 : write.version)
    session?.add(sequence, outcome)
    return outcome
  }

  #applyGuarded(write: Write, guard: WriteGuard, kept: number): OutcomeCode {
    const { idempotency } = guard
    const { memory } = this.#view
    if (idempotency !== undefined) {
      const remembered = memory.findIdempotent(idempotency)
      if (remembered !== undefined) return remembered
    }
    const outcome = failedGuard(guard, this.#versionOf(write.key, kept)) ?? write.version
    if (idempotency !== undefined) memory.addIdempotent(idempotency, outcome)
    return outcome
  }

  #versionOf(key: Key, kept: number): Version {
    if (this.#versions === undefined) {
      this.#versions = new Map()
      for (let i = 0; i < kept; i++) {
        const { key: written, isDeletion, version } = this.writes[i]!
        this.#versions.set(written, isDeletion ? 0 : version)
      }
    }
    return this.#versions.get(key) ?? this.#view.versionOf(key)
  }
}
