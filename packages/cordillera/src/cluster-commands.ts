import type { ClusterInfo, NodeInfo } from '@cordillera/server'
import type { CommandArguments, CommandContext, CommandFlags } from './command-context.js'
import { followCommand } from './follow-operator.js'
import { idOf } from './id-argument.js'
import { formatFacts, formatTable } from './table.js'

/** `status` and `node …`: the cluster and its nodes as tables, or the body of the answer as it is. */
export async function showStatus({ client, output, io }: CommandContext): Promise<void> {
  const { value, text } = await client.json<ClusterInfo>('/v1/admin/cluster')
  if (output === 'json') return io.out(`${text}\n`)
  const { clusterId, version, nodeCount, rangeCount, healthy, health } = value
  const facts = { cluster: clusterId, version, nodes: nodeCount, ranges: rangeCount, healthy, health }
  io.out(formatFacts(['CLUSTER', ''], facts))
}

const NODE_COLUMNS = {
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
} as const satisfies Readonly<Record<string, keyof NodeInfo>>

export async function nodeList({ client, output, io }: CommandContext): Promise<void> {
  const { value, text } = await client.json<{ nodes: NodeInfo[] }>('/v1/admin/nodes')
  if (output === 'json') return io.out(`${text}\n`)
  const names = Object.values(NODE_COLUMNS)
  const rows = value.nodes.map((node) => names.map((name) => node[name] ?? null))
  io.out(formatTable(Object.keys(NODE_COLUMNS), rows))
}

export async function nodeShow({ client, output, io }: CommandContext, [id]: CommandArguments): Promise<void> {
  const nodeId = idOf('NODE', id)
  const { value, text } = await client.json<{ nodes: NodeInfo[] }>(`/v1/admin/nodes/${nodeId}`)
  if (output === 'json') return io.out(`${text}\n`)
  for (const node of value.nodes) io.out(formatFacts(['NODE', node.nodeId], { ...node, nodeId: undefined }))
}

/** `node drain|undrain|decommission|recommission`. */
export function nodeCommand(name: 'drain' | 'undrain' | 'decommission' | 'recommission') {
  return (context: CommandContext, [id]: CommandArguments, flags: CommandFlags): Promise<void> =>
    followCommand(context, { target: `/v1/admin/nodes/${idOf('NODE', id)}/${name}` }, flags)
}
