export { Admissions } from './admissions.js'
export { BoundaryPins } from './boundary-pins.js'
export {
  ClusterIndex,
  decodeHeartbeat,
  encodeHeartbeat,
  type Heartbeat,
  type IndexedRange,
  type RangeBeat,
} from './cluster-index.js'
export { type ClusterSettings, defaultClusterSettings, SettingsTable } from './cluster-settings.js'
export { decodeHeartbeatAnswer, type HeartbeatAnswer, type NodeSettings } from './heartbeat-answer.js'
export { IdAllocator } from './id-allocator.js'
export { NodeRegistry, type NodeRegistryParts, type Registration } from './node-registry.js'
export {
  isNodeTask,
  type NodeTask,
  type OperatorRecord,
  type OperatorState,
  type OperatorTask,
  type RangeTask,
  subjectsOf,
} from './operator.js'
export { type OperatorActions, Operators } from './operators.js'
export { ORACLE_KEY, Oracle, type OracleLeadership, type TimestampsIssued, type TimestampsWanted } from './oracle.js'
export { NOT_HERE, nodeTaskMs, PlacementDriver, type RangeActions } from './placement-driver.js'
export {
  decodeRecoveries,
  type KnownRecoveries,
  RECOVERIES_KEY,
  RecoveriesTable,
  readRecoveries,
} from './recoveries.js'
export { Snapshots } from './snapshots.js'
export { SystemTable } from './system-table.js'
export { TimestampClient, type TimestampWaiter } from './timestamp-client.js'
