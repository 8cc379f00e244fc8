export { isQuorumOf, isSurelyRemoved, type KnownDescriptor, newestOf } from './membership.js'
export type { ReplyTo } from './proposals.js'
export { Replica } from './replica.js'
export type { ReplicaObserver } from './replica-host.js'
export { Replicas } from './replicas.js'
export {
  defaultReplicasLimits,
  type ReplicaLinks,
  type ReplicasCounts,
  type ReplicasLimits,
  type ReplicasOptions,
} from './replicas-options.js'
export { type RangeReport, reportRange } from './report.js'
export type { RequestSampler } from './request-sampler.js'
export type { SilencedReplica } from './silenced-replicas.js'
export type { StoreCondition } from './store-health.js'
export type { SpaceLevel } from './store-space.js'
export { defaultStoreLimits, type StoreLimits, type StoreReport } from './store-watch.js'
export type { SystemLeadership, SystemSeat, TimestampSource, TimestampWaiter } from './timestamp-source.js'
