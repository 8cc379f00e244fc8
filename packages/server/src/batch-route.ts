import { Buffer } from 'node:buffer'
import { type Clock, CordilleraError, type Key } from '@cordillera/base'
import { DEFAULT_KEYSPACE, keyspacePrefix, type Mutation, spreadKey } from '@cordillera/ranges'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { KeyspaceSchema } from './admin-schemas.js'
import type { ApiRoute } from './api-route.js'
import type { Gate } from './gate.js'
import { idempotencyOf, parseIdempotencyKey } from './idempotency.js'
import { decodeKey, type Encoding } from './key-codec.js'
import { chosenKeyspace } from './keyspace-parameter.js'
import { DEFAULT_TIMEOUT_MS } from './kv-handler.js'
import { EncodingSchema, SpreadSchema, TimeoutSchema } from './operator-schemas.js'

/** Writes that take effect together, over any keys. */
export const BatchQuery = Type.Object(
  {
    keyspace: Type.Optional(KeyspaceSchema),
    spread: Type.Optional(SpreadSchema),
    encoding: Type.Optional(EncodingSchema),
    timeoutMs: Type.Optional(TimeoutSchema),
  },
  { additionalProperties: false },
)
type BatchQuery = Static<typeof BatchQuery>

const IfVersion = Type.Optional(
  Type.Integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'Only if the newest version of the key is this; 0: there is none.',
  }),
)
const OpEncoding = Type.Optional(Type.Literal('base64url', { description: 'Of this operation’s key and value alone.' }))
const BatchOp = Type.Union([
  Type.Object(
    { op: Type.Literal('put'), key: Type.String(), value: Type.String(), ifVersion: IfVersion, encoding: OpEncoding },
    { additionalProperties: false },
  ),
  Type.Object(
    { op: Type.Literal('del'), key: Type.String(), ifVersion: IfVersion, encoding: OpEncoding },
    { additionalProperties: false },
  ),
])
type BatchOp = Static<typeof BatchOp>

export const BatchBody = Type.Object(
  { ops: Type.Array(BatchOp, { minItems: 1, description: 'In order: of several of one key the last counts.' }) },
  { additionalProperties: false },
)
type BatchBody = Static<typeof BatchBody>

const BatchSchema = Type.Object({
  version: Type.Integer({ minimum: 1, description: 'Of every key that was written.' }),
})

export const BATCH_PATH = '/v1/batch'
/** 4 MiB of keys and values, in the longest spelling that JSON has for them. */
export const BATCH_BODY_BYTES_MAX = 32 << 20

export function batchRoute({ gate, clock }: { readonly gate: Gate; readonly clock: Clock }): ApiRoute {
  return {
    method: 'POST',
    path: BATCH_PATH,
    operationId: 'writeBatch',
    tag: 'keys',
    summary: 'Writes all of it, or nothing',
    description:
      'Atomic, whatever ranges the keys are in: no reader sees a part of it. With `Idempotency-Key` a retry has the outcome of the first try; it is remembered with the first key.',
    query: BatchQuery,
    body: {
      schema: BatchBody,
      examples: {
        transfer: {
          ops: [
            { op: 'put', key: 'accounts/1', value: '70' },
            { op: 'put', key: 'accounts/2', value: '130' },
            { op: 'put', key: 'transfers/7', value: '', ifVersion: 0 },
          ],
        },
      },
    },
    bodyBytesMax: BATCH_BODY_BYTES_MAX,
    answers: { 200: { description: 'All of it is written.', schema: BatchSchema } },
    refusals: [
      ...(['BAD_ENCODING', 'KEY_EMPTY', 'VERSION_MISMATCH', 'KEY_TOO_LARGE', 'VALUE_TOO_LARGE'] as const),
      ...(['BATCH_TOO_LARGE', 'IDEMPOTENCY_KEY_REUSED', 'OVERLOADED', 'OUTCOME_UNKNOWN', 'DISK_FULL'] as const),
    ],
    handle: async (request) => {
      const deadlineMs = clock.now() + ((request.query as BatchQuery).timeoutMs ?? DEFAULT_TIMEOUT_MS)
      const mutations = mutationsOf(request.query as BatchQuery, request.body as BatchBody)
      const idempotency = idempotencyOfBatch(request, mutations[0]!.key)
      return { version: await gate.node().router.transactions.write(mutations, deadlineMs, idempotency) }
    },
  }
}

function mutationsOf(query: BatchQuery, { ops }: BatchBody): Mutation[] {
  const { keyspace = DEFAULT_KEYSPACE, spread = false } = chosenKeyspace(query.keyspace, query.spread) ?? {}
  const prefix = keyspacePrefix(keyspace, spread)
  return ops.map((op): Mutation => {
    const encoding = op.encoding ?? query.encoding ?? 'text'
    const user = keyOf(op, encoding)
    const key = spread ? spreadKey(prefix, user) : prefix + user
    const guarded = op.ifVersion === undefined ? {} : { guard: { ifVersion: op.ifVersion } }
    if (op.op === 'del') return { kind: 'delete', key, ...guarded }
    return { kind: 'put', key, value: bytesOf(op.value, encoding), ...guarded }
  })
}

function keyOf({ key: text }: BatchOp, encoding: Encoding): Key {
  const key = decodeKey(encoding === 'text' ? utf8Of(text).toString('latin1') : text, encoding)
  if (key.length > 0) return key
  throw new CordilleraError('KEY_EMPTY', { detail: 'a key has at least one byte' })
}

function bytesOf(text: string, encoding: Encoding): Uint8Array {
  if (encoding === 'text') return utf8Of(text)
  return Buffer.from(decodeKey(text, encoding, Number.POSITIVE_INFINITY), 'latin1')
}

/** Half of a surrogate pair is no character, and would silently become another one. */
function utf8Of(text: string): Buffer {
  if (!LONE_SURROGATE.test(text)) return Buffer.from(text, 'utf8')
  throw new CordilleraError('BAD_ENCODING', { detail: 'half of a surrogate pair; give bytes with encoding base64url' })
}

const LONE_SURROGATE = /\p{Surrogate}/u

function idempotencyOfBatch({ headers, body, query }: FastifyRequest, first: Key): Uint8Array | undefined {
  const field = headers['idempotency-key'] as string | undefined
  if (field === undefined) return undefined
  const { timeoutMs: _, ...rest } = query as BatchQuery
  const fingerprinted = { method: 'POST', condition: JSON.stringify(rest), body: Buffer.from(JSON.stringify(body)) }
  return idempotencyOf(first, parseIdempotencyKey(field), fingerprinted)
}
