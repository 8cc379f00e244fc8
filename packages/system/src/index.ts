export { NodeRegistry, type NodeRegistryParts, type Registration } from './node-registry.js'
export { ORACLE_KEY, Oracle, type OracleLeadership, type TimestampsIssued, type TimestampsWanted } from './oracle.js'
export { Snapshots } from './snapshots.js'
export { TimestampClient, type TimestampWaiter } from './timestamp-client.js'
