import { assert, type ByteReader, type ByteWriter, CordilleraError, type Key, type Version } from '@cordillera/base'
import { type Span, spanContains } from './descriptor.js'
import { PREFIXED_KEY_BYTES_MAX } from './limits.js'
import {
  type Mutation,
  readMutation,
  readTransactionId,
  type TransactionId,
  writeMutation,
  writeTransactionId,
} from './transaction-command.js'

/**
 * The locks and the records of transactions in one range: a part of its replicated state, and of what it remembers.
 *
 * A *lock* stands at a key that a transaction is to change, with the change, until the transaction is decided and that is known
 * there. A *record* stands at the transaction's home, its first key, from that key's lock until every other lock is gone: what
 * it says is what the transaction came to. Both lie where their keys do, and move with them.
 */

/** Keys and values of all locks and records of a range. */
export const TRANSACTIONS_BYTES_MAX = 32 << 20

export interface Lock {
  readonly transaction: TransactionId
  readonly home: Key
  /** What is to happen to the key. The value is a view of the entry, or the bytes, that brought it. */
  readonly mutation: Mutation
  /** The version of the command that locked it: whatever the transaction comes to has a higher one. */
  readonly since: Version
}

export interface TransactionRecord {
  readonly transaction: TransactionId
  readonly home: Key
  /** Every other key that it may have locked. */
  readonly participants: readonly Key[]
  readonly state: 'pending' | 'committed' | 'aborted'
  /** Of everything that it wrote; 0 unless it is committed. */
  readonly version: Version
}

export class TransactionMemory {
  readonly #locks = new Map<Key, Lock>()
  readonly #records = new Map<string, TransactionRecord>()
  #bytes = 0
  #changes = 0

  get isEmpty(): boolean {
    return this.#locks.size === 0 && this.#records.size === 0
  }

  /** Whether any key is locked. */
  get hasLocks(): boolean {
    return this.#locks.size > 0
  }

  /** Of keys and values, roughly. */
  get bytes(): number {
    return this.#bytes
  }

  /** Grows with every change. */
  get changes(): number {
    return this.#changes
  }

  lockOf(key: Key): Lock | undefined {
    return this.#locks.get(key)
  }

  /** In no order. */
  locks(): Iterable<Lock> {
    return this.#locks.values()
  }

  records(): Iterable<TransactionRecord> {
    return this.#records.values()
  }

  recordOf(transaction: TransactionId): TransactionRecord | undefined {
    return this.#records.get(idOf(transaction))
  }

  addLock(lock: Lock): void {
    const { key } = lock.mutation
    assert(!this.#locks.has(key), 'a key has one lock')
    this.#locks.set(key, lock)
    this.#bytes += lockBytes(lock)
    this.#changes++
  }

  removeLock(lock: Lock): void {
    this.#locks.delete(lock.mutation.key)
    this.#bytes -= lockBytes(lock)
    this.#changes++
  }

  /** Adds the record, or takes the place of the one that there is. */
  setRecord(record: TransactionRecord): void {
    this.removeRecord(record.transaction)
    this.#records.set(idOf(record.transaction), record)
    this.#bytes += recordBytes(record)
    this.#changes++
  }

  removeRecord(transaction: TransactionId): void {
    const record = this.recordOf(transaction)
    if (record === undefined) return
    this.#records.delete(idOf(transaction))
    this.#bytes -= recordBytes(record)
    this.#changes++
  }

  /** What lies in the span, in a memory of its own. */
  within(span: Span): TransactionMemory {
    const part = new TransactionMemory()
    for (const lock of this.#locks.values()) if (spanContains(span, lock.mutation.key)) part.addLock(lock)
    for (const record of this.#records.values()) if (spanContains(span, record.home)) part.setRecord(record)
    return part
  }

  /** Both, of spans that do not overlap. */
  unite(other: TransactionMemory): TransactionMemory {
    const united = new TransactionMemory()
    for (const one of [this, other]) {
      for (const lock of one.#locks.values()) united.addLock(lock)
      for (const record of one.#records.values()) united.setRecord(record)
    }
    return united
  }

  /**
   * `varint count, count × lock (transaction, bytes home, varint since, mutation), varint count, count × record (transaction,
   * bytes home, u8 state, varint version, varint count, count × key)`.
   */
  encode(writer: ByteWriter): void {
    writer.varint(this.#locks.size)
    for (const { transaction, home, mutation, since } of this.#locks.values()) {
      writeTransactionId(writer, transaction)
      writer.key(home).varint(since)
      writeMutation(writer, mutation)
    }
    writer.varint(this.#records.size)
    for (const { transaction, home, participants, state, version } of this.#records.values()) {
      writeTransactionId(writer, transaction)
      writer.key(home).u8(STATES.indexOf(state)).varint(version).varint(participants.length)
      for (const key of participants) writer.key(key)
    }
  }

  /** Throws `CORRUPT`. Values are views of what is read. */
  static decode(reader: ByteReader): TransactionMemory {
    const memory = new TransactionMemory()
    const locks = reader.varint()
    for (let i = 0; i < locks; i++) {
      const transaction = readTransactionId(reader)
      const home = readKey(reader)
      const since = reader.varint()
      const mutation = readMutation(reader)
      if (memory.#locks.has(mutation.key)) throw malformed('a key that is locked twice')
      memory.addLock({ transaction, home, since, mutation })
    }
    const records = reader.varint()
    for (let i = 0; i < records; i++) {
      const transaction = readTransactionId(reader)
      const home = readKey(reader)
      const state = STATES[reader.u8()]
      if (state === undefined) throw malformed('an unknown state')
      const version = reader.varint()
      const participants: Key[] = []
      const count = reader.varint()
      for (let k = 0; k < count; k++) participants.push(readKey(reader))
      memory.setRecord({ transaction, home, state, version, participants })
    }
    memory.#changes = 0
    return memory
  }
}

/** One transaction's name, for maps. */
export function idOf({ nodeId, incarnation, sequence }: TransactionId): string {
  return `${nodeId}.${incarnation}.${sequence}`
}

export function isSameTransaction(a: TransactionId, b: TransactionId): boolean {
  return a.sequence === b.sequence && a.nodeId === b.nodeId && a.incarnation === b.incarnation
}

const STATES = ['pending', 'committed', 'aborted'] as const
/** Of a lock or a record, besides its keys and values. */
const OVERHEAD_BYTES = 64

function lockBytes({ home, mutation }: Lock): number {
  return OVERHEAD_BYTES + home.length + mutation.key.length + (mutation.kind === 'put' ? mutation.value.length : 0)
}

function recordBytes({ home, participants }: TransactionRecord): number {
  let bytes = OVERHEAD_BYTES + home.length
  for (const key of participants) bytes += key.length
  return bytes
}

function readKey(reader: ByteReader): Key {
  return reader.key(PREFIXED_KEY_BYTES_MAX)
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed memory of transactions: ${what}` })
}
