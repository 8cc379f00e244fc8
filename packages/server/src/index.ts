export type { ClusterInfo, NodeInfo, RangeInfo } from './admin-schemas.js'
export {
  defaultHttpLimits,
  type HttpAddress,
  type HttpLimits,
  HttpServer,
  type HttpServerOptions,
} from './http-server.js'
export type { LogSync } from './log-sync-meter.js'
export type { OperatorInfo, OperatorState, RangeExplanation, RangeHashes } from './operator-schemas.js'
export type { Problem } from './problem-schema.js'
export * from './served-node.js'
export type { ClusterSettings } from './settings-schema.js'
