export * from './peer-links.js'
export * from './protocol.js'
export * from './range-call.js'
export * from './transport-port.js'
