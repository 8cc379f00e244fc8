export { FaultSchedule } from './fault-schedule.js'
export { checkLinearizable, type Verdict } from './linearizability.js'
export { describeOperation, type Operation } from './operation.js'
export { type RunSeedOptions, runSeed, type SeedReport } from './run-seed.js'
export {
  drawOptions,
  FAULT_KINDS,
  type FaultKind,
  type FaultMix,
  PROFILES,
  type Profile,
  type SeedOptions,
} from './seed-options.js'
export { type ShrinkPorts, shrink } from './shrink.js'
export { SimulatedCluster, type SimulatedClusterOptions } from './simulated-cluster.js'
export type { Crash, NodeStatus, SimulatedNode } from './simulated-node.js'
export { type ProcessClock, type RunTurns, VirtualClock } from './virtual-clock.js'
export { type Delays, defaultDelays, VirtualNetwork } from './virtual-network.js'
export { defaultWorkload, hexFraction, Workload, type WorkloadOptions } from './workload.js'
