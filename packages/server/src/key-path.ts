import type { ErrorCode } from '@cordillera/base'
import { EncodingSchema, SpreadSchema, TimeoutSchema } from './operator-schemas.js'

/**
 * `/v1/kv/{key}` for the OpenAPI document, by hand: it runs beside the routes from which the rest is made. What
 * `kv-handler.ts` takes and answers, in the same order.
 */
export function keyPath(refusalsOf: (codes: readonly ErrorCode[]) => object): object {
  const refusals = (...codes: readonly ErrorCode[]): object => refusalsOf([...OF_ALL, ...codes])
  return {
    parameters: [
      {
        name: 'key',
        in: 'path',
        required: true,
        description: 'Everything after `/v1/kv/`, slashes included, percent-decoded once, never normalized.',
        schema: { type: 'string', minLength: 1 },
      },
      parameter('query', 'keyspace', 'The keyspace of the key; `default` if left out.', { type: 'string' }),
      parameter('query', 'spread', 'Needs `keyspace`; false if left out.', SpreadSchema),
      parameter('query', 'encoding', 'How the key is spelled; text if left out.', EncodingSchema),
      parameter('query', 'timeoutMs', 'Milliseconds; 5,000 if left out.', TimeoutSchema),
    ],
    get: read('getKey', 'The value of a key, newest version', refusals('KEY_NOT_FOUND', 'VERSION_MISMATCH')),
    head: read('headKey', 'The version and the size of a value', refusals('KEY_NOT_FOUND', 'VERSION_MISMATCH')),
    put: {
      ...write('putKey', 'Writes a key', refusals(...OF_WRITES, 'VALUE_TOO_LARGE')),
      requestBody: { required: true, content: { '*/*': {} }, description: 'The value as it is; it may be empty.' },
    },
    delete: write('deleteKey', 'Deletes a key, present or not', refusals(...OF_WRITES)),
  }
}

const OF_ALL: readonly ErrorCode[] = [
  'BAD_REQUEST',
  'BAD_ENCODING',
  'KEY_EMPTY',
  'KEY_TOO_LARGE',
  'OVERLOADED',
  'INTERNAL',
  'UNAVAILABLE',
]

const OF_WRITES = ['VERSION_MISMATCH', 'IDEMPOTENCY_KEY_REUSED', 'OUTCOME_UNKNOWN'] as const

const ETAG = { ETag: { description: 'The version, in quotes.', schema: { type: 'string' } } }

function read(operationId: string, summary: string, refusals: object): object {
  const content = operationId === 'headKey' ? {} : { content: { 'application/octet-stream': {} } }
  return {
    operationId,
    tags: ['keys'],
    summary,
    parameters: [
      parameter('header', 'If-Match', 'Only if it has one of these versions.', { type: 'string' }),
      parameter('header', 'If-None-Match', 'Only if it has none of these versions.', { type: 'string' }),
    ],
    responses: {
      200: { description: 'The raw value.', headers: ETAG, ...content },
      304: { description: 'It has a version that `If-None-Match` names.', headers: ETAG },
      ...refusals,
    },
  }
}

function write(operationId: string, summary: string, refusals: object): object {
  const once = 'Sent again within 10 minutes, it has the outcome of the first time.'
  return {
    operationId,
    tags: ['keys'],
    summary,
    parameters: [
      parameter('header', 'If-Match', 'Only if the key has this one version, or is there: `*`.', { type: 'string' }),
      parameter('header', 'If-None-Match', 'Only if there is no such key: `*`.', { type: 'string', const: '*' }),
      parameter('header', 'Idempotency-Key', once, { type: 'string', minLength: 1, maxLength: 257 }),
    ],
    responses: { 204: { description: 'Durable on a majority.', headers: ETAG }, ...refusals },
  }
}

function parameter(place: 'query' | 'header', name: string, description: string, schema: object): object {
  return { name, in: place, required: false, description, schema }
}
