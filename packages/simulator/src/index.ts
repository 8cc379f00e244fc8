export { checkLinearizable, type Verdict } from './linearizability.js'
export { describeOperation, type Operation } from './operation.js'
export { turnsOfNode } from './testing/turns-of-node.js'
export { type ProcessClock, type RunTurns, VirtualClock } from './virtual-clock.js'
