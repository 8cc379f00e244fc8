import type { OperatorInfo } from '@cordillera/server'
import { withRemedy } from './api-client.js'
import type { CommandArguments, CommandContext } from './command-context.js'
import { LOST_COMMAND, type OperatorAnswer } from './follow-operator.js'
import { idOf } from './id-argument.js'
import { formatOperators, goalOf, outcomeOf } from './operator-table.js'
import { formatFacts } from './table.js'

/** `operator ls|show|cancel`: what changes the placement now, or did lately. */
export async function operatorList({ client, output, io }: CommandContext): Promise<void> {
  const { value, text } = await client.json<{ operators: OperatorInfo[] }>('/v1/admin/operators')
  io.out(output === 'json' ? `${text}\n` : formatOperators(value.operators))
}

export async function operatorShow({ client, output, io }: CommandContext, [id]: CommandArguments): Promise<void> {
  const target = `/v1/admin/operators/${idOf('OPERATOR', id)}`
  const { value, text } = await client.json<OperatorAnswer>(target)
  if (output === 'json') return io.out(`${text}\n`)
  const { operatorId, kind, rangeId, nodeId, state, reason, step, startedAt, deadline, endedAt } = value.operator
  const goal = goalOf(value.operator)
  const facts = { kind, rangeId, nodeId, goal, state, reason, startedAt, deadline, endedAt, step }
  io.out(formatFacts(['OPERATOR', operatorId], { ...facts, outcome: outcomeOf(value.operator) }))
}

export async function operatorCancel({ client, output, io }: CommandContext, [id]: CommandArguments): Promise<void> {
  const target = `/v1/admin/operators/${idOf('OPERATOR', id)}`
  const request = { method: 'DELETE' }
  const { value, text } = await withRemedy(LOST_COMMAND, () => client.json<OperatorAnswer>(target, request))
  io.out(output === 'json' ? `${text}\n` : formatOperators([value.operator]))
}
