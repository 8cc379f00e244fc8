/**
 * The one registry of error codes. Documentation, HTTP statuses and metric labels come from it.
 *
 * Compare codes, never messages. `retry` says what a caller may do without risk: `never`; `same-node` (later, the same
 * request to the same node); `other-node`; `refresh-route` (ask again where the range is). A code whose outcome is
 * unknown is `never`: only the caller can know whether the write may run twice.
 */
export type Retry = 'never' | 'same-node' | 'other-node' | 'refresh-route'

interface ErrorKind {
  /** HTTP status. */
  readonly status: number
  readonly retry: Retry
  /** A sentence without the particulars. */
  readonly title: string
}

const kinds = {
  KEY_EMPTY: { status: 400, retry: 'never', title: 'The key is empty' },
  BAD_ENCODING: { status: 400, retry: 'never', title: 'The key or value is not validly encoded' },
  BAD_REQUEST: { status: 400, retry: 'never', title: 'The request is malformed' },
  KEY_NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such key' },
  NOT_FOUND: { status: 404, retry: 'never', title: 'There is no such resource' },
  METHOD_NOT_ALLOWED: { status: 405, retry: 'never', title: 'The resource does not support this method' },
  CONFLICT: { status: 409, retry: 'never', title: 'The request conflicts with the current state' },
  SNAPSHOT_EXPIRED: { status: 410, retry: 'never', title: 'The snapshot is no longer kept' },
  VERSION_MISMATCH: { status: 412, retry: 'never', title: 'The value has another version' },
  KEY_TOO_LARGE: { status: 413, retry: 'never', title: 'The key is too large' },
  VALUE_TOO_LARGE: { status: 413, retry: 'never', title: 'The value is too large' },
  BATCH_TOO_LARGE: { status: 413, retry: 'never', title: 'The batch is too large' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, retry: 'never', title: 'The idempotency key was used for another request' },
  OVERLOADED: { status: 429, retry: 'same-node', title: 'Too much work is waiting; nothing was done' },
  UNAVAILABLE: { status: 503, retry: 'other-node', title: 'The request could not be served; nothing was written' },
  OUTCOME_UNKNOWN: { status: 504, retry: 'never', title: 'The write may or may not have taken effect' },
  DISK_FULL: { status: 507, retry: 'never', title: 'Too many disks are nearly full; nothing was written' },
  INTERNAL: { status: 500, retry: 'never', title: 'The node met a defect of its own' },

  CORRUPT: { status: 500, retry: 'never', title: 'Bytes are not what their writer wrote' },
  DISK_FAILED: { status: 500, retry: 'never', title: 'The disk failed; the store has stopped' },
  LOG_DAMAGED: { status: 500, retry: 'never', title: 'The log is damaged and cannot be trusted' },
  DIRECTORY_IN_USE: { status: 409, retry: 'never', title: 'Another process uses this data directory' },
  DIRECTORY_INVALID: { status: 409, retry: 'never', title: 'The directory is not a usable data directory' },
  JOIN_REFUSED: { status: 409, retry: 'never', title: 'The cluster does not take this node' },
  HANDSHAKE_REFUSED: { status: 403, retry: 'never', title: 'The peer refused the connection' },
  CONFIG_INVALID: { status: 400, retry: 'never', title: 'The configuration is not valid' },
  CLOSED: { status: 503, retry: 'other-node', title: 'The node is closing' },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof kinds

/** Every code with its status, retry and title. */
export const errorKinds: Readonly<Record<ErrorCode, ErrorKind>> = kinds

export interface ErrorOptions {
  /** The particulars, for a person: what was wrong, and what to do. Defaults to the kind's title. */
  readonly detail?: string
  /** The particulars, for a program. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** The only error class that callers see. */
export class CordilleraError extends Error {
  override readonly name = 'CordilleraError'
  readonly code: ErrorCode
  readonly retry: Retry
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: ErrorCode, options: ErrorOptions = {}) {
    super(options.detail ?? kinds[code].title, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retry = kinds[code].retry
    this.details = options.details
  }
}
