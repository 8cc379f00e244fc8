import { Readable } from 'node:stream'
import type { Clock, Logger } from '@cordillera/base'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ScanQuery, ScanSchema } from './admin-schemas.js'
import type { ApiRoute } from './api-route.js'
import type { Gate } from './gate.js'
import { DEFAULT_TIMEOUT_MS } from './kv-handler.js'
import { clientError, problemOf } from './problem.js'
import { answerOf, linesOf, scanOf, scanPage } from './scan.js'

export interface ScanPorts {
  readonly gate: Gate
  readonly clock: Clock
  readonly logger: Logger
}

/** Entries in key order: a page of JSON, or all of them as lines. */
export function scanRoute(ports: ScanPorts): ApiRoute {
  return {
    method: 'GET',
    path: '/v1/kv',
    operationId: 'scan',
    tag: 'keys',
    summary: 'Entries in key order, all pages of one snapshot',
    description: `With \`Accept: ${NDJSON}\` all entries, a line each; a last line \`{"error": …}\` when it fails half-way.`,
    query: ScanQuery,
    answers: {
      200: { description: 'A page; no `cursor` on the last one.', schema: ScanSchema, mediaTypes: [NDJSON] },
    },
    refusals: ['BAD_ENCODING', 'KEY_TOO_LARGE', 'SNAPSHOT_EXPIRED', 'OVERLOADED'],
    handle: (request, reply) => scan(request, reply, ports),
  }
}

const NDJSON = 'application/x-ndjson'

async function scan(request: FastifyRequest, reply: FastifyReply, ports: ScanPorts): Promise<unknown> {
  const query = request.query as ScanQuery
  const { router } = ports.gate.node()
  const state = scanOf(query)
  const timeoutMs = query.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const page = (next: typeof state) => scanPage(router, next, ports.clock.now() + timeoutMs)
  const first = await page(state)
  if (!request.headers.accept?.includes(NDJSON)) return answerOf(state, first)
  const lines = endWithProblem(linesOf(state, first, page), ports.logger)
  return reply.type(NDJSON).send(Readable.from(lines, { objectMode: true, highWaterMark: 1 }))
}

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
