import { Buffer } from 'node:buffer'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type Clock, CordilleraError, type Logger } from '@cordillera/base'
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from '@cordillera/ranges'
import fastify, {
  type ConnectionError,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import type { Resource } from './api-route.js'
import { addApiRoutes } from './api-routes.js'
import { BATCH_BODY_BYTES_MAX, BATCH_PATH } from './batch-route.js'
import { Gate } from './gate.js'
import { BODY_BYTES_MAX } from './json-body.js'
import { KV_PATH, KvHandler } from './kv-handler.js'
import type { LogSync } from './log-sync-meter.js'
import { ServerMetrics } from './metrics.js'
import { clientError, PROBLEM_TYPE, problemHeaders, problemOf, rawProblem, sendProblem } from './problem.js'
import { parseQuery, splitTarget } from './query.js'
import { RequestBodies } from './request-body.js'
import { RequestMeter } from './request-meter.js'

/**
 * The HTTP API of one node: single keys on `node:http`, everything else through fastify, on one socket.
 *
 * Every error is a problem+json from the registry, also for requests that cannot be parsed. It may listen before there
 * is a node, so that a port in use is known before anything is founded; until {@link serve} it is alive and not ready.
 * Closing lets requests finish within a bound.
 */
export interface HttpServerOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly limits?: Partial<HttpLimits>
}

export interface HttpLimits {
  /** Connections beyond it are closed at once. */
  readonly connectionsMax: number
  /** The request line and all headers. Above three times the largest key, which may be percent-encoded. */
  readonly headBytesMax: number
  /** Bodies being received, together. */
  readonly pendingBodyBytesMax: number
  readonly headTimeoutMs: number
  /** For the whole request, its body included. */
  readonly requestTimeoutMs: number
  /** An idle connection is kept so long: longer than the minute that proxies keep theirs. */
  readonly keepAliveMs: number
  /** How often the timeouts are looked at. */
  readonly sweepMs: number
}

export const defaultHttpLimits: HttpLimits = {
  connectionsMax: 20_000,
  headBytesMax: 64 * 1024,
  pendingBodyBytesMax: 256 << 20,
  headTimeoutMs: 15_000,
  requestTimeoutMs: 60_000,
  keepAliveMs: 65_000,
  sweepMs: 5_000,
}

export interface HttpAddress {
  readonly host: string
  readonly port: number
}

export class HttpServer {
  readonly #app: FastifyInstance
  readonly #server: Server
  readonly #gate: Gate
  readonly #clock: Clock
  readonly #metrics: ServerMetrics

  private constructor(app: FastifyInstance, gate: Gate, clock: Clock, metrics: ServerMetrics) {
    this.#app = app
    this.#server = app.server
    this.#gate = gate
    this.#clock = clock
    this.#metrics = metrics
  }

  static async create(options: HttpServerOptions): Promise<HttpServer> {
    const { clock, logger } = options
    const limits = { ...defaultHttpLimits, ...options.limits }
    const gate = new Gate()
    const meter = new RequestMeter()
    const metrics = new ServerMetrics(gate, meter)
    const bodies = new RequestBodies({ bodyBytesMax: VALUE_BYTES_MAX, pendingBytesMax: limits.pendingBodyBytesMax })
    const kv = new KvHandler({ gate, bodies, clock, meter, logger })
    const app = createApp(limits, (otherwise) => (req, res) => dispatch(kv, gate, otherwise, req, res), logger)
    app.server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
      dispatch(kv, gate, app.routing, req, res, true)
    })
    app.addHook('onResponse', async (request, reply) => {
      meter.record(request.method, reply.statusCode, reply.elapsedTime)
    })
    app.addHook('onSend', async (_, reply, payload) => {
      if (gate.closing) reply.raw.shouldKeepAlive = false
      return payload
    })
    const resources = addApiRoutes(app, { gate, clock, metrics, logger })
    app.addHook('onRequest', async (request, reply) => {
      const { path, query } = splitTarget(request.raw.url ?? '')
      if (request.is404) return replyUnknown(reply, path, resources)
      request.query = parseQuery(query)
    })
    await app.ready()
    return new HttpServer(app, gate, clock, metrics)
  }

  /** Resolves to the address in use (a port of 0 takes a free one). Rejects with the platform's error. */
  listen(address: HttpAddress): Promise<HttpAddress> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host: address.host, port: address.port, backlog: 1024 }, () => {
        this.#server.off('error', reject)
        resolve({ host: address.host, port: (this.#server.address() as AddressInfo).port })
      })
    })
  }

  /** From now on requests reach this node. */
  serve(node: Parameters<Gate['serve']>[0]): void {
    this.#gate.serve(node)
  }

  /** From now on `/readyz` says no; requests are answered as before. */
  drain(): void {
    this.#gate.drain()
  }

  /** The store has stopped: nothing is served and nothing is acknowledged from now on. */
  fail(reason: string): void {
    this.#gate.fail(reason)
  }

  /** To be called after each sync of the Raft log. */
  onLogSync(sample: LogSync): void {
    this.#metrics.onLogSync(sample)
  }

  /**
   * Accepts no further connection, answers what is under way with `Connection: close`, and resolves when every
   * connection is closed; those that take longer than `graceMs` are cut off. Idempotent.
   */
  async close(graceMs: number): Promise<void> {
    this.#gate.close()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    const timer = this.#clock.after(graceMs, () => this.#server.closeAllConnections())
    this.#server.closeIdleConnections()
    await closed
    timer.cancel()
    await this.#app.close()
  }
}

type RequestListener = (req: IncomingMessage, res: ServerResponse) => void

function dispatch(
  kv: KvHandler,
  gate: Gate,
  otherwise: RequestListener,
  req: IncomingMessage,
  res: ServerResponse,
  expectsContinue = false,
): void {
  if (gate.closing) res.shouldKeepAlive = false
  const { path, query } = splitTarget(req.url ?? '')
  if (req.headers.host === undefined && req.httpVersionMinor !== 0) {
    sendProblem(res, new CordilleraError('BAD_REQUEST', { detail: 'HTTP/1.1 asks for a Host header' }), CLOSE)
  } else if (path.startsWith(KV_PATH)) {
    kv.handle(req, res, path.slice(KV_PATH.length), query, expectsContinue)
  } else {
    if (expectsContinue) res.writeContinue()
    otherwise(req, res)
  }
}

const CLOSE = ['Connection', 'close']

function createApp(
  limits: HttpLimits,
  listenerOf: (otherwise: RequestListener) => RequestListener,
  logger: Logger,
): FastifyInstance {
  const app = fastify({
    logger: false,
    clientErrorHandler: answerUnparsable,
    frameworkErrors: (error, request, reply) =>
      void replyProblem(reply as FastifyReply, frameworkProblem(error, request, logger)),
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, useDefaults: false, allErrors: false } },
    serverFactory: (handler) => {
      const server = createServer(
        {
          maxHeaderSize: limits.headBytesMax,
          headersTimeout: limits.headTimeoutMs,
          requestTimeout: limits.requestTimeoutMs,
          keepAliveTimeout: limits.keepAliveMs,
          connectionsCheckingInterval: limits.sweepMs,
          requireHostHeader: false,
        },
        listenerOf(handler as RequestListener),
      )
      server.maxConnections = limits.connectionsMax
      server.on('checkExpectation', (_, res: ServerResponse) => {
        const detail = 'the only expectation known is 100-continue'
        sendProblem(res, new CordilleraError('BAD_REQUEST', { detail }), CLOSE)
      })
      return server
    },
  })
  app.setErrorHandler((error: FastifyError, request, reply) =>
    replyProblem(reply, frameworkProblem(error, request, logger)),
  )
  return app
}

/** Before any body is looked at: the path exists for other methods, or not at all. */
function replyUnknown(reply: FastifyReply, path: string, resources: readonly Resource[]): FastifyReply {
  const resource = resources.find(({ pattern }) => pattern.test(path))
  if (resource === undefined) {
    return replyProblem(reply, new CordilleraError('NOT_FOUND', { detail: 'there is nothing at this path' }))
  }
  reply.header('Allow', resource.methods)
  const detail = `this resource takes ${resource.methods}`
  return replyProblem(reply, new CordilleraError('METHOD_NOT_ALLOWED', { detail }))
}

function replyProblem(reply: FastifyReply, error: CordilleraError): FastifyReply {
  const problem = problemOf(error)
  const headers = problemHeaders(error)
  if (headers.length > 0) reply.header(headers[0]!, headers[1])
  return reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem))
}

/** What fastify refuses by itself (schemas, URLs, media types) is the client's mistake; the rest is a defect. */
function frameworkProblem(
  error: FastifyError,
  request: Pick<FastifyRequest, 'routeOptions'>,
  logger: Logger,
): CordilleraError {
  if (error.validation !== undefined) {
    const first = error.validation[0]
    const unknown = first?.params.additionalProperty
    const detail = unknown === undefined ? error.message : `unknown parameter ${String(unknown)}`
    return new CordilleraError('BAD_REQUEST', { detail })
  }
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const bytesMax = request.routeOptions.url === BATCH_PATH ? BATCH_BODY_BYTES_MAX : BODY_BYTES_MAX
    const code = bytesMax > BODY_BYTES_MAX ? 'BATCH_TOO_LARGE' : 'BAD_REQUEST'
    return new CordilleraError(code, { detail: `the body has at most ${bytesMax} bytes` })
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    const detail = 'the Content-Type is not a media type: leave it out, or say application/json'
    return new CordilleraError('BAD_REQUEST', { detail })
  }
  if (error.code === 'FST_ERR_BAD_URL') return new CordilleraError('BAD_ENCODING', { detail: error.message })
  const isClientMistake = error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500
  return isClientMistake ? new CordilleraError('BAD_REQUEST', { detail: error.message }) : clientError(error, logger)
}

/**
 * What node's parser refuses: not HTTP, too long a head, too slow, or ended half-way. The answer must not be taken for
 * that of an earlier request on the same connection, which is let finish instead.
 */
function answerUnparsable(error: ConnectionError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const current = (socket as Socket & { _httpMessage?: ServerResponse })._httpMessage
  if (current?.headersSent) {
    socket.destroy()
  } else if (current?.req.complete) {
    current.shouldKeepAlive = false
    current.once('finish', () => socket.destroySoon())
  } else {
    socket.end(rawProblem(unparsable(error)), () => socket.destroySoon())
  }
}

function unparsable(error: ConnectionError): CordilleraError {
  switch (error.code as string) {
    case 'HPE_HEADER_OVERFLOW':
      return isLongLine(error.rawPacket)
        ? new CordilleraError('KEY_TOO_LARGE', { detail: 'the request line is too long' })
        : new CordilleraError('BAD_REQUEST', { detail: 'the request line and the headers are too long' })
    case 'HPE_INVALID_EOF_STATE':
      return new CordilleraError('BAD_REQUEST', { detail: 'the request ended half-way; nothing was written' })
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new CordilleraError('BAD_REQUEST', { detail: 'the request did not arrive in time; nothing was written' })
    default:
      return new CordilleraError('BAD_REQUEST', { detail: 'this is not an HTTP/1.1 request' })
  }
}

/** Whether what arrived last has no line that ends within the length that the largest key could make it. */
function isLongLine(packet: unknown): boolean {
  const end = Buffer.isBuffer(packet) ? packet.indexOf('\n') : 0
  return end < 0 || end > 4 * KEY_BYTES_MAX
}
