import { ByteReader, ByteWriter, CordilleraError, type Incarnation, type NodeId } from '@cordillera/base'
import type { Span } from './descriptor.js'
import { OUTCOME_ABORTED, OUTCOME_EXPIRED, OUTCOME_MEMORY_FULL, OUTCOME_REUSED, type OutcomeCode } from './outcome.js'
import type { TransactionId } from './transaction-command.js'
import { TransactionMemory } from './transaction-memory.js'
import type { Session } from './write-guard.js'

/**
 * What a range remembers of the operations that it applied, so that one that is sent again takes effect once. Part of
 * the range's replicated state: the same entries make the same memory, and the same bytes, on every replica.
 *
 * Two kinds of ids:
 *
 * - *Sessions*, one a node: operations are numbered; what was answered is forgotten when the session says so (the
 *   *floor*), and a number below the floor is refused for ever. A later incarnation of the node replaces the session; an
 *   earlier one is refused. At most {@link OUTCOMES_PER_SESSION_MAX} outcomes are kept a session, the highest; at most
 *   {@link SESSIONS_MAX} sessions a range, a further node being refused, because forgetting one could let an old
 *   operation run again.
 * - *Idempotency ids* of clients, kept for {@link IDEMPOTENCY_MS} of the range's age, at most {@link IDEMPOTENCY_MAX} of
 *   them; when they are full of ids that young, a further one is refused.
 */
export const OUTCOMES_PER_SESSION_MAX = 16_384
export const SESSIONS_MAX = 1_024
export const IDEMPOTENCY_MS = 600_000
export const IDEMPOTENCY_MAX = 16_384

const FORMAT = 2
const ID_BYTES = 16

/** Outcomes of one session; see `OperationMemory`. Sequences ascend; forgotten ones lie below `head`. */
export class SessionMemory {
  floor = 0
  sequences: number[] = []
  outcomes: OutcomeCode[] = []
  head = 0

  constructor(readonly incarnation: Incarnation) {}

  get size(): number {
    return this.sequences.length - this.head
  }

  raiseFloor(to: number): void {
    if (to <= this.floor) return
    this.floor = to
    const { sequences } = this
    while (this.head < sequences.length && sequences[this.head]! < to) this.head++
    if (this.head < 64 || this.head * 2 < sequences.length) return
    this.sequences = sequences.slice(this.head)
    this.outcomes = this.outcomes.slice(this.head)
    this.head = 0
  }

  /** What the operation came to; undefined: it has not run. */
  find(sequence: number): OutcomeCode | undefined {
    if (sequence < this.floor) return OUTCOME_EXPIRED
    const { sequences } = this
    if (this.head === sequences.length || sequence > sequences[sequences.length - 1]!) return undefined
    const at = this.#lowerBound(sequence)
    return sequences[at] === sequence ? this.outcomes[at] : undefined
  }

  /** An operation that is remembered has come to this in the end. */
  replace(sequence: number, outcome: OutcomeCode): void {
    const at = this.#lowerBound(sequence)
    if (sequence >= this.floor && this.sequences[at] === sequence) this.outcomes[at] = outcome
  }

  /** Remembers an operation that had not run. */
  add(sequence: number, outcome: OutcomeCode): void {
    const { sequences, outcomes } = this
    if (sequences.length === this.head || sequence > sequences[sequences.length - 1]!) {
      sequences.push(sequence)
      outcomes.push(outcome)
    } else {
      const at = this.#lowerBound(sequence)
      sequences.splice(at, 0, sequence)
      outcomes.splice(at, 0, outcome)
    }
    if (this.size > OUTCOMES_PER_SESSION_MAX) this.raiseFloor(sequences[this.head]! + 1)
  }

  /** A session of its own that remembers what both do. */
  unite(other: SessionMemory | undefined): SessionMemory {
    if (other !== undefined && other.incarnation > this.incarnation) return other.unite(undefined)
    const united = new SessionMemory(this.incarnation)
    const isSame = other?.incarnation === this.incarnation
    united.floor = isSame ? Math.max(this.floor, other.floor) : this.floor
    const outcomes = new Map<number, OutcomeCode>()
    for (const one of isSame ? [this, other] : [this]) {
      for (let i = one.head; i < one.sequences.length; i++) {
        const [sequence, outcome] = [one.sequences[i]!, one.outcomes[i]!]
        const other = outcomes.get(sequence)
        outcomes.set(sequence, other === undefined ? outcome : laterOutcome(outcome, other))
      }
    }
    for (const sequence of [...outcomes.keys()].sort((a, b) => a - b)) {
      if (sequence >= united.floor) united.add(sequence, outcomes.get(sequence)!)
    }
    return united
  }

  #lowerBound(sequence: number): number {
    let [low, high] = [this.head, this.sequences.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.sequences[middle]! < sequence) low = middle + 1
      else high = middle
    }
    return low
  }
}

interface Remembered {
  readonly fingerprint: string
  readonly outcome: OutcomeCode
  readonly ageMs: number
}

export class OperationMemory {
  #transactions = new TransactionMemory()
  readonly #sessions = new Map<NodeId, SessionMemory>()
  /** By id, oldest first. */
  readonly #idempotent = new Map<string, Remembered>()
  #ageMs = 0
  #changes = 0

  /** Grows with every change; two equal readings mean that nothing changed in between. */
  get changes(): number {
    return this.#changes + this.#transactions.changes
  }

  /** What transactions have locked, and what they came to. */
  get transactions(): TransactionMemory {
    return this.#transactions
  }

  /** The range's age by the clocks of its leaders, in ms: what the newest entry said. Never goes back. */
  get ageMs(): number {
    return this.#ageMs
  }

  /** Takes in the age that an entry carries. */
  advanceAge(ageMs: number): void {
    if (ageMs <= this.#ageMs) return
    this.#ageMs = ageMs
    this.#changes++
  }

  /**
   * The memory of the session, made or replaced if need be, with its floor raised. `expired`: it is of an earlier
   * incarnation; `memory-full`: there are too many sessions. Not for the session 0.
   */
  open(session: Session, lowestOutstanding: number): SessionMemory | 'expired' | 'memory-full' {
    this.#changes++
    let known = this.#sessions.get(session.nodeId)
    if (known === undefined || known.incarnation < session.incarnation) {
      if (known === undefined && this.#sessions.size >= SESSIONS_MAX) return 'memory-full'
      known = new SessionMemory(session.incarnation)
      this.#sessions.set(session.nodeId, known)
    }
    if (known.incarnation > session.incarnation) return 'expired'
    known.raiseFloor(lowestOutstanding)
    return known
  }

  /** The operation that began the transaction has come to this; if it is still remembered. */
  decide({ nodeId, incarnation, sequence }: TransactionId, outcome: OutcomeCode): void {
    const session = this.#sessions.get(nodeId)
    if (session?.incarnation !== incarnation) return
    session.replace(sequence, outcome)
    this.#changes++
  }

  /** What the operation with this id came to, REUSED when its request was another; undefined: it has not run. */
  findIdempotent(idempotency: Uint8Array): OutcomeCode | undefined {
    const { id, fingerprint } = split(idempotency)
    this.#forgetOld()
    const known = this.#idempotent.get(id)
    if (known === undefined) return this.#idempotent.size < IDEMPOTENCY_MAX ? undefined : OUTCOME_MEMORY_FULL
    return known.fingerprint === fingerprint ? known.outcome : OUTCOME_REUSED
  }

  /** Remembers an operation that {@link findIdempotent} did not know. */
  addIdempotent(idempotency: Uint8Array, outcome: OutcomeCode): void {
    const { id, fingerprint } = split(idempotency)
    this.#idempotent.set(id, { fingerprint, outcome, ageMs: this.#ageMs })
    this.#changes++
  }

  /**
   * `u8 format, varint ageMs, varint count, count × session (nodeId, incarnation, floor, count, count × (sequence step,
   * outcome)), varint count, count × (16 bytes id, 16 bytes fingerprint, varint ageMs, outcome)`, then transactions;
   * an outcome is `u8 negative, varint magnitude`. Without a checksum: the holder has one.
   */
  encode(): Uint8Array {
    const writer = new ByteWriter(256)
    writer.u8(FORMAT).varint(this.#ageMs).varint(this.#sessions.size)
    for (const [nodeId, session] of this.#sessions) {
      const { incarnation, floor, sequences, outcomes, head, size } = session
      writer.varint(nodeId).varint(incarnation).varint(floor).varint(size)
      let before = floor
      for (let i = head; i < sequences.length; i++) {
        writer.varint(sequences[i]! - before)
        writeOutcome(writer, outcomes[i]!)
        before = sequences[i]!
      }
    }
    writer.varint(this.#idempotent.size)
    for (const [id, { fingerprint, outcome, ageMs }] of this.#idempotent) {
      writer.raw(Buffer.from(id + fingerprint, 'latin1')).varint(ageMs)
      writeOutcome(writer, outcome)
    }
    this.#transactions.encode(writer)
    return writer.take()
  }

  /** Throws `CORRUPT`. */
  static decode(bytes: Uint8Array): OperationMemory {
    const memory = new OperationMemory()
    const reader = new ByteReader(bytes)
    if (reader.u8() !== FORMAT) throw malformed('an unknown format')
    memory.#ageMs = reader.varint()
    const sessions = reader.varint()
    for (let i = 0; i < sessions; i++) memory.#readSession(reader)
    const idempotent = reader.varint()
    for (let i = 0; i < idempotent; i++) {
      const id = reader.raw(ID_BYTES).toString('latin1')
      const fingerprint = reader.raw(ID_BYTES).toString('latin1')
      const ageMs = reader.varint()
      memory.#idempotent.set(id, { fingerprint, outcome: readOutcome(reader), ageMs })
    }
    memory.#transactions = TransactionMemory.decode(reader)
    reader.end()
    return memory
  }

  /** An independent memory for a part of the span: operations may be asked for in any part, locks are where their keys are. */
  copyWithin(span: Span): OperationMemory {
    const copy = OperationMemory.decode(this.encode())
    copy.#transactions = this.#transactions.within(span)
    return copy
  }

  /**
   * What both remember, for a range made of two. Of a session in both, the later incarnation counts; where they are the same, the
   * higher floor: below it one of them may have forgotten something that it did. Ids keep the time that is left to them.
   */
  unite(other: OperationMemory): OperationMemory {
    const united = new OperationMemory()
    united.#ageMs = Math.max(this.#ageMs, other.#ageMs)
    for (const [nodeId, session] of this.#sessions)
      united.#sessions.set(nodeId, session.unite(other.#sessions.get(nodeId)))
    for (const [nodeId, session] of other.#sessions) {
      if (!united.#sessions.has(nodeId)) united.#sessions.set(nodeId, session.unite(undefined))
    }
    united.#transactions = this.#transactions.unite(other.#transactions)
    const remembered = [...this.#aged(united.#ageMs), ...other.#aged(united.#ageMs)]
    remembered.sort(([, a], [, b]) => a.ageMs - b.ageMs)
    for (const [id, one] of remembered) if (!united.#idempotent.has(id)) united.#idempotent.set(id, one)
    return united
  }

  /** As if the range were of that age. */
  *#aged(ageMs: number): Generator<[string, Remembered]> {
    const older = ageMs - this.#ageMs
    for (const [id, one] of this.#idempotent) yield [id, { ...one, ageMs: one.ageMs + older }]
  }

  #readSession(reader: ByteReader): void {
    const nodeId = reader.varint()
    const session = new SessionMemory(reader.varint())
    session.floor = reader.varint()
    const count = reader.varint()
    let sequence = session.floor
    for (let i = 0; i < count; i++) {
      const step = reader.varint()
      if (i > 0 && step === 0) throw malformed('a sequence that comes twice')
      sequence += step
      session.sequences.push(sequence)
      session.outcomes.push(readOutcome(reader))
    }
    this.#sessions.set(nodeId, session)
  }

  #forgetOld(): void {
    for (const [id, { ageMs }] of this.#idempotent) {
      if (this.#ageMs - ageMs < IDEMPOTENCY_MS) return
      this.#idempotent.delete(id)
      this.#changes++
    }
  }
}

/**
 * Two halves of a range may remember different things of an operation that began a transaction before the cut: that its key was
 * locked, and, where the record is, what became of it.
 */
function laterOutcome(a: OutcomeCode, b: OutcomeCode): OutcomeCode {
  return a === OUTCOME_ABORTED || b === OUTCOME_ABORTED ? OUTCOME_ABORTED : Math.max(a, b)
}

function split(idempotency: Uint8Array): { id: string; fingerprint: string } {
  const chars = Buffer.from(idempotency).toString('latin1')
  return { id: chars.slice(0, ID_BYTES), fingerprint: chars.slice(ID_BYTES) }
}

function writeOutcome(writer: ByteWriter, outcome: OutcomeCode): void {
  writer.u8(outcome < 0 ? 1 : 0).varint(Math.abs(outcome))
}

function readOutcome(reader: ByteReader): OutcomeCode {
  const isNegative = reader.u8() === 1
  const magnitude = reader.varint()
  return isNegative ? 0 - magnitude : magnitude
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed memory of operations: ${what}` })
}
