export type { ReplyTo } from './proposals.js'
export { Replica } from './replica.js'
export {
  defaultReplicasLimits,
  type ReplicaLinks,
  Replicas,
  type ReplicasCounts,
  type ReplicasLimits,
  type ReplicasOptions,
} from './replicas.js'
export type { RangeReport } from './report.js'
