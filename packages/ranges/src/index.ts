export * from './admin-command.js'
export * from './apply-entry.js'
export { meetsLocksAlone } from './apply-transaction.js'
export * from './descriptor.js'
export * from './descriptor-codec.js'
export * from './epoch.js'
export * from './initial-spans.js'
export * from './keyspace.js'
export * from './limits.js'
export * from './merge.js'
export {
  IDEMPOTENCY_MAX,
  IDEMPOTENCY_MS,
  OperationMemory,
  OUTCOMES_PER_SESSION_MAX,
  SESSIONS_MAX,
} from './operation-memory.js'
export * from './outcome.js'
export * from './recovery.js'
export * from './replica-change.js'
export * from './split.js'
export * from './spread.js'
export * from './stored-value.js'
export { keysOfStep, type Mutation, type TransactionId, type TransactionStep } from './transaction-command.js'
export { idOf, isSameTransaction, type Lock, TransactionMemory, type TransactionRecord } from './transaction-memory.js'
export { Write } from './write.js'
export {
  bringsValue,
  type Command,
  checkWriteBlock,
  decodeWriteBlock,
  decodeWriteBlockHeader,
  type EntryStamp,
  holdsPut,
  joinBlocks,
  keyOfCommand,
  type WriteBlock,
  WriteBlockBuilder,
  type WriteBlockHeader,
} from './write-block.js'
export { NO_SESSION, type Session, type WriteGuard } from './write-guard.js'
