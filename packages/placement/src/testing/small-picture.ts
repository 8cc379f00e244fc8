import type { NodeId, RangeId } from '@cordillera/base'
import type { ReplicaType } from '@cordillera/ranges'
import {
  type ClusterPicture,
  defaultPlacementSettings,
  type NodePicture,
  type PlacementSettings,
  type RangePicture,
} from '../cluster-picture.js'
import { parseLocality } from '../locality.js'
import type { Operator } from '../operator.js'

/** Pictures for small examples: nodes 1, 2, 3, … and ranges written as the nodes of their replicas, the leader first. */
export interface SmallPicture {
  /** A locality each. */
  readonly nodes: readonly string[]
  /** Of nodes that are not live members; `down` is not long enough to be dead. */
  readonly states?: Readonly<Record<number, 'down' | 'dead' | 'draining' | 'decommissioning' | 'decommissioned'>>
  readonly ranges: readonly (readonly NodeId[] | SmallRange)[]
  readonly settings?: Partial<PlacementSettings>
  readonly underWay?: readonly Operator[]
}

export interface SmallRange extends Partial<Omit<RangePicture, 'descriptor'>> {
  readonly on: readonly NodeId[]
  readonly rangeId?: RangeId
  readonly start?: string
  /** By node; voters otherwise. */
  readonly types?: Readonly<Record<number, ReplicaType>>
}

export const NOW_MS = 10_000_000

export function smallPicture({ nodes, states, ranges, settings, underWay }: SmallPicture): ClusterPicture {
  return {
    nowMs: NOW_MS,
    settings: { ...defaultPlacementSettings, rangesMin: 1, ...settings },
    nodes: nodes.map((locality, i) => nodePicture(i + 1, locality, states?.[i + 1])),
    ranges: ranges.map((range, i) => rangePicture('on' in range ? range : { on: range }, i)),
    underWay: underWay ?? [],
  }
}

function nodePicture(nodeId: NodeId, locality: string, state: string | undefined): NodePicture {
  const isDown = state === 'down' || state === 'dead'
  return {
    nodeId,
    locality: parseLocality(locality)!,
    membership: isDown || state === undefined ? 'member' : (state as NodePicture['membership']),
    contact: { kind: isDown ? 'down' : 'up', sinceMs: state === 'down' ? NOW_MS - 1000 : 0 },
  }
}

/** Ranges are numbered from 2; replica ids are the range's id, a zero, and the node's. */
function rangePicture({ on, rangeId: given, start, types, ...rest }: SmallRange, at: number): RangePicture {
  const rangeId = given ?? at + 2
  const replicas = on.map((nodeId) => ({
    nodeId,
    replicaId: rangeId * 100 + nodeId,
    type: types?.[nodeId] ?? ('voter' as const),
  }))
  const epoch = { version: 1, confVersion: 1 }
  return {
    descriptor: { rangeId, start: start ?? `default\x00${String.fromCharCode(97 + at)}`, end: null, epoch, replicas },
    leader: on[0]!,
    bytes: 32 << 20,
    readsPerSec: 0,
    writesPerSec: 0,
    loadMaxPerSec: 0,
    lastChangedMs: 0,
    ...rest,
  }
}
