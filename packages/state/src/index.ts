export {
  type ContractExpectation,
  type ContractTools,
  type EngineUnderTest,
  stateEngineContract,
} from './engine-contract.js'
export { MemoryEngine } from './memory-engine.js'
export type { OutgoingSnapshot } from './outgoing-snapshot.js'
export type { PageLimits, ScanEntry } from './page.js'
export type { NewReplica, ReplicaState } from './replica-catalog.js'
export type { SnapshotHead } from './snapshot-codec.js'
export type { StagedSnapshot } from './staged-snapshot.js'
export * from './state-engine.js'
export {
  type FlushSample,
  type ScanRequest,
  type ScanResult,
  type StateStats,
  StateStore,
  type StateStoreOptions,
} from './state-store.js'
export type { Successor } from './succession.js'
