import type { RangeExplanation } from '@cordillera/server'
import { queryOf } from './api-client.js'
import type { CommandArguments, CommandContext, CommandFlags } from './command-context.js'
import { followCommand } from './follow-operator.js'
import { idOf } from './id-argument.js'
import { type Cell, formatFacts, formatTable } from './table.js'

/** `range ls|show|explain|split|merge|transfer-leader|move`. */
interface RangeRow {
  readonly rangeId: number
  readonly keyspace: string
  readonly spread?: boolean
  readonly start: string
  readonly end: string | null
  /** How both bounds are spelled, when they are not text. */
  readonly encoding?: string
  readonly epoch: { readonly version: number; readonly confVersion: number }
  readonly leader: number | null
  readonly term: number
  readonly bytes: number
  readonly readsPerSec: number
  readonly writesPerSec: number
  readonly replicas: readonly ReplicaRow[]
}

interface ReplicaRow {
  readonly replicaId: number
  readonly nodeId: number
  readonly type: string
  readonly commitIndex: number | null
  readonly appliedIndex: number | null
  readonly lag: number | null
}

/** A table without `--limit` follows the cursors to the end; JSON is one answer. */
export async function rangeList(
  { client, output, io }: CommandContext,
  _args: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const { key, encoding, node, keyspace, spread, limit, cursor } = flags
  const list = (at: string | boolean | undefined) =>
    client.json<{ ranges: RangeRow[]; cursor?: string }>(
      `/v1/admin/ranges${queryOf({ key, encoding, node, keyspace, spread, limit, cursor: at })}`,
    )
  let page = await list(cursor)
  if (output === 'json') return io.out(`${page.text}\n`)
  const ranges = [...page.value.ranges]
  while (page.value.cursor !== undefined && limit === undefined) {
    page = await list(page.value.cursor)
    ranges.push(...page.value.ranges)
  }
  io.out(formatTable(RANGE_HEADINGS, ranges.map(rangeCells)))
  if (ranges.some((range) => range.encoding !== undefined)) io.err(SPELLED)
  if (page.value.cursor !== undefined) io.err(`There is more: --cursor ${page.value.cursor}\n`)
}

const RANGE_HEADINGS = [
  ...['RANGE', 'KEYSPACE', 'START', 'END', 'EPOCH', 'LEADER', 'TERM'],
  ...['BYTES', 'READS/S', 'WRITES/S', 'NODES', 'LAG'],
]

function rangeCells(range: RangeRow): Cell[] {
  const { rangeId, keyspace, spread, start, end, encoding, leader, term } = range
  const { bytes, readsPerSec, writesPerSec, replicas } = range
  const nodes = replicas.map((replica) => replica.nodeId).join(' ')
  const lags = replicas.map((replica) => replica.lag ?? '?').join(' ')
  // An empty bound is the same in every spelling.
  const spelled = (bound: string): string => (encoding === undefined || bound === '' ? bound : `${encoding}:${bound}`)
  const place: Cell[] = [
    rangeId,
    spread ? `${keyspace} (spread)` : keyspace,
    spelled(start),
    end === null ? INFINITY : spelled(end),
    epochOf(range),
    leader,
    term,
  ]
  return [...place, bytes, readsPerSec, writesPerSec, nodes, lags]
}

/** So that a bound can be given back to `range split`. */
const SPELLED = 'Bounds with base64url: in front are not text: give what is behind it with --encoding base64url\n'

const INFINITY = '∞'

function epochOf({ epoch }: RangeRow): string {
  return `${epoch.version}.${epoch.confVersion}`
}

export async function rangeShow({ client, output, io }: CommandContext, [id]: CommandArguments): Promise<void> {
  const { value, text } = await client.json<{ ranges: RangeRow[] }>(`/v1/admin/ranges/${idOf('RANGE', id)}`)
  if (output === 'json') return io.out(`${text}\n`)
  for (const range of value.ranges) {
    const parts = { rangeId: undefined, end: range.end ?? INFINITY, epoch: epochOf(range), replicas: undefined }
    io.out(formatFacts(['RANGE', range.rangeId], { ...range, ...parts }))
    const cells = range.replicas.map(({ replicaId, nodeId, type, commitIndex, appliedIndex, lag }): Cell[] => {
      return [replicaId, nodeId, nodeId === range.leader ? `${type}, leader` : type, commitIndex, appliedIndex, lag]
    })
    io.out(`\n${formatTable(['REPLICA', 'NODE', 'TYPE', 'COMMITTED', 'APPLIED', 'LAG'], cells)}`)
  }
}

export async function rangeExplain({ client, output, io }: CommandContext, [id]: CommandArguments): Promise<void> {
  const { value, text } = await client.json<RangeExplanation>(`/v1/admin/ranges/${idOf('RANGE', id)}/explain`)
  if (output === 'json') return io.out(`${text}\n`)
  const rows = value.decisions.map(({ at, kind, verdict, code, detail }): Cell[] => [at, kind, verdict, code, detail])
  io.out(formatTable(['AT', 'KIND', 'VERDICT', 'CODE', 'DETAIL'], rows))
}

export function rangeSplit(context: CommandContext, [id]: CommandArguments, flags: CommandFlags): Promise<void> {
  const { key, encoding, keyspace, spread } = flags
  const target = `/v1/admin/ranges/${idOf('RANGE', id)}/split${queryOf({ encoding, keyspace, spread })}`
  const seen = seenVersion(flags)
  const body = { ...(key !== undefined && { key }), ...seen }
  return followCommand(context, { target, body, isRepeatable: key !== undefined || seen !== undefined }, flags)
}

export function rangeMerge(context: CommandContext, [id]: CommandArguments, flags: CommandFlags): Promise<void> {
  const target = `/v1/admin/ranges/${idOf('RANGE', id)}/merge`
  const seen = seenVersion(flags)
  return followCommand(context, { target, body: { ...seen }, isRepeatable: seen !== undefined }, flags)
}

function seenVersion({ atVersion: version }: CommandFlags): { readonly version: number } | undefined {
  return version === undefined ? undefined : { version: idOf('--at-version', version) }
}

export function rangeTransferLeader(
  context: CommandContext,
  [id]: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const target = `/v1/admin/ranges/${idOf('RANGE', id)}/transfer-leader`
  return followCommand(context, { target, body: { node: idOf('--to', flags.to) } }, flags)
}

export function rangeMove(context: CommandContext, [id]: CommandArguments, flags: CommandFlags): Promise<void> {
  const target = `/v1/admin/ranges/${idOf('RANGE', id)}/replicas`
  const body = { add: idOf('--to', flags.to), remove: idOf('--from', flags.from) }
  return followCommand(context, { target, body }, flags)
}
