import { CordilleraError } from '@cordillera/base'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { IdParams } from './admin-schemas.js'
import type { ApiRoute } from './api-route.js'
import {
  answerCancellation,
  answerCommand,
  awaitEnd,
  commandAnswers,
  type OperatorPorts,
  waitMsOf,
} from './operator-answers.js'
import {
  MergeBody,
  NODE_COMMANDS,
  OperatorAnswerSchema,
  type OperatorInfo,
  OperatorsSchema,
  RecoverBody,
  ReplicasBody,
  SplitBody,
  SplitQuery,
  TransferLeaderBody,
  WaitQuery,
} from './operator-schemas.js'
import type { NodeCommand, OperatorRequest, ServedNode } from './served-node.js'
import { splitKeyOf } from './split-key.js'
import { viewOperator } from './view-operator.js'

/**
 * Commands to nodes and ranges, each of which begins an operator, and the operators themselves.
 *
 * A command that is sent again returns the operator that already does the same, or one that is done, or CONFLICT with what
 * was found done.
 */
export function operatorRoutes(ports: OperatorPorts): ApiRoute[] {
  return [...NODE_COMMANDS.map((command) => nodeCommand(ports, command)), ...rangeCommands(ports), ...operators(ports)]
}

const NODE_COMMAND_SUMMARIES: Readonly<Record<NodeCommand, string>> = {
  drain: 'Moves the leaderships away from a node, and keeps them away',
  undrain: 'Lets a drained node lead again',
  decommission: 'Moves all replicas away from a node, after which it may be switched off for good',
  recommission: 'Lets a node have replicas again',
}

function nodeCommand(ports: OperatorPorts, command: NodeCommand): ApiRoute {
  return {
    method: 'POST',
    path: `/v1/admin/nodes/{nodeId}/${command}`,
    operationId: `${command}Node`,
    tag: 'nodes',
    summary: NODE_COMMAND_SUMMARIES[command],
    query: WaitQuery,
    answers: commandAnswers,
    refusals: ['NOT_FOUND', 'CONFLICT', 'OUTCOME_UNKNOWN'],
    handle: (request, reply) =>
      answerCommand(ports, request, reply, (node) =>
        node.placement.startOperator({ kind: command, nodeId: idOf(request) }),
      ),
  }
}

type Begin = (node: ServedNode, request: FastifyRequest, rangeId: number) => Promise<OperatorInfo>

function rangeCommands(ports: OperatorPorts): ApiRoute[] {
  const command = (
    name: string,
    parts: Pick<ApiRoute, 'operationId' | 'summary'> & Partial<ApiRoute>,
    begin: Begin,
  ): ApiRoute => ({
    method: 'POST',
    path: `/v1/admin/ranges/{rangeId}/${name}`,
    tag: 'ranges',
    query: WaitQuery,
    answers: commandAnswers,
    refusals: ['NOT_FOUND', 'CONFLICT', 'OUTCOME_UNKNOWN'],
    ...parts,
    handle: (request, reply) => answerCommand(ports, request, reply, (node) => begin(node, request, idOf(request))),
  })
  return [
    command('split', splitParts, beginSplit),
    command('merge', mergeParts, (node, request, rangeId) =>
      node.placement.startOperator({ kind: 'merge', rangeId, ...(request.body as MergeBody) }),
    ),
    command('transfer-leader', transferParts, (node, request, rangeId) => {
      const { node: nodeId } = request.body as TransferLeaderBody
      return node.placement.startOperator({ kind: 'transfer-leader', rangeId, nodeId })
    }),
    command('replicas', replicasParts, (node, request, rangeId) =>
      node.placement.startOperator(replicasRequestOf(rangeId, request.body as ReplicasBody)),
    ),
    command('recover', recoverParts, (node, request, rangeId) =>
      node.placement.recoverRange(rangeId, (request.body as RecoverBody).acceptDataLoss === true),
    ),
  ]
}

const splitParts = {
  operationId: 'splitRange',
  summary: 'Splits a range',
  description:
    'The key is within the keyspace of the range, in a spread one with its bucket, as bounds are shown. A key at which a range begins already is CONFLICT.',
  query: SplitQuery,
  body: { schema: SplitBody, examples: { 'at a key': { key: 'm' }, 'where it balances': {} } },
  refusals: ['NOT_FOUND', 'CONFLICT', 'OUTCOME_UNKNOWN', 'BAD_ENCODING', 'KEY_TOO_LARGE'],
} as const

const mergeParts = {
  operationId: 'mergeRange',
  summary: 'Merges a range with its right neighbour',
  description: 'Given again without `version`, it merges with the next neighbour.',
  body: { schema: MergeBody, examples: { 'as it is': {} } },
}

const transferParts = {
  operationId: 'transferLeader',
  summary: 'Makes another replica of a range its leader',
  body: { schema: TransferLeaderBody, examples: { 'to node 2': { node: 2 } } },
}

const replicasParts = {
  operationId: 'changeReplicas',
  summary: 'Adds a replica, removes one, or moves one',
  body: { schema: ReplicasBody, examples: { 'from node 1 to node 4': { add: 4, remove: 1 } } },
}

const recoverParts = {
  operationId: 'recoverRange',
  summary: 'Makes a range go on after most of its replicas were lost',
  description:
    'It goes on from its most up-to-date replica that can be reached, and has replicas again by placement. Writes that were acknowledged may be lost. Unless the body has `"acceptDataLoss": true`, nothing is done and the refusal says what may be lost. CONFLICT while it has a leader or may come to one, for the system range, and in the middle of a merge; NOT_FOUND when nothing of it can be reached.',
  body: { schema: RecoverBody, examples: { confirmed: { acceptDataLoss: true } } },
}

async function beginSplit(node: ServedNode, request: FastifyRequest, rangeId: number): Promise<OperatorInfo> {
  const query = request.query as SplitQuery
  const { key, ...seen } = request.body as SplitBody
  if (key !== undefined) {
    const whole = await splitKeyOf(node, rangeId, key, query)
    return node.placement.startOperator({ kind: 'split', rangeId, key: whole, ...seen })
  }
  const useless = (['encoding', 'keyspace', 'spread'] as const).find((name) => query[name] !== undefined)
  if (useless === undefined) return node.placement.startOperator({ kind: 'split', rangeId, ...seen })
  throw new CordilleraError('BAD_REQUEST', { detail: `${useless} says how key is meant, and there is no key` })
}

function replicasRequestOf(rangeId: number, { add, remove }: ReplicasBody): OperatorRequest {
  if (add === remove) {
    throw new CordilleraError('BAD_REQUEST', { detail: `add and remove are both node ${add}: nothing would change` })
  }
  return {
    kind: 'change-replicas',
    rangeId,
    ...(add === undefined ? {} : { add }),
    ...(remove === undefined ? {} : { remove }),
  }
}

function operators(ports: OperatorPorts): ApiRoute[] {
  const one = { path: '/v1/admin/operators/{operatorId}', tag: 'operators', query: WaitQuery } as const
  return [
    {
      method: 'GET',
      path: '/v1/admin/operators',
      operationId: 'listOperators',
      tag: 'operators',
      summary: 'Running and recent operators, newest first',
      answers: { 200: { description: 'The operators.', schema: OperatorsSchema } },
      refusals: [],
      handle: async () => ({ operators: (await ports.gate.node().placement.operators()).map(viewOperator) }),
    },
    {
      ...one,
      method: 'GET',
      operationId: 'getOperator',
      summary: 'One operator; with `wait=true`, when it has ended or at the timeout',
      answers: { 200: { description: 'The operator, whatever its state.', schema: OperatorAnswerSchema } },
      refusals: ['NOT_FOUND'],
      handle: async (request) => {
        const waitMs = waitMsOf(request.query as WaitQuery)
        return { operator: viewOperator(await awaitEnd(ports.gate, idOf(request), waitMs)) }
      },
    },
    {
      ...one,
      method: 'DELETE',
      operationId: 'cancelOperator',
      summary: 'Asks an operator to end; what cannot be undone any more is finished',
      answers: {
        200: { description: 'It has ended; `state` says how.', schema: OperatorAnswerSchema },
        202: { description: 'It is about to end.', schema: OperatorAnswerSchema },
      },
      refusals: ['NOT_FOUND', 'CONFLICT', 'OUTCOME_UNKNOWN'],
      handle: (request: FastifyRequest, reply: FastifyReply) =>
        answerCancellation(ports, request, reply, (node) => node.placement.cancelOperator(idOf(request))),
    },
  ]
}

function idOf(request: FastifyRequest): number {
  return (request.params as IdParams).id
}
