export type { HostPort } from './address.js'
export {
  defaultTransportLimits,
  type TransportLimits,
  type WebSocketTransportOptions,
} from './options.js'
export { WebSocketTransport } from './web-socket-transport.js'
