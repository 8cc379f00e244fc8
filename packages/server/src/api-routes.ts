import type { Clock, Logger } from '@cordillera/base'
import type { FastifyInstance } from 'fastify'
import { type ApiRoute, addRoutes, type Resource } from './api-route.js'
import { batchRoute } from './batch-route.js'
import { clusterRoutes } from './cluster-routes.js'
import type { Gate } from './gate.js'
import { healthRoutes } from './health-routes.js'
import type { ServerMetrics } from './metrics.js'
import { openApiDocument } from './openapi.js'
import { operatorRoutes } from './operator-routes.js'
import { scanRoute } from './scan-route.js'
import { settingsRoutes } from './settings-routes.js'

/** Every resource but single keys: the scan, the admin API, health and metrics, and the document that describes them. */
export interface ApiPorts {
  readonly gate: Gate
  readonly clock: Clock
  readonly metrics: ServerMetrics
  readonly logger: Logger
}

/** Adds the routes and returns what exists. */
export function addApiRoutes(app: FastifyInstance, ports: ApiPorts): Resource[] {
  const { gate, metrics } = ports
  const routes = [
    scanRoute(ports),
    batchRoute(ports),
    ...clusterRoutes(gate),
    ...operatorRoutes(ports),
    ...settingsRoutes(gate),
    ...healthRoutes(gate, metrics),
  ]
  return addRoutes(app, [...routes, documentRoute(routes)])
}

function documentRoute(others: readonly ApiRoute[]): ApiRoute {
  let document: string | undefined
  const route: ApiRoute = {
    method: 'GET',
    path: '/v1/openapi.json',
    operationId: 'getOpenApi',
    tag: 'cluster',
    summary: 'This document',
    answers: { 200: { description: 'OpenAPI 3.1.', mediaTypes: ['application/json'] } },
    refusals: [],
    handle: (_, reply) => {
      document ??= JSON.stringify(openApiDocument([...others, route]))
      return reply.type('application/json; charset=utf-8').send(document)
    },
  }
  return route
}
