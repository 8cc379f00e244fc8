import { type Static, Type } from 'typebox'

/**
 * Operators, the commands that begin them, explanations and hashes, as JSON Schema.
 *
 * Bodies of commands are flat objects of numbers, texts and truths, so that a refusal can name the member. What is not
 * named here is refused.
 */
export const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })

export const TimeoutSchema = Type.Integer({
  minimum: 1,
  maximum: 60_000,
  description: 'Milliseconds; 5,000 if left out.',
})

export const EncodingSchema = Type.Enum(['hex', 'base64url'], {
  description: 'How keys are spelled; text if left out.',
})

export const SpreadSchema = Type.Boolean({
  description:
    'true: the spread keyspace of this name, whose keys are kept in 16 buckets by their hash. It is another than the plain one.',
})

export const NODE_COMMANDS = ['drain', 'undrain', 'decommission', 'recommission'] as const

const OPERATOR_KINDS = ['split', 'merge', 'transfer-leader', 'change-replicas', ...NODE_COMMANDS, 'recover'] as const
const OPERATOR_STATES = ['running', 'done', 'failed', 'cancelled'] as const

const Time = Type.String({ format: 'date-time', description: 'ISO 8601, UTC.' })
const IdOrNull = Type.Union([Id, Type.Null()])

const GoalSchema = Type.Object(
  {
    key: Type.Optional(Type.String({ description: 'Of a split: where the right range begins.' })),
    encoding: Type.Optional(Type.String({ description: 'How `key` is spelled; text if left out.' })),
    keyspace: Type.Optional(Type.String({ description: 'Of `key`.' })),
    spread: Type.Optional(Type.Literal(true)),
    right: Type.Optional(
      Type.Integer({ ...Id, description: 'Of a split and a merge: the right one of the two ranges.' }),
    ),
    add: Type.Optional(Type.Integer({ ...Id, description: 'Of a change of replicas: the node that gets one.' })),
    remove: Type.Optional(Type.Integer({ ...Id, description: 'Of a change of replicas: the node that loses one.' })),
  },
  { description: 'What it is to do, or did, to its range; left out where kind, range and node say it.' },
)

export const OperatorSchema = Type.Object(
  {
    operatorId: Id,
    kind: Type.Enum([...OPERATOR_KINDS]),
    rangeId: IdOrNull,
    nodeId: IdOrNull,
    state: Type.Enum([...OPERATOR_STATES]),
    goal: Type.Optional(GoalSchema),
    reason: Type.String({ description: 'Why it was begun, for a person.' }),
    step: Type.String({ description: 'What it is doing, or did last.' }),
    startedAt: Time,
    deadline: Type.String({ format: 'date-time', description: 'When it gives up, ISO 8601, UTC.' }),
    endedAt: Type.Union([Time, Type.Null()]),
    error: Type.Optional(
      Type.Object(
        { code: Type.String(), detail: Type.String() },
        { description: 'Why it failed; present then alone.' },
      ),
    ),
    result: Type.Optional(
      Type.Unsafe<object>({
        type: 'object',
        additionalProperties: true,
        description: 'What came of it. Of a split: `left` and `right`, the ids of the two ranges.',
      }),
    ),
  },
  { description: 'One running or ended change of the placement.' },
)
export type OperatorInfo = Readonly<Static<typeof OperatorSchema>>
export type OperatorState = OperatorInfo['state']

export const OperatorAnswerSchema = Type.Object({ operator: OperatorSchema })
export const OperatorsSchema = Type.Object({ operators: Type.Array(OperatorSchema) })

const waitParameters = {
  wait: Type.Optional(Type.Boolean({ description: 'Answer when the operator has ended, or at the timeout.' })),
  timeoutMs: Type.Optional(TimeoutSchema),
}

export const WaitQuery = Type.Object(waitParameters, { additionalProperties: false })
export type WaitQuery = Static<typeof WaitQuery>

export const SplitQuery = Type.Object(
  {
    ...waitParameters,
    keyspace: Type.Optional(Type.String({ description: "The keyspace of `key`; the range's own if left out." })),
    spread: Type.Optional(SpreadSchema),
    encoding: Type.Optional(EncodingSchema),
  },
  { additionalProperties: false },
)
export type SplitQuery = Static<typeof SplitQuery>

export const NoBody = Type.Object({}, { additionalProperties: false })

/** Of a range as somebody has seen it: given twice, a command that changes it acts once. */
const VersionSchema = Type.Integer({
  ...Id,
  description: 'Only while `epoch.version` of the range is this; CONFLICT once it was cut or merged.',
})

export const MergeBody = Type.Object({ version: Type.Optional(VersionSchema) }, { additionalProperties: false })
export type MergeBody = Static<typeof MergeBody>

export const SplitBody = Type.Object(
  {
    version: Type.Optional(VersionSchema),
    key: Type.Optional(
      Type.String({ description: 'The right range begins here. Left out, a key that balances the two is found.' }),
    ),
  },
  { additionalProperties: false },
)
export type SplitBody = Static<typeof SplitBody>

export const TransferLeaderBody = Type.Object(
  { node: Type.Integer({ ...Id, description: 'A node that has a voting replica of the range.' }) },
  { additionalProperties: false },
)
export type TransferLeaderBody = Static<typeof TransferLeaderBody>

export const ReplicasBody = Type.Object(
  {
    add: Type.Optional(Type.Integer({ ...Id, description: 'A node that gets a replica.' })),
    remove: Type.Optional(Type.Integer({ ...Id, description: 'A node that loses its replica.' })),
  },
  { additionalProperties: false, minProperties: 1, description: '`add`, `remove` or both, which moves a replica.' },
)
export type ReplicasBody = Static<typeof ReplicasBody>

export const RecoverBody = Type.Object(
  {
    acceptDataLoss: Type.Optional(
      Type.Boolean({ description: 'Anything but true is refused; the detail says what may be lost.' }),
    ),
  },
  { additionalProperties: false },
)
export type RecoverBody = Static<typeof RecoverBody>

const DecisionSchema = Type.Object({
  at: Time,
  kind: Type.String({ description: 'What was considered, like an operator kind.' }),
  verdict: Type.Enum(['yes', 'no']),
  code: Type.String({ description: 'The reason, for a program.' }),
  detail: Type.String({ description: 'The reason, for a person.' }),
})

export const ExplanationSchema = Type.Object({ rangeId: Id, decisions: Type.Array(DecisionSchema) })
export interface RangeExplanation {
  readonly rangeId: number
  /** Newest first. */
  readonly decisions: readonly Readonly<Static<typeof DecisionSchema>>[]
}

const Index = Type.Integer({ minimum: 0 })
const ReplicaHashSchema = Type.Object({
  nodeId: Id,
  appliedIndex: Index,
  hash: Type.Union([Type.String(), Type.Null()], { description: 'Null when it has not answered.' }),
})

export const HashQuery = Type.Object({ range: Type.Optional(Id) }, { additionalProperties: false })
export type HashQuery = Static<typeof HashQuery>

export const HashesSchema = Type.Object({
  ranges: Type.Array(
    Type.Object({
      rangeId: Id,
      index: Type.Integer({
        minimum: 0,
        description: 'Everything that was compared is at or below this index of the log.',
      }),
      replicas: Type.Array(ReplicaHashSchema),
    }),
  ),
})
export interface RangeHashes {
  readonly rangeId: number
  readonly index: number
  readonly replicas: readonly Readonly<Static<typeof ReplicaHashSchema>>[]
}
