import type { Buffer } from 'node:buffer'
import type { ErrorCode } from '@cordillera/base'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TObject, TSchema } from 'typebox'
import { IdParams, NoQuery } from './admin-schemas.js'
import { refuseCrossSite } from './cross-site.js'
import { BODY_BYTES_MAX, checkedBody, parseJsonBody, type RouteBody } from './json-body.js'
import { NoBody } from './operator-schemas.js'

/**
 * A resource's method as one value: the router, the checks and the OpenAPI document are made from it, so that they
 * cannot disagree.
 */
export interface ApiRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** As OpenAPI writes it. At most one parameter, which is a positive number: `request.params` is `IdParams`. */
  readonly path: string
  /** Unique; names the function in generated clients. */
  readonly operationId: string
  readonly tag: ApiTag
  readonly summary: string
  readonly description?: string
  /** Left out: no parameter is taken. */
  readonly query?: TObject
  /** Of anything but a GET. Left out: a body is empty or `{}`. */
  readonly body?: RouteBody
  /** Left out: `BODY_BYTES_MAX`. */
  readonly bodyBytesMax?: number
  readonly answers: Readonly<Record<number, ApiAnswer>>
  /** Besides those that any route may answer. */
  readonly refusals: readonly ErrorCode[]
  /** The query and the body are checked; failures are thrown. */
  handle(request: FastifyRequest, reply: FastifyReply): unknown
}

export type ApiTag = 'keys' | 'cluster' | 'nodes' | 'ranges' | 'operators' | 'settings' | 'health'

export interface ApiAnswer {
  readonly description: string
  /** Of JSON, which is written by it. */
  readonly schema?: TSchema
  /** Media types of answers that are not JSON, or not alone. */
  readonly mediaTypes?: readonly string[]
  /** Headers, each with what it says. */
  readonly headers?: Readonly<Record<string, string>>
}

/** A path of the API and how to match it, so that another method on it is answered 405 and not 404. */
export interface Resource {
  readonly pattern: RegExp
  readonly methods: string
}

const PARAMETER = /\{\w+\}/
/** A part of a path that is a number; anything else is not a path of this API. */
const ID = ':id(^\\d{1,16}$)'

/** Registers the routes and returns which resources there are. */
export function addRoutes(app: FastifyInstance, routes: readonly ApiRoute[]): Resource[] {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: BODY_BYTES_MAX }, (_, bytes, done) => {
    try {
      done(null, parseJsonBody(bytes as Buffer))
    } catch (error) {
      done(error as Error)
    }
  })
  for (const route of routes) addRoute(app, route)
  return resourcesOf(routes)
}

function addRoute(app: FastifyInstance, route: ApiRoute): void {
  const { method, path, query = NoQuery, body } = route
  const response = Object.fromEntries(
    Object.entries(route.answers).flatMap(([status, { schema }]) => (schema === undefined ? [] : [[status, schema]])),
  )
  app.route({
    method,
    url: path.replace(PARAMETER, ID),
    ...(route.bodyBytesMax === undefined ? {} : { bodyLimit: route.bodyBytesMax }),
    schema: { querystring: query, ...(PARAMETER.test(path) ? { params: IdParams } : {}), response },
    handler: (request, reply) => {
      if (method !== 'GET') {
        refuseCrossSite(request.headers)
        request.body = checkedBody(body ?? NO_BODY, request.body)
      }
      return route.handle(request, reply)
    },
  })
}

const NO_BODY: RouteBody = { schema: NoBody, examples: {} }

function resourcesOf(routes: readonly ApiRoute[]): Resource[] {
  const methodsByPath = new Map<string, string[]>()
  for (const { method, path } of routes) {
    const methods = methodsByPath.get(path) ?? []
    methods.push(...(method === 'GET' ? ['GET', 'HEAD'] : [method]))
    methodsByPath.set(path, methods)
  }
  return Array.from(methodsByPath, ([path, methods]) => ({
    pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(PARAMETER, '\\d{1,16}')}$`),
    methods: methods.join(', '),
  }))
}
