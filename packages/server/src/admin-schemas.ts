import { type Static, Type } from 'typebox'
import { EncodingSchema, SpreadSchema, TimeoutSchema } from './operator-schemas.js'

/**
 * The shapes of what is read: cluster, nodes, ranges and scans, as JSON Schema. Requests are checked against them, answers
 * are written by them, the types come from them, and so does the OpenAPI document.
 *
 * A query parameter that is not named here is refused, never ignored.
 */

const Count = Type.Integer({ minimum: 0 })
const CursorSchema = Type.String({ description: 'Goes on where the last page ended.' })

export const ClusterSchema = Type.Object({
  clusterId: Type.String(),
  version: Type.String(),
  nodeCount: Count,
  rangeCount: Count,
  healthy: Type.Boolean(),
  health: Type.String({ description: 'A sentence for a person.' }),
})
export type ClusterInfo = Readonly<Static<typeof ClusterSchema>>

const NODE_STATES = ['live', 'dead', 'draining', 'decommissioning', 'decommissioned'] as const

export const NodeSchema = Type.Object({
  nodeId: Count,
  peerAddress: Type.String(),
  httpAddress: Type.String(),
  locality: Type.String(),
  state: Type.Enum([...NODE_STATES]),
  replicas: Count,
  leaders: Count,
  bytes: Type.Number(),
  readsPerSec: Type.Number(),
  writesPerSec: Type.Number(),
  fsyncP50Ms: Type.Number(),
  fsyncP99Ms: Type.Number(),
})
export type NodeInfo = Readonly<Static<typeof NodeSchema>>
export const NodesSchema = Type.Object({ nodes: Type.Array(NodeSchema) })

const CountOrNull = Type.Union([Count, Type.Null()], { description: 'Null when the node did not answer.' })

const RangeReplicaSchema = Type.Object({
  replicaId: Count,
  nodeId: Count,
  type: Type.Enum(['voter', 'incoming', 'outgoing', 'learner']),
  commitIndex: CountOrNull,
  appliedIndex: CountOrNull,
  lag: CountOrNull,
})

export const RangeSchema = Type.Object({
  rangeId: Count,
  keyspace: Type.String({ description: 'Empty for the system range.' }),
  spread: Type.Optional(
    Type.Boolean({ description: 'true for a spread keyspace, whose bounds begin with a bucket, 0 to f.' }),
  ),
  start: Type.String(),
  end: Type.Union([Type.String(), Type.Null()], { description: 'Null is infinity.' }),
  encoding: Type.Optional(Type.String({ description: 'base64url when a bound is not UTF-8.' })),
  epoch: Type.Object({ version: Count, confVersion: Count }),
  leader: Type.Union([Count, Type.Null()]),
  term: Count,
  bytes: Type.Number(),
  readsPerSec: Type.Number(),
  writesPerSec: Type.Number(),
  replicas: Type.Array(RangeReplicaSchema),
})
type RangeRow = Static<typeof RangeSchema>

/** As the node gives it: bounds are byte strings without the keyspace's prefix. */
export type RangeInfo = Readonly<Omit<RangeRow, 'encoding' | 'replicas'>> & {
  readonly replicas: readonly Readonly<RangeRow['replicas'][number]>[]
}
export const RangesSchema = Type.Object({ ranges: Type.Array(RangeSchema), cursor: Type.Optional(CursorSchema) })

const LimitSchema = Type.Integer({ minimum: 1, maximum: 10_000, description: 'Of a page; 1,000 if left out.' })
export const KeyspaceSchema = Type.String({ description: 'The keyspace of the keys; `default` if left out.' })

export const NoQuery = Type.Object({}, { additionalProperties: false })

export const RangesQuery = Type.Object(
  {
    key: Type.Optional(Type.String({ description: 'The one range that holds this key.' })),
    encoding: Type.Optional(EncodingSchema),
    node: Type.Optional(Type.Integer({ minimum: 1, description: 'Ranges with a replica on this node.' })),
    keyspace: Type.Optional(Type.String({ description: 'Ranges of this keyspace; with `key`, the keyspace of it.' })),
    spread: Type.Optional(SpreadSchema),
    limit: Type.Optional(LimitSchema),
    cursor: Type.Optional(CursorSchema),
  },
  { additionalProperties: false },
)
export type RangesQuery = Static<typeof RangesQuery>

export const ScanQuery = Type.Object(
  {
    keyspace: Type.Optional(KeyspaceSchema),
    spread: Type.Optional(SpreadSchema),
    prefix: Type.Optional(Type.String({ description: 'Keys that begin so; not with `start` or `end`.' })),
    start: Type.Optional(Type.String({ description: 'Inclusive.' })),
    end: Type.Optional(Type.String({ description: 'Exclusive.' })),
    limit: Type.Optional(LimitSchema),
    reverse: Type.Optional(Type.Boolean()),
    values: Type.Optional(Type.Boolean({ description: 'false: keys and versions alone.' })),
    cursor: Type.Optional(CursorSchema),
    encoding: Type.Optional(EncodingSchema),
    timeoutMs: Type.Optional(TimeoutSchema),
  },
  { additionalProperties: false },
)
export type ScanQuery = Static<typeof ScanQuery>

export const ScanSchema = Type.Object({
  entries: Type.Array(
    Type.Object({
      key: Type.String(),
      value: Type.Optional(Type.String()),
      version: Count,
      encoding: Type.Optional(Type.String()),
    }),
  ),
  cursor: Type.Optional(CursorSchema),
})
export type ScanAnswer = Static<typeof ScanSchema>

export const IdParams = Type.Object({ id: Type.Integer({ minimum: 1 }) })
export type IdParams = Static<typeof IdParams>
