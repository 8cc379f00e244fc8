import { queryOf } from './api-client.js'
import type { CommandArguments, CommandContext, CommandFlags } from './command-context.js'
import { type Cell, formatTable } from './table.js'

/** `status`, `node ls`, `range ls`: the admin API as tables, or its body as it is. */
export async function showStatus({ client, output, io }: CommandContext): Promise<void> {
  const { value, text } = await client.json<Record<string, Cell>>('/v1/admin/cluster')
  if (output === 'json') return io.out(`${text}\n`)
  const { clusterId, version, nodeCount, rangeCount, healthy, health } = value
  const rows = Object.entries({ cluster: clusterId, version, nodes: nodeCount, ranges: rangeCount, healthy, health })
  io.out(
    formatTable(
      ['CLUSTER', ''],
      rows.map(([name, cell]) => [name, String(cell)]),
    ),
  )
}

interface NodeRow extends Record<string, Cell> {}

export async function nodeList({ client, output, io }: CommandContext): Promise<void> {
  const { value, text } = await client.json<{ nodes: NodeRow[] }>('/v1/admin/nodes')
  if (output === 'json') return io.out(`${text}\n`)
  const columns = {
    NODE: 'nodeId',
    STATE: 'state',
    HTTP: 'httpAddress',
    PEER: 'peerAddress',
    LOCALITY: 'locality',
    REPLICAS: 'replicas',
    LEADERS: 'leaders',
    BYTES: 'bytes',
    'READS/S': 'readsPerSec',
    'WRITES/S': 'writesPerSec',
    'FSYNC P50 MS': 'fsyncP50Ms',
    'FSYNC P99 MS': 'fsyncP99Ms',
  }
  const names = Object.values(columns)
  io.out(
    formatTable(
      Object.keys(columns),
      value.nodes.map((node) => names.map((name) => node[name] ?? null)),
    ),
  )
}

interface RangeRow {
  readonly rangeId: number
  readonly keyspace: string
  readonly start: string
  readonly end: string | null
  readonly epoch: { readonly version: number; readonly confVersion: number }
  readonly leader: number | null
  readonly term: number
  readonly bytes: number
  readonly readsPerSec: number
  readonly writesPerSec: number
  readonly replicas: readonly { readonly nodeId: number; readonly lag: number | null }[]
}

/** A table without `--limit` follows the cursors to the end; JSON is one answer. */
export async function rangeList(
  { client, output, io }: CommandContext,
  _args: CommandArguments,
  flags: CommandFlags,
): Promise<void> {
  const { key, node, keyspace, limit, cursor } = flags
  const list = (at: string | boolean | undefined) =>
    client.json<{ ranges: RangeRow[]; cursor?: string }>(
      `/v1/admin/ranges${queryOf({ key, node, keyspace, limit, cursor: at })}`,
    )
  let page = await list(cursor)
  if (output === 'json') return io.out(`${page.text}\n`)
  const ranges = [...page.value.ranges]
  while (page.value.cursor !== undefined && limit === undefined) {
    page = await list(page.value.cursor)
    ranges.push(...page.value.ranges)
  }
  io.out(
    formatTable(
      ['RANGE', 'KEYSPACE', 'START', 'END', 'EPOCH', 'LEADER', 'TERM', 'NODES', 'LAG'],
      ranges.map(rangeCells),
    ),
  )
  if (page.value.cursor !== undefined) io.err(`There is more: --cursor ${page.value.cursor}\n`)
}

function rangeCells(range: RangeRow): Cell[] {
  const { rangeId, keyspace, start, end, epoch, leader, term, replicas } = range
  const nodes = replicas.map((replica) => replica.nodeId).join(' ')
  const lags = replicas.map((replica) => replica.lag ?? '?').join(' ')
  const version = `${epoch.version}.${epoch.confVersion}`
  return [rangeId, keyspace, start, end ?? '∞', version, leader, term, nodes, lags]
}
