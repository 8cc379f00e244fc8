import { Buffer } from 'node:buffer'
import type { ServerResponse } from 'node:http'
import { CordilleraError, type ErrorCode, errorKinds, type Logger } from '@cordillera/base'
import type { Problem } from './problem-schema.js'

/**
 * Errors on the wire: `application/problem+json` (RFC 9457) with the code and the retry of the error registry.
 *
 * Only a `CordilleraError` shows its message. Anything else is a defect: clients see INTERNAL, the log sees the rest.
 */
export const PROBLEM_TYPE = 'application/problem+json'

export function problemOf(error: CordilleraError): Problem {
  const { status, title } = errorKinds[error.code]
  return { type: problemType(error.code), title, status, detail: error.message, code: error.code, retry: error.retry }
}

/** The URI that names a code; it identifies and does not resolve. */
function problemType(code: ErrorCode): string {
  return `urn:cordillera:problem:${code.toLowerCase().replaceAll('_', '-')}`
}

/** The error as clients may see it. A foreign one is logged. */
export function clientError(error: unknown, logger: Logger): CordilleraError {
  if (error instanceof CordilleraError) return error
  logger.error('request-failed', { error })
  return new CordilleraError('INTERNAL', { cause: error })
}

/** Headers of a problem besides type and length, as a flat list. */
export function problemHeaders(error: CordilleraError): string[] {
  const { status } = errorKinds[error.code]
  return status === 429 || status === 503 ? ['Retry-After', '1'] : []
}

/**
 * Answers with a problem; does nothing when the answer has begun or the client is gone. `headers` is a flat list. The
 * answer to a HEAD has no body, which `node:http` sees to.
 */
export function sendProblem(res: ServerResponse, error: CordilleraError, headers: readonly string[] = []): void {
  if (res.headersSent || res.destroyed) return
  const problem = problemOf(error)
  const body = Buffer.from(JSON.stringify(problem))
  res.writeHead(problem.status, [
    'Content-Type',
    PROBLEM_TYPE,
    'Content-Length',
    String(body.length),
    ...problemHeaders(error),
    ...headers,
  ])
  res.end(body)
}

/** A whole answer for a connection whose request could not be parsed; it is closed after it. */
export function rawProblem(error: CordilleraError): string {
  const problem = problemOf(error)
  const body = JSON.stringify(problem)
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
