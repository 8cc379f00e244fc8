export { effectiveReplicas, initialPlacement, type PlacementRequest } from './initial-placement.js'
export {
  decideLeaderTransfers,
  defaultTransferLimits,
  type LeaderDecision,
  type LeaderPicture,
  type LedRange,
  type NodeView,
  preferredLeader,
  type StayReason,
  type TransferLimits,
  type TransferReason,
  takeTransfers,
} from './leader-transfers.js'
export { rendezvousRank, rendezvousScore } from './rendezvous.js'
export { decideReplacement, type ReplacementGoal, type ReplacementStep } from './replacement.js'
export { decideAddition, decideRemoval, type ResizingStep } from './resizing.js'
