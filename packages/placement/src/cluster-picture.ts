import type { Key, NodeId } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import type { Locality } from './locality.js'
import type { Operator } from './operator.js'

/**
 * What the placement driver knows of the cluster at one moment: all that its decisions depend on.
 *
 * Figures may be a few seconds old; they are never read back into a decision that was made. What is under way is listed
 * from the moment it was decided until the picture's descriptors and leaders show its outcome or it was given up, so that nothing
 * is decided twice. A picture is not changed while it is looked at.
 */
export interface ClusterPicture {
  /** By the clock of every `…Ms` here. */
  readonly nowMs: number
  readonly settings: PlacementSettings
  /** Every registered node, in any order. A node that is missing is neither dead nor given anything. */
  readonly nodes: readonly NodePicture[]
  /** Every range, in the order of its keys. */
  readonly ranges: readonly RangePicture[]
  /** At most one a range. */
  readonly underWay: readonly Operator[]
}

/** What people asked of a node. `draining`: it leads nothing and is given nothing. `decommissioning`: it is emptied as well. */
export type Membership = 'member' | 'draining' | 'decommissioning' | 'decommissioned'

export interface NodePicture {
  readonly nodeId: NodeId
  readonly locality: Locality
  readonly membership: Membership
  readonly contact: { readonly kind: 'up' | 'down'; readonly sinceMs: number }
  /** Its disk is slow, stalled or nearly full: it is given nothing until that is over. What it leads it sheds by itself. */
  readonly isUnfit?: boolean
}

/** The admin API's word for a node. */
export type NodeState = 'live' | 'dead' | Exclude<Membership, 'member'>

export interface RangePicture {
  readonly descriptor: Descriptor
  /** 0 when unknown. */
  readonly leader: NodeId
  readonly bytes: number
  /** Smoothed, as the leader counts them. */
  readonly readsPerSec: number
  readonly writesPerSec: number
  /** The most requests a second of the last minutes: a cluster that is slow right now still counts as busy. */
  readonly loadMaxPerSec: number
  /** When it was created, split or merged last. */
  readonly lastChangedMs: number
  /** What the leader's samples say; absent until there are enough of them since the range changed. */
  readonly loadSplit?: LoadSplit
  /** Nodes whose replica lacks too much to take over the leadership. */
  readonly behind?: readonly NodeId[]
  /** A person or the founding put a boundary at its start: no merge takes it away. */
  readonly startIsPinned?: boolean
}

/** A key that halves the load, or the one key that makes up most of it: no split helps against that. */
export type LoadSplit =
  | { readonly kind: 'key'; readonly key: Key }
  | { readonly kind: 'one-hot-key'; readonly key: Key }

export interface PlacementSettings {
  /** When off, nothing is decided. */
  readonly placementEnabled: boolean
  /** Wanted; see `effectiveReplicas`. */
  readonly replicas: number
  /** A larger range is split. */
  readonly rangeSplitBytes: number
  /** Two smaller neighbours may be merged. */
  readonly rangeMergeBytes: number
  /** How long a range is left unmerged after it changed. */
  readonly mergeCooldownMs: number
  /** A busier range is split where that halves its load. */
  readonly splitLoadPerSec: number
  /** No merge leaves fewer ranges; the system range counts. */
  readonly rangesMin: number
  /** Replicas on a node that is unreachable for longer are replaced. */
  readonly deadAfterMs: number
  /** How long a node must be up before leaderships are balanced onto it. */
  readonly leaderGraceMs: number
  /** How far replicas, leaders and load of a node may be off the mean before something moves, as a share of the mean. */
  readonly balanceTolerance: number
  /** Differences of fewer requests a second are not worth a move. */
  readonly balanceLoadMinPerSec: number
  /** Snapshots that a node sends at once, and that it receives at once. */
  readonly movesPerNodeMax: number
  /** Bytes of snapshots that a node sends at once, and that it receives; a single one may be larger. */
  readonly moveBytesPerNodeMax: number
  /** Transfers of leadership under way from a node, and to it. */
  readonly transfersPerNodeMax: number
  /** Splits under way in the cluster. */
  readonly splitsMax: number
  /** Pairs of ranges that are being merged, or moved together for it, in the cluster. */
  readonly mergesMax: number
}

export const defaultPlacementSettings: PlacementSettings = {
  placementEnabled: true,
  replicas: 3,
  rangeSplitBytes: 64 << 20,
  rangeMergeBytes: 16 << 20,
  mergeCooldownMs: 300_000,
  splitLoadPerSec: 2_500,
  rangesMin: 17,
  deadAfterMs: 300_000,
  leaderGraceMs: 5_000,
  balanceTolerance: 0.1,
  balanceLoadMinPerSec: 100,
  movesPerNodeMax: 2,
  moveBytesPerNodeMax: 256 << 20,
  transfersPerNodeMax: 16,
  splitsMax: 16,
  mergesMax: 4,
}

/** Unreachable for too long: what it holds counts as lost. */
export function isDead({ nowMs, settings }: ClusterPicture, { contact }: NodePicture): boolean {
  return contact.kind === 'down' && nowMs - contact.sinceMs >= settings.deadAfterMs
}

/** What people asked of it goes before what has become of it. */
export function nodeState(picture: ClusterPicture, node: NodePicture): NodeState {
  if (node.membership !== 'member') return node.membership
  return isDead(picture, node) ? 'dead' : 'live'
}
