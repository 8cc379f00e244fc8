import { CordilleraError, type ErrorCode, errorKinds } from '@cordillera/base'

/**
 * The HTTP API as the command line uses it. Answers come as they are; problems become coded errors with the code the
 * node gave.
 */
export class ApiClient {
  readonly #endpoint: string

  constructor(endpoint: string) {
    this.#endpoint = endpoint
  }

  /** `target` is a path with its query, encoded. Throws for anything but success. */
  async request(target: string, options: ApiRequest = {}): Promise<ApiAnswer> {
    let response: Response
    let body: Uint8Array
    try {
      response = await fetch(this.#endpoint + target, { ...options, redirect: 'error' } as RequestInit)
      body = new Uint8Array(await response.arrayBuffer())
    } catch (cause) {
      const reason = reasonOf(cause)
      const isUntouched = options.method === undefined || NEVER_SENT.has(reason)
      const detail = `no answer from ${this.#endpoint} (${reason}); is a node running there?`
      throw new CordilleraError(isUntouched ? 'UNAVAILABLE' : 'OUTCOME_UNKNOWN', { detail, cause })
    }
    if (response.ok) return { body, etag: response.headers.get('etag') ?? '' }
    throw problemError(response.status, body)
  }

  async json<T>(target: string, options: ApiRequest = {}): Promise<JsonAnswer<T>> {
    const text = Buffer.from((await this.request(target, options)).body).toString('utf8')
    return { value: JSON.parse(text) as T, text }
  }
}

/** The platform's words for a request that did not leave. */
const NEVER_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'bad port',
])

export interface ApiRequest {
  readonly method?: string
  readonly body?: Uint8Array
  /** Values that a header may have, checked by the caller. */
  readonly headers?: Readonly<Record<string, string>>
}

export interface ApiAnswer {
  readonly body: Uint8Array
  readonly etag: string
}

export interface JsonAnswer<T> {
  readonly value: T
  /** As it came. */
  readonly text: string
}

/** A body and the header that goes with it. */
export function jsonBody(body: object): { body: Uint8Array; headers: Record<string, string> } {
  return { body: Buffer.from(JSON.stringify(body), 'utf8'), headers: { 'content-type': 'application/json' } }
}

/** Lets OUTCOME_UNKNOWN, whoever lost the outcome, say what to do. */
export async function withRemedy<T>(remedy: string, send: () => Promise<T>): Promise<T> {
  try {
    return await send()
  } catch (cause) {
    if (!(cause instanceof CordilleraError) || cause.code !== 'OUTCOME_UNKNOWN') throw cause
    throw new CordilleraError('OUTCOME_UNKNOWN', { detail: cause.message, details: { remedy }, cause })
  }
}

/** Parameters that were given, as a query. */
export function queryOf(parameters: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const given = Object.entries(parameters).flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`]]))
  return given.length === 0 ? '' : `?${new URLSearchParams(given as [string, string][])}`
}

/** How a key is spelled, and where it is; undefined is what the API takes it for. */
export interface KeyOptions {
  readonly encoding?: string | undefined
  readonly keyspace?: string | undefined
  /** The spread keyspace of this name. */
  readonly spread?: boolean | undefined
}

/**
 * The path of a key. The platform's URLs normalize the segments "." and "..", however they are escaped, so these two
 * keys travel as bytes.
 */
export function keyTarget(key: string, { encoding, keyspace, spread }: KeyOptions = {}): string {
  if (encoding === undefined && (key === '.' || key === '..')) {
    return `/v1/kv/${Buffer.from(key).toString('hex')}${queryOf({ encoding: 'hex', keyspace, spread })}`
  }
  return `/v1/kv/${encodeURIComponent(key)}${queryOf({ encoding, keyspace, spread })}`
}

function problemError(status: number, body: Uint8Array): CordilleraError {
  try {
    const problem = JSON.parse(Buffer.from(body).toString('utf8'))
    if (Object.hasOwn(errorKinds, problem.code)) {
      return new CordilleraError(problem.code as ErrorCode, { detail: String(problem.detail), details: problem })
    }
  } catch {
    // Not from a node: said below.
  }
  return new CordilleraError('INTERNAL', { detail: `status ${status} without a code; is this a Cordillera node?` })
}

/** The platform's code for a failure, or the innermost message. */
function reasonOf(error: unknown): string {
  let message = String(error)
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown }
    if (typeof code === 'string') return code
    message = at.message
  }
  return message
}
