import { CordilleraError } from '@cordillera/base'
import { VALUE_BYTES_MAX } from '@cordillera/ranges'
import { keyTarget, queryOf } from './api-client.js'
import type { CommandArguments, CommandContext, CommandFlags, CommandIo } from './command-context.js'
import { type Cell, formatTable } from './table.js'

/** `kv get|put|del|scan`: single keys are raw bytes, in and out; a key that is missing is an error. */
export async function kvGet(
  { client, io }: CommandContext,
  [key]: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  io.out((await client.request(keyTarget(key!, optional(flags.encoding)))).body)
}

export async function kvPut(
  context: CommandContext,
  [key, value]: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const body = value === undefined ? await readInput(context.io) : Buffer.from(value, 'utf8')
  const target = keyTarget(key!, optional(flags.encoding))
  const { etag } = await context.client.request(target, { method: 'PUT', body })
  printVersion(context, etag)
}

export async function kvDel(context: CommandContext, [key]: CommandArguments, flags: CommandFlags): Promise<void> {
  const target = keyTarget(key!, optional(flags.encoding))
  const { etag } = await context.client.request(target, { method: 'DELETE' })
  printVersion(context, etag)
}

export async function kvScan(
  { client, output, io }: CommandContext,
  _args: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const { prefix, start, end, limit, reverse, values, cursor, encoding } = flags
  // A cursor brings its own direction and flags; commander sets `values` whenever it is not switched off.
  const skipped = values === false ? false : undefined
  const query = queryOf({ prefix, start, end, limit, reverse, values: skipped, cursor, encoding })
  const { value, text } = await client.json<ScanAnswer>(`/v1/kv${query}`)
  if (output === 'json') return io.out(`${text}\n`)
  const rows = value.entries.map((entry): Cell[] => [
    entry.key,
    entry.version,
    shorten(entry.value),
    entry.encoding ?? '',
  ])
  io.out(formatTable(['KEY', 'VERSION', 'VALUE', 'ENCODING'], rows))
  if (value.cursor !== undefined) io.err(`There is more: --cursor ${value.cursor}\n`)
}

interface ScanAnswer {
  readonly entries: readonly { key: string; value?: string; version: number; encoding?: string }[]
  readonly cursor?: string
}

const VALUE_CHARS_SHOWN = 60

function shorten(value: string | undefined): string {
  if (value === undefined) return ''
  return value.length <= VALUE_CHARS_SHOWN ? value : `${value.slice(0, VALUE_CHARS_SHOWN)}…`
}

function printVersion({ output, io }: CommandContext, etag: string): void {
  const version = Number(etag.replaceAll('"', ''))
  io.out(output === 'json' ? `${JSON.stringify({ version })}\n` : `version ${version}\n`)
}

async function readInput(io: CommandIo): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of io.stdin) {
    length += chunk.length
    if (length > VALUE_BYTES_MAX) {
      throw new CordilleraError('VALUE_TOO_LARGE', { detail: `a value has at most ${VALUE_BYTES_MAX} bytes` })
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length)
}

function optional(flag: string | boolean | undefined): string | undefined {
  return typeof flag === 'string' ? flag : undefined
}
