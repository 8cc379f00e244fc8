/** What composes a node of one's own from the real ports needs. The command is `dist/bin.js`. */
export { type Address, formatAddress, tryParseAddress } from './address.js'
export { LOG_LEVELS, type LogLevel } from './log-level.js'
export { NodeDisk } from './node-disk.js'
export { createPinoLogger } from './pino-logger.js'
export { type StartedNode, startNode } from './start.js'
export type { StartConfig } from './start-config.js'
export { SystemClock } from './system-clock.js'
