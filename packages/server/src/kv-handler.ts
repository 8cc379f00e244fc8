import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Clock, CordilleraError, type Key, type Logger, type Version } from '@cordillera/base'
import { DEFAULT_KEYSPACE, keyspacePrefix } from '@cordillera/ranges'
import type { Gate } from './gate.js'
import { decodeKeyPath, type Encoding } from './key-codec.js'
import { clientError, sendProblem } from './problem.js'
import { parseQuery } from './query.js'
import { announcesBody, discardBody, type RequestBodies } from './request-body.js'
import type { RequestMeter } from './request-meter.js'
import type { ServedValue } from './served-node.js'

/**
 * `/v1/kv/{key}`: the path that load takes, straight on `node:http`.
 *
 * A write is handed to the router only once its body is whole, and answered only when the router says so. Nothing the
 * client asked for is ignored: unknown parameters and conditions that are not supported are refused. There is no
 * promise, timer or URL object per request; the router keeps the deadline.
 */
export const KV_PATH = '/v1/kv/'
const ALLOWED_METHODS = 'GET, HEAD, PUT, DELETE'
export const DEFAULT_TIMEOUT_MS = 5_000
const TIMEOUT_MS_MAX = 60_000

/** Headers that would change the meaning of a write, and so must not be overlooked. */
const UNSUPPORTED_ON_WRITES = ['if-match', 'if-none-match', 'idempotency-key', 'content-range'] as const

interface KvOptions {
  readonly encoding: Encoding
  readonly timeoutMs: number
}

const PLAIN: KvOptions = { encoding: 'text', timeoutMs: DEFAULT_TIMEOUT_MS }

export interface KvHandlerPorts {
  readonly gate: Gate
  readonly bodies: RequestBodies
  readonly clock: Clock
  readonly meter: RequestMeter
  readonly logger: Logger
}

export class KvHandler {
  readonly #gate: Gate
  readonly #bodies: RequestBodies
  readonly #clock: Clock
  readonly #meter: RequestMeter
  readonly #logger: Logger
  readonly #prefix: Key = keyspacePrefix(DEFAULT_KEYSPACE)

  constructor(ports: KvHandlerPorts) {
    this.#gate = ports.gate
    this.#bodies = ports.bodies
    this.#clock = ports.clock
    this.#meter = ports.meter
    this.#logger = ports.logger
  }

  /** `rawKey` and `query` are parts of the request target, as sent. Answers exactly once, or never if the client goes. */
  handle(req: IncomingMessage, res: ServerResponse, rawKey: string, query: string, expectsContinue: boolean): void {
    const startMs = this.#clock.now()
    try {
      switch (req.method) {
        case 'GET':
        case 'HEAD':
          this.#get(req, res, rawKey, query, startMs)
          break
        case 'PUT':
          this.#put(req, res, rawKey, query, startMs, expectsContinue)
          break
        case 'DELETE':
          this.#delete(req, res, rawKey, query, startMs)
          break
        default:
          throw new CordilleraError('METHOD_NOT_ALLOWED', { detail: `a key takes ${ALLOWED_METHODS}` })
      }
    } catch (error) {
      this.#refuse(req, res, error, startMs)
    }
  }

  #get(req: IncomingMessage, res: ServerResponse, rawKey: string, query: string, startMs: number): void {
    const options = query === '' ? PLAIN : parseKvOptions(query)
    const key = this.#prefix + decodeKeyPath(rawKey, options.encoding)
    this.#gate.node().router.get(key, startMs + options.timeoutMs, (error, found) => {
      if (error !== undefined) this.#refuse(req, res, error, startMs)
      else if (found === undefined) this.#refuse(req, res, new CordilleraError('KEY_NOT_FOUND'), startMs)
      else this.#answerValue(req, res, found, startMs)
    })
  }

  #put(
    req: IncomingMessage,
    res: ServerResponse,
    rawKey: string,
    query: string,
    startMs: number,
    expectsContinue: boolean,
  ): void {
    const options = query === '' ? PLAIN : parseKvOptions(query)
    const key = this.#prefix + decodeKeyPath(rawKey, options.encoding)
    refuseConditions(req)
    const tooLarge = this.#bodies.tooLarge(req)
    if (tooLarge !== undefined) throw tooLarge
    this.#gate.node()
    if (expectsContinue) res.writeContinue()
    this.#bodies.collect(req, (refusal, body) => {
      if (refusal !== undefined) {
        this.#refuse(req, res, refusal, startMs)
        return
      }
      try {
        this.#gate.node().router.put(key, body, this.#clock.now() + options.timeoutMs, (error, version) => {
          if (error !== undefined) this.#refuse(req, res, error, startMs)
          else this.#answerWritten(req, res, version, startMs)
        })
      } catch (error) {
        this.#refuse(req, res, error, startMs)
      }
    })
  }

  #delete(req: IncomingMessage, res: ServerResponse, rawKey: string, query: string, startMs: number): void {
    const options = query === '' ? PLAIN : parseKvOptions(query)
    const key = this.#prefix + decodeKeyPath(rawKey, options.encoding)
    refuseConditions(req)
    this.#gate.node().router.delete(key, startMs + options.timeoutMs, (error, version) => {
      if (error !== undefined) this.#refuse(req, res, error, startMs)
      else this.#answerWritten(req, res, version, startMs)
    })
  }

  #answerWritten(req: IncomingMessage, res: ServerResponse, version: Version, startMs: number): void {
    if (!res.destroyed) {
      if (this.#gate.closing) res.shouldKeepAlive = false
      res.writeHead(204, ['ETag', etag(version)])
      res.end()
    }
    this.#meter.record(req.method, 204, this.#clock.now() - startMs)
  }

  #answerValue(req: IncomingMessage, res: ServerResponse, found: ServedValue, startMs: number): void {
    if (!res.destroyed) {
      if (this.#gate.closing) res.shouldKeepAlive = false
      res.writeHead(200, [
        'Content-Type',
        'application/octet-stream',
        'Content-Length',
        String(found.value.length),
        'ETag',
        etag(found.version),
      ])
      if (req.method === 'HEAD') res.end()
      else res.end(found.value)
    }
    this.#meter.record(req.method, 200, this.#clock.now() - startMs)
  }

  #refuse(req: IncomingMessage, res: ServerResponse, cause: unknown, startMs: number): void {
    const error = clientError(cause, this.#logger)
    // node:http closes by itself behind an answer that came instead of "100 Continue".
    if (this.#gate.closing) res.shouldKeepAlive = false
    else if (!req.complete && announcesBody(req) && req.listenerCount('data') === 0) discardBody(req)
    sendProblem(res, error, error.code === 'METHOD_NOT_ALLOWED' ? ['Allow', ALLOWED_METHODS] : [])
    this.#meter.record(req.method, res.statusCode, this.#clock.now() - startMs)
  }
}

function etag(version: Version): string {
  return `"${version}"`
}

function parseKvOptions(query: string): KvOptions {
  const parameters = parseQuery(query)
  let { encoding, timeoutMs } = PLAIN
  for (const name in parameters) {
    const value = parameters[name]!
    if (name === 'encoding') encoding = parseEncoding(value)
    else if (name === 'timeoutMs') timeoutMs = parseTimeout(value)
    else {
      throw new CordilleraError('BAD_REQUEST', { detail: `unknown parameter ${name}; a key takes encoding, timeoutMs` })
    }
  }
  return { encoding, timeoutMs }
}

function parseEncoding(value: string): Encoding {
  if (value === 'hex' || value === 'base64url') return value
  throw new CordilleraError('BAD_REQUEST', { detail: 'encoding is hex or base64url' })
}

function parseTimeout(value: string): number {
  const timeoutMs = /^\d{1,6}$/.test(value) ? Number(value) : 0
  if (timeoutMs >= 1 && timeoutMs <= TIMEOUT_MS_MAX) return timeoutMs
  throw new CordilleraError('BAD_REQUEST', { detail: `timeoutMs is a whole number from 1 to ${TIMEOUT_MS_MAX}` })
}

function refuseConditions(req: IncomingMessage): void {
  for (const header of UNSUPPORTED_ON_WRITES) {
    if (req.headers[header] !== undefined) {
      throw new CordilleraError('BAD_REQUEST', {
        detail: `the header ${header} is not supported yet; nothing was written`,
      })
    }
  }
}
