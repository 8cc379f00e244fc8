export type { ClusterInfo, NodeInfo, Problem, RangeInfo } from './admin-schemas.js'
export {
  defaultHttpLimits,
  type HttpAddress,
  type HttpLimits,
  HttpServer,
  type HttpServerOptions,
} from './http-server.js'
export type { LogSync } from './log-sync-meter.js'
export * from './served-node.js'
