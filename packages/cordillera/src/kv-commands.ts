import { isUtf8 } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import { VALUE_BYTES_MAX } from '@cordillera/ranges'
import { type KeyOptions, keyTarget, queryOf } from './api-client.js'
import type { CommandArguments, CommandContext, CommandFlags, CommandIo } from './command-context.js'
import { type Cell, formatTable } from './table.js'

/**
 * `kv get|put|del|scan`: single keys are raw bytes, in and out; a key that is missing, and a condition that does not
 * hold, are errors. As JSON a key and its value are what they are in a scan.
 */
export async function kvGet(
  { client, output, io }: CommandContext,
  [key]: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const { body, etag } = await client.request(keyTarget(key!, keyOptionsOf(flags)))
  if (output !== 'json') return io.out(body)
  io.out(`${JSON.stringify(entryOf(key!, body, versionOf(etag), optional(flags.encoding)))}\n`)
}

export async function kvPut(
  context: CommandContext,
  [key, value]: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const headers = headersOf(flags)
  const body = value === undefined ? await readInput(context.io) : Buffer.from(value, 'utf8')
  const target = keyTarget(key!, keyOptionsOf(flags))
  const { etag } = await context.client.request(target, { method: 'PUT', body, headers })
  printVersion(context, etag)
}

export async function kvDel(context: CommandContext, [key]: CommandArguments, flags: CommandFlags): Promise<void> {
  const target = keyTarget(key!, keyOptionsOf(flags))
  const { etag } = await context.client.request(target, { method: 'DELETE', headers: headersOf(flags) })
  printVersion(context, etag)
}

export async function kvScan(
  { client, output, io }: CommandContext,
  _args: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const { keyspace, spread, prefix, start, end, limit, reverse, values, cursor, encoding } = flags
  // A cursor brings its own direction and flags; commander sets `values` whenever it is not switched off.
  const skipped = values === false ? false : undefined
  const query = queryOf({ keyspace, spread, prefix, start, end, limit, reverse, values: skipped, cursor, encoding })
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

interface Entry {
  readonly key: string
  readonly value?: string
  readonly version: number
  readonly encoding?: string
}

interface ScanAnswer {
  readonly entries: readonly Entry[]
  readonly cursor?: string
}

const VALUE_CHARS_SHOWN = 60

function shorten(value: string | undefined): string {
  if (value === undefined) return ''
  return value.length <= VALUE_CHARS_SHOWN ? value : `${value.slice(0, VALUE_CHARS_SHOWN)}…`
}

/** The conditions of a write, as the headers that carry them. */
function headersOf({ ifMatch, ifNoneMatch, idempotencyKey }: CommandFlags): Record<string, string> {
  const headers: Record<string, string> = {}
  if (typeof ifMatch === 'string') headers['if-match'] = ifMatch === '*' ? '*' : etagOf(ifMatch)
  if (ifNoneMatch === true) headers['if-none-match'] = '*'
  if (typeof idempotencyKey === 'string') headers['idempotency-key'] = checkedKey(idempotencyKey)
  return headers
}

function etagOf(version: string): string {
  if (/^[1-9]\d{0,15}$/.test(version)) return `"${version}"`
  throw new CordilleraError('CONFIG_INVALID', { detail: '--if-match takes a version, as it was printed, or *' })
}

function checkedKey(key: string): string {
  if (/^[\x21-\x7e]+$/.test(key)) return key
  throw new CordilleraError('CONFIG_INVALID', { detail: '--idempotency-key takes visible ASCII characters' })
}

function versionOf(etag: string): number {
  return Number(etag.replaceAll('"', ''))
}

/** What is not UTF-8 goes as base64url, the key as well, like an entry of a scan. */
function entryOf(key: string, body: Uint8Array, version: number, encoding: string | undefined): Entry {
  const value = Buffer.from(body)
  if (encoding !== undefined) return { key, value: value.toString(encoding as BufferEncoding), version }
  if (isUtf8(value)) return { key, value: value.toString('utf8'), version }
  const spelled = Buffer.from(key, 'utf8').toString('base64url')
  return { key: spelled, value: value.toString('base64url'), version, encoding: 'base64url' }
}

function keyOptionsOf(flags: CommandFlags): KeyOptions {
  return {
    encoding: optional(flags.encoding),
    keyspace: optional(flags.keyspace),
    spread: flags.spread === true || undefined,
  }
}

function printVersion({ output, io }: CommandContext, etag: string): void {
  const version = versionOf(etag)
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
