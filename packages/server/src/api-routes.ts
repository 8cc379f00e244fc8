import { Readable } from 'node:stream'
import { type Clock, CordilleraError, type Logger } from '@cordillera/base'
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema } from 'fastify'
import {
  ClusterSchema,
  IdParams,
  NodesSchema,
  NoQuery,
  ProblemSchema,
  RangesQuery,
  RangesSchema,
  ScanQuery,
  ScanSchema,
} from './admin-schemas.js'
import type { Gate, Readiness } from './gate.js'
import { DEFAULT_TIMEOUT_MS } from './kv-handler.js'
import type { ServerMetrics } from './metrics.js'
import { clientError, problemOf } from './problem.js'
import { rangeFilterOf, rangesPage, viewRange } from './range-pages.js'
import { answerOf, linesOf, scanOf, scanPage } from './scan.js'

/**
 * Every resource but single keys: the scan, the admin API, health and metrics. Reading only; what operates on nodes and
 * ranges is added here.
 */
export interface ApiPorts {
  readonly gate: Gate
  readonly clock: Clock
  readonly metrics: ServerMetrics
  readonly logger: Logger
}

/** A path of the API and how to match it, so that another method on it is answered 405 and not 404. */
export interface Resource {
  readonly pattern: RegExp
  readonly methods: string
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown

/** Adds the routes and returns what exists. */
export function addApiRoutes(app: FastifyInstance, ports: ApiPorts): Resource[] {
  const resources: Resource[] = []
  const get = (url: string, schema: FastifySchema, handler: Handler): void => {
    resources.push({ pattern: new RegExp(`^${url.replace(ID, '\\d+')}$`), methods: 'GET, HEAD' })
    app.get(url, { schema: { querystring: NoQuery, ...schema } }, handler)
  }
  addHealth(get, ports)
  addCluster(get, ports.gate)
  addRanges(get, ports.gate)
  get('/v1/kv', { querystring: ScanQuery, response: answers(ScanSchema) }, (request, reply) =>
    scan(request.query as ScanQuery, request, reply, ports),
  )
  return resources
}

/** A path's last part that is a number; anything else is not a path of this API. */
const ID = ':id(^\\d{1,16}$)'

type AddGet = (url: string, schema: FastifySchema, handler: Handler) => void

function addHealth(get: AddGet, { gate, metrics }: ApiPorts): void {
  get('/livez', {}, (_, reply) => sendHealth(reply, gate.liveness()))
  get('/readyz', {}, (_, reply) => sendHealth(reply, gate.readiness()))
  get('/metrics', {}, async (_, reply) => reply.type(metrics.contentType).send(await metrics.text()))
}

function addCluster(get: AddGet, gate: Gate): void {
  get('/v1/admin/cluster', { response: answers(ClusterSchema) }, () => gate.node().cluster())
  get('/v1/admin/nodes', { response: answers(NodesSchema) }, async () => ({ nodes: await gate.node().nodes() }))
  get(`/v1/admin/nodes/${ID}`, { params: IdParams, response: answers(NodesSchema) }, async (request) => {
    const { id } = request.params as IdParams
    const nodes = (await gate.node().nodes()).filter((node) => node.nodeId === id)
    if (nodes.length === 0) throw new CordilleraError('NOT_FOUND', { detail: `there is no node ${id}` })
    return { nodes }
  })
}

function addRanges(get: AddGet, gate: Gate): void {
  get('/v1/admin/ranges', { querystring: RangesQuery, response: answers(RangesSchema) }, async (request) => {
    const query = request.query as RangesQuery
    return rangesPage((await gate.node().ranges(rangeFilterOf(query))).ranges, query)
  })
  get(`/v1/admin/ranges/${ID}`, { params: IdParams, response: answers(RangesSchema) }, async (request) => {
    const { id } = request.params as IdParams
    const ranges = (await gate.node().ranges({})).ranges.filter((range) => range.rangeId === id)
    if (ranges.length === 0) throw new CordilleraError('NOT_FOUND', { detail: `there is no range ${id}` })
    return { ranges: ranges.map(viewRange) }
  })
}

async function scan(query: ScanQuery, request: FastifyRequest, reply: FastifyReply, ports: ApiPorts): Promise<unknown> {
  const { router } = ports.gate.node()
  const state = scanOf(query)
  const timeoutMs = query.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const page = (next: typeof state) => scanPage(router, next, ports.clock.now() + timeoutMs)
  const first = await page(state)
  if (!request.headers.accept?.includes(NDJSON)) return answerOf(state, first)
  const lines = endWithProblem(linesOf(state, first, page), ports.logger)
  return reply.type(NDJSON).send(Readable.from(lines, { objectMode: true, highWaterMark: 1 }))
}

const NDJSON = 'application/x-ndjson'

/** The status has gone out long ago: a failure is told in a last line, and by a body that does not end properly. */
async function* endWithProblem(lines: AsyncGenerator<string>, logger: Logger): AsyncGenerator<string> {
  try {
    yield* lines
  } catch (cause) {
    const error = clientError(cause, logger)
    yield `${JSON.stringify({ error: problemOf(error) })}\n`
    throw error
  }
}

function sendHealth(reply: FastifyReply, health: Readiness): FastifyReply {
  if (!health.ready) throw new CordilleraError('UNAVAILABLE', { detail: health.reason })
  return reply.type('text/plain; charset=utf-8').send('ok\n')
}

function answers(schema: object): Record<string, object> {
  const problem = { content: { 'application/problem+json': { schema: ProblemSchema } } }
  return { 200: schema, '4xx': problem, '5xx': problem }
}
