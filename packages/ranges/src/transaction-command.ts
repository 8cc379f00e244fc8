import { type ByteReader, ByteWriter, CordilleraError, type Key, type Version } from '@cordillera/base'
import { BATCH_BYTES_MAX, PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.js'
import {
  DELETE,
  KIND_MASK,
  PUT,
  readGuardFields,
  type Session,
  type WriteGuard,
  writeGuardFields,
} from './write-guard.js'

/**
 * The commands of which transactions are made, and their byte layout. What they do is in `apply-transaction.ts`, why it is
 * right in `decisions/0003-transactions.md`.
 *
 * The body of a command is `u8 step`, then: group: `varint count, count × mutation`; lock: `transaction, bytes home, varint
 * count, count × mutation, varint count, count × key`; commit, abort, forget: `transaction`; resolve: `transaction, varint version,
 * varint count, count × key`; recall: nothing. A transaction is
 * `varint nodeId, varint incarnation, varint sequence`; a mutation `u8 kind | guards, key, guards, [bytes value]`.
 */

/** The number of the operation that begins it, in the session of its coordinator: never used again. */
export interface TransactionId extends Session {
  readonly sequence: number
}

/** What a transaction does to a key; `check` alone wants that the guard holds. */
export type Mutation =
  | { readonly kind: 'put'; readonly key: Key; readonly value: Uint8Array; readonly guard?: WriteGuard }
  | { readonly kind: 'delete' | 'check'; readonly key: Key; readonly guard?: WriteGuard }

export type TransactionStep =
  /** All of the mutations, which lie in one range, or none, at one version. */
  | { readonly step: 'group'; readonly mutations: readonly Mutation[] }
  /**
   * Locks the mutations' keys, which lie in one range, for the transaction, if all of their guards hold; or none of them. `home` is
   * where the transaction's record is; the lock of that key begins it, and names all others, those beside it included, in
   * `participants`.
   */
  | {
      readonly step: 'lock'
      readonly transaction: TransactionId
      readonly home: Key
      readonly mutations: readonly Mutation[]
      readonly participants: readonly Key[]
    }
  /** At home. The transaction takes effect, at the version of this command, unless it was aborted. */
  | { readonly step: 'commit'; readonly transaction: TransactionId }
  /** At home. It never takes effect, unless it has. */
  | { readonly step: 'abort'; readonly transaction: TransactionId }
  /** What the keys, which lie in one range, are locked with takes effect at `version`; with 0, not at all. */
  | {
      readonly step: 'resolve'
      readonly transaction: TransactionId
      readonly version: Version
      readonly keys: readonly Key[]
    }
  /** At home. All of its locks are resolved. */
  | { readonly step: 'forget'; readonly transaction: TransactionId }
  /** What the operation with the command's idempotency id has come to; `aborted` where none is known. Changes nothing. */
  | { readonly step: 'recall' }

const STEPS = ['group', 'lock', 'commit', 'abort', 'resolve', 'forget', 'recall'] as const
const CHECK = 3
export const TRANSACTION_BODY_BYTES_MAX = 2 * BATCH_BYTES_MAX

/** A buffer of its own. */
export function encodeTransactionStep(step: TransactionStep): Uint8Array {
  const writer = new ByteWriter(128)
  writer.u8(STEPS.indexOf(step.step))
  if (step.step === 'group') {
    writer.varint(step.mutations.length)
    for (const mutation of step.mutations) writeMutation(writer, mutation)
    return writer.take()
  }
  if (step.step === 'recall') return writer.take()
  writeTransactionId(writer, step.transaction)
  if (step.step === 'lock') {
    writer.key(step.home).varint(step.mutations.length)
    for (const mutation of step.mutations) writeMutation(writer, mutation)
    writeKeys(writer, step.participants)
  } else if (step.step === 'resolve') writeKeys(writer.varint(step.version), step.keys)
  return writer.take()
}

/** Values are views of what is read. Throws `CORRUPT` unless the reader holds exactly one step. */
export function decodeTransactionStep(reader: ByteReader): TransactionStep {
  const step = STEPS[reader.u8()]
  if (step === undefined) throw malformed('an unknown step')
  const decoded = decodeBody(reader, step)
  reader.end()
  return decoded
}

function decodeBody(reader: ByteReader, step: (typeof STEPS)[number]): TransactionStep {
  if (step === 'group') {
    return { step, mutations: readMutations(reader) }
  }
  if (step === 'recall') return { step }
  const transaction = readTransactionId(reader)
  if (step === 'resolve') return { step, transaction, version: reader.varint(), keys: readList(reader, readKey) }
  if (step !== 'lock') return { step, transaction }
  const home = reader.key(PREFIXED_KEY_BYTES_MAX)
  const mutations = readMutations(reader)
  return { step, transaction, home, mutations, participants: readList(reader, readKey) }
}

/** The keys besides the command's own that must lie in its range. */
export function keysOfStep(step: TransactionStep): readonly Key[] {
  if (step.step === 'resolve') return step.keys
  return step.step === 'group' || step.step === 'lock' ? step.mutations.map(({ key }) => key) : []
}

function writeKeys(writer: ByteWriter, keys: readonly Key[]): void {
  writer.varint(keys.length)
  for (const key of keys) writer.key(key)
}

function readMutations(reader: ByteReader): Mutation[] {
  const mutations = readList(reader, readMutation)
  if (mutations.length === 0) throw malformed('no mutation')
  return mutations
}

export function writeTransactionId(writer: ByteWriter, { nodeId, incarnation, sequence }: TransactionId): void {
  writer.varint(nodeId).varint(incarnation).varint(sequence)
}

export function readTransactionId(reader: ByteReader): TransactionId {
  const id = { nodeId: reader.varint(), incarnation: reader.varint(), sequence: reader.varint() }
  if (id.nodeId === 0) throw malformed('a transaction of nobody')
  return id
}

export function writeMutation(writer: ByteWriter, mutation: Mutation): void {
  const { kind, key, guard } = mutation
  writeGuardFields(writer, kind === 'put' ? PUT : kind === 'delete' ? DELETE : CHECK, guard, () => writer.key(key))
  if (kind === 'put') writer.bytes(mutation.value)
}

export function readMutation(reader: ByteReader): Mutation {
  const flags = reader.u8()
  const kind = flags & KIND_MASK
  const key = readKey(reader)
  const guard = readGuardFields(reader, flags)
  if (guard?.idempotency !== undefined || kind === 0) throw malformed(`mutation ${flags} is unknown`)
  const guarded = guard === undefined ? {} : { guard }
  if (kind === PUT) return { kind: 'put', key, value: reader.bytes(VALUE_BYTES_MAX), ...guarded }
  return { kind: kind === DELETE ? 'delete' : 'check', key, ...guarded }
}

function readKey(reader: ByteReader): Key {
  return reader.key(PREFIXED_KEY_BYTES_MAX)
}

function readList<Item>(reader: ByteReader, read: (reader: ByteReader) => Item): Item[] {
  const count = reader.varint()
  if (count > reader.remaining) throw malformed('more of something than bytes')
  const items: Item[] = []
  for (let i = 0; i < count; i++) items.push(read(reader))
  return items
}

function malformed(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed transaction: ${what}` })
}
