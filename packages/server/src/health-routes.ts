import { CordilleraError } from '@cordillera/base'
import type { FastifyReply } from 'fastify'
import type { ApiRoute } from './api-route.js'
import type { Gate, Readiness } from './gate.js'
import type { ServerMetrics } from './metrics.js'

/** What watches a process asks: is it alive, is it ready, what does it count. */
export function healthRoutes(gate: Gate, metrics: ServerMetrics): ApiRoute[] {
  const health = {
    method: 'GET',
    tag: 'health',
    answers: { 200: { description: 'Yes: `ok`.', mediaTypes: ['text/plain'] } },
    refusals: [],
  } as const
  return [
    {
      ...health,
      path: '/livez',
      operationId: 'isAlive',
      summary: 'Whether the process answers and its store has not failed',
      handle: (_, reply) => sendHealth(reply, gate.liveness()),
    },
    {
      ...health,
      path: '/readyz',
      operationId: 'isReady',
      summary: 'Whether this node can serve with a majority',
      handle: (_, reply) => sendHealth(reply, gate.readiness()),
    },
    {
      ...health,
      path: '/metrics',
      operationId: 'getMetrics',
      summary: 'Metrics for Prometheus',
      answers: { 200: { description: "Prometheus' text format.", mediaTypes: ['text/plain'] } },
      handle: async (_, reply) => reply.type(metrics.contentType).send(await metrics.text()),
    },
  ]
}

function sendHealth(reply: FastifyReply, health: Readiness): FastifyReply {
  if (!health.ready) throw new CordilleraError('UNAVAILABLE', { detail: health.reason })
  return reply.type('text/plain; charset=utf-8').send('ok\n')
}
