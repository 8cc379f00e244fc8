import { CordilleraError } from '@cordillera/base'
import { type ApiClient, jsonBody, withRemedy } from './api-client.js'
import type { CommandArguments, CommandContext, CommandFlags, CommandIo } from './command-context.js'
import { followCommand, LOST_COMMAND } from './follow-operator.js'
import { idOf } from './id-argument.js'

/**
 * `range recover RANGE --unsafe`: makes a range go on after most of its replicas were lost. The node says first what may
 * be lost; nothing is done before a person has confirmed exactly that range, or `--yes` has.
 */
export async function rangeRecover(
  context: CommandContext,
  [id]: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const { client, io } = context
  const rangeId = idOf('RANGE', id)
  if (flags.unsafe !== true) {
    throw refusal('acknowledged writes may be lost; with --unsafe it says which, and asks before it does anything')
  }
  const target = `/v1/admin/ranges/${rangeId}/recover`
  io.err(`What may be lost: ${await lossOf(client, target)}\n`)
  if (flags.yes !== true) await confirm(io, rangeId)
  await followCommand(context, { target, body: { acceptDataLoss: true } }, flags)
}

/** What the node says when it is asked without a confirmation, which it refuses. */
async function lossOf(client: ApiClient, target: string): Promise<string> {
  try {
    await withRemedy(LOST_COMMAND, () =>
      client.request(target, { method: 'POST', ...jsonBody({ acceptDataLoss: false }) }),
    )
  } catch (error) {
    if (error instanceof CordilleraError && error.code === 'BAD_REQUEST') return error.message
    throw error
  }
  throw new CordilleraError('INTERNAL', { detail: 'the node began without a confirmation' })
}

async function confirm(io: CommandIo, rangeId: number): Promise<void> {
  if (!io.isTerminal) throw refusal('nothing was done; standard input is no terminal to ask at, so confirm with --yes')
  io.err(`To go on without it, type the number of the range (${rangeId}): `)
  if ((await readLine(io.stdin)).trim() !== String(rangeId)) throw refusal('nothing was done; that is another answer')
}

async function readLine(stdin: AsyncIterable<Uint8Array>): Promise<string> {
  let text = ''
  for await (const chunk of stdin) {
    text += Buffer.from(chunk).toString('utf8')
    if (text.includes('\n')) break
  }
  return text.split('\n', 1)[0]!
}

function refusal(detail: string): CordilleraError {
  return new CordilleraError('CONFIG_INVALID', { detail })
}
