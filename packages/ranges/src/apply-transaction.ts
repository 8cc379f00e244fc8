import type { Key, Version } from '@cordillera/base'
import { type Span, spanContains } from './descriptor.js'
import type { OperationMemory } from './operation-memory.js'
import {
  mismatchOutcome,
  OUTCOME_ABORTED,
  OUTCOME_EXPIRED,
  OUTCOME_LOCKED,
  OUTCOME_MEMORY_FULL,
  type OutcomeCode,
} from './outcome.js'
import { keysOfStep, type Mutation, type TransactionId, type TransactionStep } from './transaction-command.js'
import {
  isSameTransaction,
  type Lock,
  TRANSACTIONS_BYTES_MAX,
  type TransactionMemory,
  type TransactionRecord,
} from './transaction-memory.js'
import { Write } from './write.js'
import type { WriteBlock } from './write-block.js'
import type { WriteGuard } from './write-guard.js'

/**
 * What a part of a transaction does to a range when it applies: a function of the range's state, which it changes, and the
 * command. Every step may come late, twice, or to a transaction that is over; the argument why that is harmless, and why
 * readers see all of a transaction or nothing, is in `decisions/0003-transactions.md`.
 */
export interface TransactionView {
  readonly memory: OperationMemory
  /** The newest version of a key, what the entry has done so far included; 0 when it is absent. */
  newestOf(key: Key): Version
  /** In the order of calls. */
  write(write: Write): void
}

/** Whether the step touches nothing outside of the span. Its key does not, either. */
export function isStepWithin(span: Span, step: TransactionStep): boolean {
  return keysOfStep(step).every((key) => spanContains(span, key))
}

/** `version` is the command's. */
export function applyTransactionStep(view: TransactionView, step: TransactionStep, version: Version): OutcomeCode {
  switch (step.step) {
    case 'group':
      return applyGroup(view, step.mutations, version)
    case 'lock':
      return lock(view, step, version)
    case 'commit':
      return commit(view, step.transaction, version)
    case 'abort':
      return abort(view, step.transaction)
    case 'resolve':
      for (const key of step.keys) resolve(view, step.transaction, key, step.version)
      return version
    case 'recall':
      return OUTCOME_ABORTED
    case 'forget': {
      const { transactions } = view.memory
      if (transactions.recordOf(step.transaction)?.state !== 'pending') transactions.removeRecord(step.transaction)
      return version
    }
  }
}

/** Against which version the guard fails, as an outcome; undefined: it holds. */
export function failedGuard(guard: WriteGuard | undefined, newest: Version): OutcomeCode | undefined {
  if (guard === undefined) return undefined
  const { ifVersion, ifPresent, notAfter } = guard
  const isMet =
    (ifVersion === undefined || ifVersion === newest) &&
    (ifPresent === undefined || newest !== 0) &&
    (notAfter === undefined || newest <= notAfter)
  return isMet ? undefined : mismatchOutcome(newest)
}

/**
 * Whether every command of the block would meet a lock if it applied now. Nothing is lost by not proposing such a block: whoever
 * sends it again later finds what it came to if it was applied before.
 */
export function meetsLocksAlone({ commands }: WriteBlock, transactions: TransactionMemory): boolean {
  const isLocked = (key: Key): boolean => transactions.lockOf(key) !== undefined
  return commands.every((command) => {
    if (command.kind !== 'transaction') return isLocked(command.key)
    const { step } = command
    if (step.step === 'group') return step.mutations.some(({ key }) => isLocked(key))
    // Its own locks are there when it comes again.
    return (
      step.step === 'lock' && step.mutations.some(({ key }) => isLockedByOther(transactions, key, step.transaction))
    )
  })
}

function isLockedByOther(transactions: TransactionMemory, key: Key, transaction: TransactionId): boolean {
  const held = transactions.lockOf(key)
  return held !== undefined && !isSameTransaction(held.transaction, transaction)
}

function applyGroup(view: TransactionView, mutations: readonly Mutation[], version: Version): OutcomeCode {
  const refusal = refusalOf(view, mutations)
  if (refusal !== undefined) return refusal
  for (const mutation of mutations) takeEffect(view, mutation, version)
  return version
}

function lock(
  view: TransactionView,
  { transaction, home, mutations, participants }: Extract<TransactionStep, { step: 'lock' }>,
  version: Version,
): OutcomeCode {
  const { transactions } = view.memory
  const refusal = refusalOf(view, mutations)
  if (refusal !== undefined) return refusal
  if (transactions.bytes >= TRANSACTIONS_BYTES_MAX) return OUTCOME_MEMORY_FULL
  for (const mutation of mutations) {
    if (mutation.key === home) {
      transactions.setRecord({ transaction, home, participants, state: 'pending', version: 0 })
    }
    transactions.addLock({ transaction, home, mutation, since: version })
  }
  return version
}

/** One of the keys is locked, or the guard of one fails; undefined: neither. */
function refusalOf(view: TransactionView, mutations: readonly Mutation[]): OutcomeCode | undefined {
  const { transactions } = view.memory
  for (const { key } of mutations) if (transactions.lockOf(key) !== undefined) return OUTCOME_LOCKED
  for (const { key, guard } of mutations) {
    const failure = failedGuard(guard, view.newestOf(key))
    if (failure !== undefined) return failure
  }
  return undefined
}

function commit(view: TransactionView, transaction: TransactionId, version: Version): OutcomeCode {
  const record = view.memory.transactions.recordOf(transaction)
  if (record?.state === 'committed') return record.version
  if (record?.state !== 'pending') return OUTCOME_ABORTED
  decide(view, { ...record, state: 'committed', version })
  return version
}

function abort(view: TransactionView, transaction: TransactionId): OutcomeCode {
  const { memory } = view
  const record = memory.transactions.recordOf(transaction)
  if (record?.state === 'committed') return record.version
  if (record?.state === 'pending') decide(view, { ...record, state: 'aborted' })
  if (record !== undefined) return OUTCOME_ABORTED
  // It has not begun here, or it is over. Either way it does not begin from now on.
  const session = memory.open(transaction, 0)
  if (session === 'memory-full') return OUTCOME_MEMORY_FULL
  if (session === 'expired') return OUTCOME_EXPIRED
  const outcome = session.find(transaction.sequence)
  if (outcome === undefined) session.add(transaction.sequence, OUTCOME_ABORTED)
  if (outcome === OUTCOME_EXPIRED) return outcome
  return outcome !== undefined && outcome > 0 ? outcome : OUTCOME_ABORTED
}

/** The record says so from now on, the operation that began it came to that, and the locks that are here are resolved. */
function decide(view: TransactionView, record: TransactionRecord): void {
  const { memory } = view
  const { transaction, home, participants, version } = record
  memory.transactions.setRecord(record)
  memory.decide(transaction, version > 0 ? version : OUTCOME_ABORTED)
  for (const key of [home, ...participants]) resolve(view, transaction, key, version)
}

function resolve(view: TransactionView, transaction: TransactionId, key: Key, version: Version): void {
  const { transactions } = view.memory
  const held: Lock | undefined = transactions.lockOf(key)
  if (held === undefined || !isSameTransaction(held.transaction, transaction)) return
  transactions.removeLock(held)
  // One that came behind the commit was a copy of one that has been resolved: others may have written since.
  if (version > held.since) takeEffect(view, held.mutation, version)
}

function takeEffect(view: TransactionView, mutation: Mutation, version: Version): void {
  if (mutation.kind === 'check') return
  view.write(Write.of(mutation.key, version, mutation.kind === 'put' ? mutation.value : undefined))
}
