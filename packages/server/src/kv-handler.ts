import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Clock, CordilleraError, type Key, type Logger, NO_BYTES, type Version } from '@cordillera/base'
import { DEFAULT_KEYSPACE, keyspacePrefix, spreadKey } from '@cordillera/ranges'
import { decideRead, guardOf, type ReadConditions, readConditionsOf, writeDemandOf } from './conditions.js'
import { etagOf } from './entity-tags.js'
import type { Gate } from './gate.js'
import { decodeKeyPath, type Encoding } from './key-codec.js'
import { checkKeyspace } from './keyspace-parameter.js'
import { clientError, sendProblem } from './problem.js'
import { parseQuery } from './query.js'
import { announcesBody, discardBody, type RequestBodies } from './request-body.js'
import type { RequestMeter } from './request-meter.js'
import type { ServedValue, WriteDone } from './served-node.js'

/**
 * `/v1/kv/{key}`: the path that load takes, straight on `node:http`.
 *
 * A write is handed to the router only once its body is whole, and answered only when the router says so. Nothing the
 * client asked for is ignored: unknown parameters and conditions that cannot be kept are refused. There is no promise,
 * timer or URL object per request, and nothing is paid for conditions and keyspaces by requests without them; the router
 * keeps the deadline.
 */
export const KV_PATH = '/v1/kv/'
const ALLOWED_METHODS = 'GET, HEAD, PUT, DELETE'
export const DEFAULT_TIMEOUT_MS = 5_000
const TIMEOUT_MS_MAX = 60_000

interface KvOptions {
  /** What the keyspace's keys begin with. */
  readonly prefix: Key
  readonly spread: boolean
  readonly encoding: Encoding
  readonly timeoutMs: number
}

const PLAIN: KvOptions = {
  prefix: keyspacePrefix(DEFAULT_KEYSPACE),
  spread: false,
  encoding: 'text',
  timeoutMs: DEFAULT_TIMEOUT_MS,
}

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
    const key = storedKey(rawKey, options)
    const conditions = readConditionsOf(req.headers)
    this.#gate.node().router.get(key, startMs + options.timeoutMs, (error, found) => {
      if (error !== undefined) this.#refuse(req, res, error, startMs)
      else if (found === undefined) this.#refuse(req, res, new CordilleraError('KEY_NOT_FOUND'), startMs)
      else if (conditions !== undefined) this.#answerIf(conditions, req, res, found, startMs)
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
    const key = storedKey(rawKey, options)
    refuseParts(req)
    const demand = writeDemandOf(req.headers)
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
        const guard = demand === undefined ? undefined : guardOf(demand, 'PUT', key, body)
        const deadlineMs = this.#clock.now() + options.timeoutMs
        this.#gate.node().router.put(key, body, deadlineMs, this.#written(req, res, startMs), guard)
      } catch (error) {
        this.#refuse(req, res, error, startMs)
      }
    })
  }

  #delete(req: IncomingMessage, res: ServerResponse, rawKey: string, query: string, startMs: number): void {
    const options = query === '' ? PLAIN : parseKvOptions(query)
    const key = storedKey(rawKey, options)
    refuseParts(req)
    const demand = writeDemandOf(req.headers)
    const guard = demand === undefined ? undefined : guardOf(demand, 'DELETE', key, NO_BYTES)
    this.#gate.node().router.delete(key, startMs + options.timeoutMs, this.#written(req, res, startMs), guard)
  }

  #written(req: IncomingMessage, res: ServerResponse, startMs: number): WriteDone {
    return (error, version) => {
      if (error !== undefined) this.#refuse(req, res, error, startMs)
      else this.#answerVersion(204, req, res, version, startMs)
    }
  }

  /** An answer without a body: written, or unchanged. */
  #answerVersion(
    status: 204 | 304,
    req: IncomingMessage,
    res: ServerResponse,
    version: Version,
    startMs: number,
  ): void {
    if (!res.destroyed) {
      if (this.#gate.closing) res.shouldKeepAlive = false
      res.writeHead(status, ['ETag', etagOf(version)])
      res.end()
    }
    this.#meter.record(req.method, status, this.#clock.now() - startMs)
  }

  #answerIf(
    conditions: ReadConditions,
    req: IncomingMessage,
    res: ServerResponse,
    found: ServedValue,
    startMs: number,
  ): void {
    switch (decideRead(conditions, found.version)) {
      case 200:
        this.#answerValue(req, res, found, startMs)
        break
      case 304:
        this.#answerVersion(304, req, res, found.version, startMs)
        break
      case 412:
        this.#refuse(req, res, versionMismatch(found.version), startMs)
        break
    }
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
        etagOf(found.version),
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
    sendProblem(res, error, refusalHeaders(error))
    this.#meter.record(req.method, res.statusCode, this.#clock.now() - startMs)
  }
}

function versionMismatch(version: Version): CordilleraError {
  return new CordilleraError('VERSION_MISMATCH', { detail: `the key has version ${version}`, details: { version } })
}

/** What belongs to the code, as a flat list. A mismatch brings the present version, if there is one. */
function refusalHeaders(error: CordilleraError): string[] {
  if (error.code === 'METHOD_NOT_ALLOWED') return ['Allow', ALLOWED_METHODS]
  const version = error.code === 'VERSION_MISMATCH' ? error.details?.version : undefined
  return typeof version === 'number' && version > 0 ? ['ETag', etagOf(version)] : []
}

/** The key that a path names, as the ranges keep it. */
function storedKey(rawKey: string, { prefix, spread, encoding }: KvOptions): Key {
  const key = decodeKeyPath(rawKey, encoding)
  return spread ? spreadKey(prefix, key) : prefix + key
}

function parseKvOptions(query: string): KvOptions {
  const parameters = parseQuery(query)
  let { prefix, spread, encoding, timeoutMs } = PLAIN
  let keyspace: string | undefined
  for (const name in parameters) {
    const value = parameters[name]!
    if (name === 'encoding') encoding = parseEncoding(value)
    else if (name === 'timeoutMs') timeoutMs = parseTimeout(value)
    else if (name === 'keyspace') keyspace = value
    else if (name === 'spread') spread = parseSpread(value)
    else {
      throw new CordilleraError('BAD_REQUEST', {
        detail: `unknown parameter ${name}; a key takes keyspace, spread, encoding, timeoutMs`,
      })
    }
  }
  checkKeyspace(keyspace, spread)
  if (keyspace !== undefined) prefix = keyspacePrefix(keyspace, spread)
  return { prefix, spread, encoding, timeoutMs }
}

function parseSpread(value: string): boolean {
  if (value === 'true' || value === 'false') return value === 'true'
  throw new CordilleraError('BAD_REQUEST', { detail: 'spread is true or false' })
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

/** A write of a part of a value must not be taken for one of the whole (RFC 9110, 14.4). */
function refuseParts(req: IncomingMessage): void {
  if (req.headers['content-range'] === undefined) return
  throw new CordilleraError('BAD_REQUEST', { detail: 'content-range: a value is written whole; nothing was written' })
}
