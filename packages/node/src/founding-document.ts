import type { NodeId, ReplicaId } from '@cordillera/base'
import { effectiveReplicas, initialPlacement } from '@cordillera/placement'
import {
  type Descriptor,
  initialSpans,
  PREFIXED_KEY_BYTES_MAX,
  type Span,
  SYSTEM_RANGE_ID,
  SYSTEM_SPAN,
} from '@cordillera/ranges'
import { isCount, isHex, isObject, isShortText } from './json-shapes.js'

/**
 * What a cluster begins with, made once by the founder and the same on every founding node ever after.
 *
 * What is read, from the disk or from another node, is a document only if a founder could have made it: its descriptors
 * cover the key space exactly once, in order, beginning with the system range; every replica is on a node that it names
 * and has an id of its own.
 */
export interface FoundingDocument {
  readonly clusterId: string
  readonly nodes: readonly FoundingNode[]
  /** Every range, the system range included, in key order. */
  readonly descriptors: readonly Descriptor[]
}

export interface FoundingNode {
  readonly nodeId: NodeId
  readonly peerAddress: string
  readonly httpAddress: string
  readonly locality: string
}

const REPLICAS = 3

/** Everything a cluster begins with. Deterministic. Range 1 is the system range; replica ids count up from 1. */
export function foundingDocument(clusterId: string, nodes: readonly FoundingNode[], ranges: number): FoundingDocument {
  const spans: readonly Span[] = [SYSTEM_SPAN, ...initialSpans(ranges)]
  const rangeIds = spans.map((_, i) => SYSTEM_RANGE_ID + i)
  const nodeIds = nodes.map(({ nodeId }) => nodeId)
  const placement = initialPlacement({ rangeIds, nodes: nodeIds, replicas: effectiveReplicas(REPLICAS, nodes.length) })
  let replicaId: ReplicaId = 0
  const descriptors = spans.map(({ start, end }, i): Descriptor => {
    const rangeId = rangeIds[i]!
    const replicas = placement
      .get(rangeId)!
      .map((nodeId) => ({ replicaId: ++replicaId, nodeId, type: 'voter' as const }))
    return { rangeId, start, end, epoch: { version: 1, confVersion: 1 }, replicas }
  })
  return { clusterId, nodes, descriptors }
}

/** Whether parsed JSON is a founding document. */
export function isFoundingDocument(value: unknown): value is FoundingDocument {
  if (!isObject(value) || !isHex(value.clusterId)) return false
  const { nodes, descriptors } = value
  if (!Array.isArray(nodes) || nodes.length === 0 || !nodes.every(isFoundingNode)) return false
  const nodeIds = new Set(nodes.map(({ nodeId }) => nodeId))
  return nodeIds.size === nodes.length && areDescriptors(descriptors, nodeIds)
}

export function isFoundingNode(value: unknown): value is FoundingNode {
  if (!isObject(value) || !isCount(value.nodeId) || !isShortText(value.peerAddress)) return false
  return isShortText(value.httpAddress) && isShortText(value.locality)
}

function areDescriptors(values: unknown, nodeIds: ReadonlySet<NodeId>): values is Descriptor[] {
  if (!Array.isArray(values)) return false
  const seen = { replicaIds: new Set<unknown>(), nodeIds }
  let start: string = SYSTEM_SPAN.start
  for (const [i, value] of values.entries()) {
    if (!isObject(value) || value.rangeId !== SYSTEM_RANGE_ID + i || value.start !== start) return false
    if (!isFirstEpoch(value.epoch) || !areReplicas(value.replicas, seen)) return false
    const { end } = value
    if (end === null) return i > 0 && i === values.length - 1
    if (!isKey(end) || end <= start || (i === 0 && end !== SYSTEM_SPAN.end)) return false
    start = end
  }
  return false
}

function isFirstEpoch(value: unknown): boolean {
  return isObject(value) && value.version === 1 && value.confVersion === 1
}

function areReplicas(
  values: unknown,
  seen: { readonly replicaIds: Set<unknown>; readonly nodeIds: ReadonlySet<unknown> },
): boolean {
  if (!Array.isArray(values) || values.length === 0) return false
  const places = new Set<unknown>()
  for (const value of values) {
    if (!isObject(value) || !isCount(value.replicaId) || value.type !== 'voter') return false
    if (seen.replicaIds.has(value.replicaId) || places.has(value.nodeId) || !seen.nodeIds.has(value.nodeId))
      return false
    seen.replicaIds.add(value.replicaId)
    places.add(value.nodeId)
  }
  return true
}

function isKey(value: unknown): value is string {
  if (typeof value !== 'string' || value.length > PREFIXED_KEY_BYTES_MAX) return false
  for (let i = 0; i < value.length; i++) if (value.charCodeAt(i) > 0xff) return false
  return true
}
