export type { ReplyTo } from './proposals.js'
export { Replica, type ReplicaObserver } from './replica.js'
export {
  defaultReplicasLimits,
  type ReplicaLinks,
  Replicas,
  type ReplicasCounts,
  type ReplicasLimits,
  type ReplicasOptions,
} from './replicas.js'
export type { RangeReport } from './report.js'
export type { SystemLeadership, SystemSeat, TimestampSource, TimestampWaiter } from './timestamp-source.js'
