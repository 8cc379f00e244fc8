export {
  defaultTransportLimits,
  type TransportLimits,
  WebSocketTransport,
  type WebSocketTransportOptions,
} from './web-socket-transport.js'
