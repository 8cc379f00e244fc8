import { setTimeout as delay } from 'node:timers/promises'
import { CordilleraError, type ErrorCode, errorKinds } from '@cordillera/base'
import type { OperatorInfo } from '@cordillera/server'
import { type JsonAnswer, jsonBody, withRemedy } from './api-client.js'
import type { CommandContext, CommandFlags } from './command-context.js'
import { formatOperators } from './operator-table.js'

/**
 * Gives a command and, unless `--no-wait` was given, follows its operator to the end, saying on standard error what it
 * does. An operator that fails fails the command.
 *
 * Commands wait by default, as CockroachDB's `node drain` and `node decommission` do: in a script, what comes after
 * `cordillera node decommission 3 &&` may switch the node off. (TiKV's `pd-ctl` returns at once; that is `--no-wait`.) To
 * interrupt the command does not end the operator.
 */
export async function followCommand(
  context: CommandContext,
  /** `isRepeatable` false: given again, it changes something once more. */
  command: { readonly target: string; readonly body?: object; readonly isRepeatable?: boolean },
  flags: CommandFlags,
): Promise<void> {
  const { client, output, io } = context
  const request = { method: 'POST', ...jsonBody(command.body ?? {}) }
  const remedy = command.isRepeatable === false ? LOST_CHANGE : LOST_COMMAND
  const begun = await withRemedy(remedy, () => client.json<OperatorAnswer>(command.target, request))
  const { value, text } = flags.wait === false ? begun : await follow(context, begun)
  const { operator } = value
  refuseFailed(operator)
  io.out(output === 'json' ? `${text}\n` : formatOperators([operator]))
}

/** A command whose answer got lost has left an operator, or has not. */
export const LOST_COMMAND = 'see whether it was begun: cordillera operator ls; to give it again does no harm'

/** A merge, or a cut at whatever key fits: another one of it is another change. */
const LOST_CHANGE = 'see whether it was begun: cordillera operator ls; given again, it changes the range once more'

export interface OperatorAnswer {
  readonly operator: OperatorInfo
}

/** One question, below the minute that the API allows. */
const WAIT_MS = 30_000
/** A leader change or a restart must not end the waiting. */
const FAILURES_MAX = 10
const FAILURE_PAUSE_MS = 500

async function follow(context: CommandContext, begun: JsonAnswer<OperatorAnswer>): Promise<JsonAnswer<OperatorAnswer>> {
  const { client, output, io } = context
  const { operatorId, kind } = begun.value.operator
  const target = `/v1/admin/operators/${operatorId}?wait=true&timeoutMs=${WAIT_MS}`
  let answer = begun
  let said = ''
  let failures = 0
  while (answer.value.operator.state === 'running') {
    const { step } = answer.value.operator
    if (output === 'table' && step !== said) io.err(`operator ${operatorId} (${kind}): ${step}\n`)
    said = step
    try {
      answer = await client.json<OperatorAnswer>(target)
      failures = 0
    } catch (error) {
      if (++failures >= FAILURES_MAX || !isTransient(error)) throw lostSight(operatorId, error)
      await delay(FAILURE_PAUSE_MS)
    }
  }
  return answer
}

function isTransient(error: unknown): boolean {
  return error instanceof CordilleraError && errorKinds[error.code].retry !== 'never'
}

function lostSight(operatorId: number, error: unknown): CordilleraError {
  const code = error instanceof CordilleraError ? error.code : 'INTERNAL'
  const detail = `${error instanceof Error ? error.message : String(error)}; the operator goes on without this command`
  const remedy = `see how it went: cordillera operator show ${operatorId}`
  return new CordilleraError(code, { detail, details: { remedy }, cause: error })
}

function refuseFailed({ operatorId, kind, state, error }: OperatorInfo): void {
  if (state === 'running' || state === 'done') return
  const known = error !== undefined && Object.hasOwn(errorKinds, error.code)
  const code = known ? (error.code as ErrorCode) : 'CONFLICT'
  const why = error === undefined ? '' : `: ${known ? '' : `${error.code}: `}${error.detail}`
  throw new CordilleraError(code, { detail: `operator ${operatorId} (${kind}) ${state}${why}` })
}
