import { CordilleraError } from '@cordillera/base'
import { ClusterSchema, type IdParams, NodesSchema, RangesQuery, RangesSchema } from './admin-schemas.js'
import type { ApiRoute } from './api-route.js'
import type { Gate } from './gate.js'
import { ExplanationSchema, HashesSchema, HashQuery } from './operator-schemas.js'
import { rangeFilterOf, rangesPage, viewRange } from './range-pages.js'

/** What the cluster looks like: who is there, who holds and leads what, why, and whether the replicas agree. */
export function clusterRoutes(gate: Gate): ApiRoute[] {
  return [
    {
      method: 'GET',
      path: '/v1/admin/cluster',
      operationId: 'getCluster',
      tag: 'cluster',
      summary: 'The cluster as a whole, and whether it is healthy',
      answers: { 200: { description: 'The cluster.', schema: ClusterSchema } },
      refusals: [],
      handle: () => gate.node().cluster(),
    },
    ...nodeRoutes(gate),
    ...rangeRoutes(gate),
    {
      method: 'GET',
      path: '/v1/admin/hash',
      operationId: 'hashRanges',
      tag: 'ranges',
      summary:
        'Hashes of what the replicas of ranges hold at one timestamp; one that differs from the majority is replaced',
      query: HashQuery,
      answers: { 200: { description: 'Of all ranges, or of one.', schema: HashesSchema } },
      refusals: ['NOT_FOUND'],
      handle: async (request) => ({ ranges: await gate.node().placement.hashes((request.query as HashQuery).range) }),
    },
  ]
}

function nodeRoutes(gate: Gate): ApiRoute[] {
  return [
    {
      method: 'GET',
      path: '/v1/admin/nodes',
      operationId: 'listNodes',
      tag: 'nodes',
      summary: 'All nodes',
      answers: { 200: { description: 'The nodes.', schema: NodesSchema } },
      refusals: [],
      handle: async () => ({ nodes: await gate.node().nodes() }),
    },
    {
      method: 'GET',
      path: '/v1/admin/nodes/{nodeId}',
      operationId: 'getNode',
      tag: 'nodes',
      summary: 'One node',
      answers: { 200: { description: 'A list of this node.', schema: NodesSchema } },
      refusals: ['NOT_FOUND'],
      handle: async (request) => {
        const { id } = request.params as IdParams
        const nodes = (await gate.node().nodes()).filter((node) => node.nodeId === id)
        if (nodes.length === 0) throw noNode(id)
        return { nodes }
      },
    },
  ]
}

async function assertNode(gate: Gate, id: number): Promise<void> {
  if (!(await gate.node().nodes()).some(({ nodeId }) => nodeId === id)) throw noNode(id)
}

function noNode(id: number): CordilleraError {
  return new CordilleraError('NOT_FOUND', { detail: `there is no node ${id}` })
}

function rangeRoutes(gate: Gate): ApiRoute[] {
  return [
    {
      method: 'GET',
      path: '/v1/admin/ranges',
      operationId: 'listRanges',
      tag: 'ranges',
      summary: 'Ranges in key order, a page at a time',
      query: RangesQuery,
      answers: { 200: { description: 'A page; `cursor` when there are more.', schema: RangesSchema } },
      refusals: ['NOT_FOUND', 'BAD_ENCODING', 'KEY_TOO_LARGE'],
      handle: async (request) => {
        const query = request.query as RangesQuery
        if (query.node !== undefined) await assertNode(gate, query.node)
        return rangesPage((await gate.node().ranges(rangeFilterOf(query))).ranges, query)
      },
    },
    {
      method: 'GET',
      path: '/v1/admin/ranges/{rangeId}',
      operationId: 'getRange',
      tag: 'ranges',
      summary: 'One range',
      answers: { 200: { description: 'A list of this range.', schema: RangesSchema } },
      refusals: ['NOT_FOUND'],
      handle: async (request) => {
        const { id } = request.params as IdParams
        const ranges = (await gate.node().ranges({})).ranges.filter((range) => range.rangeId === id)
        if (ranges.length === 0) throw new CordilleraError('NOT_FOUND', { detail: `there is no range ${id}` })
        return { ranges: ranges.map(viewRange) }
      },
    },
    {
      method: 'GET',
      path: '/v1/admin/ranges/{rangeId}/explain',
      operationId: 'explainRange',
      tag: 'ranges',
      summary: 'What was decided about a range, and what was not, and why',
      answers: { 200: { description: 'Decisions, newest first.', schema: ExplanationSchema } },
      refusals: ['NOT_FOUND'],
      handle: (request) => gate.node().placement.explain((request.params as IdParams).id),
    },
  ]
}
