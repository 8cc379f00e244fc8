import { type Clock, CordilleraError, type ErrorCode, errorKinds, type Logger } from '@cordillera/base'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ApiAnswer } from './api-route.js'
import type { Gate } from './gate.js'
import { DEFAULT_TIMEOUT_MS } from './kv-handler.js'
import { OperatorAnswerSchema, type OperatorInfo, type WaitQuery } from './operator-schemas.js'
import { PROBLEM_TYPE, problemOf } from './problem.js'
import type { ServedNode } from './served-node.js'
import { viewOperator } from './view-operator.js'

/**
 * What a command answers. Without `?wait=true`: 202 and the operator, whatever its state. With it: 200 once it is done, 409
 * with its own code and detail when it failed or was cancelled, 202 when it still runs at the timeout.
 *
 * Once an operator was begun, the answer says so: a failure of the waiting is no failure of the command.
 */
export interface OperatorPorts {
  readonly gate: Gate
  readonly clock: Clock
  readonly logger: Logger
}

type Begin = (node: ServedNode) => Promise<OperatorInfo>

export async function answerCommand(
  ports: OperatorPorts,
  request: FastifyRequest,
  reply: FastifyReply,
  begin: Begin,
): Promise<unknown> {
  const operator = await beginAndWait(ports, request, begin)
  const { wait } = request.query as WaitQuery
  return wait && operator.state !== 'done' && operator.state !== 'running'
    ? replyFailed(reply, operator)
    : replyOperator(reply, operator, wait === true && operator.state === 'done')
}

/** Of a cancellation, for which any end is the end that was asked for. */
export async function answerCancellation(
  ports: OperatorPorts,
  request: FastifyRequest,
  reply: FastifyReply,
  begin: Begin,
): Promise<unknown> {
  const operator = await beginAndWait(ports, request, begin)
  return replyOperator(reply, operator, operator.state !== 'running')
}

/** How long to wait for an operator: 0 without `wait`. Throws BAD_REQUEST for a timeout of nothing. */
export function waitMsOf({ wait, timeoutMs }: WaitQuery): number {
  if (wait) return timeoutMs ?? DEFAULT_TIMEOUT_MS
  if (timeoutMs === undefined) return 0
  throw new CordilleraError('BAD_REQUEST', { detail: 'timeoutMs says how long to wait: it goes with wait=true' })
}

/** The operator when it has ended, after `waitMs`, or when the server is about to close. */
export function awaitEnd(gate: Gate, operatorId: number, waitMs: number): Promise<OperatorInfo> {
  const node = gate.node()
  if (waitMs === 0) return node.placement.awaitOperator(operatorId, 0)
  return new Promise((resolve, reject) => {
    const forget = gate.onClosing(() => node.placement.awaitOperator(operatorId, 0).then(resolve, reject))
    node.placement.awaitOperator(operatorId, waitMs).finally(forget).then(resolve, reject)
  })
}

async function beginAndWait(ports: OperatorPorts, request: FastifyRequest, begin: Begin): Promise<OperatorInfo> {
  const waitMs = waitMsOf(request.query as WaitQuery)
  const deadlineMs = ports.clock.now() + waitMs
  const begun = await begin(ports.gate.node())
  const leftMs = Math.floor(deadlineMs - ports.clock.now())
  if (begun.state !== 'running' || waitMs === 0 || leftMs <= 0) return begun
  try {
    return await awaitEnd(ports.gate, begun.operatorId, leftMs)
  } catch (error) {
    ports.logger.warn('operator-wait-failed', { operatorId: begun.operatorId, error: String(error) })
    return begun
  }
}

function replyOperator(reply: FastifyReply, operator: OperatorInfo, isEnded: boolean): FastifyReply {
  return reply
    .code(isEnded ? 200 : 202)
    .header('Location', locationOf(operator))
    .send({ operator: viewOperator(operator) })
}

/** The status is 409 for every code: it is the operator that failed, not this request that could be sent again. */
function replyFailed(reply: FastifyReply, operator: OperatorInfo): FastifyReply {
  const problem = {
    ...problemOf(failureOf(operator)),
    status: errorKinds.CONFLICT.status,
    operator: viewOperator(operator),
  }
  return reply
    .code(problem.status)
    .header('Location', locationOf(operator))
    .type(PROBLEM_TYPE)
    .send(JSON.stringify(problem))
}

function failureOf({ operatorId, kind, state, error }: OperatorInfo): CordilleraError {
  if (error === undefined)
    return new CordilleraError('CONFLICT', { detail: `operator ${operatorId} (${kind}) ${state}` })
  if (Object.hasOwn(errorKinds, error.code)) {
    return new CordilleraError(error.code as ErrorCode, { detail: error.detail })
  }
  return new CordilleraError('CONFLICT', { detail: `${error.code}: ${error.detail}` })
}

function locationOf({ operatorId }: OperatorInfo): string {
  return `/v1/admin/operators/${operatorId}`
}

const LOCATION = { Location: 'The operator: `/v1/admin/operators/{operatorId}`.' }

/** The answers of a command, for its route. */
export const commandAnswers: Readonly<Record<number, ApiAnswer>> = {
  200: { description: 'With `wait=true`: it is done.', schema: OperatorAnswerSchema, headers: LOCATION },
  202: {
    description: 'Begun, or already running, or nothing to do (`state` is `done`). With `wait=true`: it still runs.',
    schema: OperatorAnswerSchema,
    headers: LOCATION,
  },
  409: {
    description: 'With `wait=true` also: the operator failed, with its own code and detail, or was cancelled.',
    mediaTypes: [PROBLEM_TYPE],
    headers: LOCATION,
  },
}
