export {
  type ClusterPicture,
  defaultPlacementSettings,
  isDead,
  type LoadSplit,
  type Membership,
  type NodePicture,
  type NodeState,
  nodeState,
  type PlacementSettings,
  type RangePicture,
} from './cluster-picture.js'
export { decide, explainRange } from './decide.js'
export { type DecommissionAnswer, type DecommissionCode, decideDecommission } from './decommission.js'
export { drainObstacle } from './drain-obstacle.js'
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
export { LOCALITY_TIERS_MAX, type Locality, pairDiversity, parseLocality, type Tier } from './locality.js'
export type {
  Decision,
  DecisionCode,
  DecisionKind,
  DoCode,
  Explanation,
  NoCode,
  Operator,
  ReplaceReplica,
} from './operator.js'
export { rendezvousRank, rendezvousScore } from './rendezvous.js'
export { decideReplacement, type ReplacementGoal, type ReplacementStep } from './replacement.js'
export { decideAddition, decideRemoval, type ResizingStep } from './resizing.js'
