import type { IncomingHttpHeaders } from 'node:http'
import { CordilleraError, type Key, type Version } from '@cordillera/base'
import type { WriteGuard } from '@cordillera/ranges'
import {
  type EntityTag,
  isWeak,
  matchesStrongly,
  matchesWeakly,
  parseTagField,
  type TagField,
  tryVersion,
} from './entity-tags.js'
import { idempotencyOf, parseIdempotencyKey } from './idempotency.js'

/**
 * Conditional requests (RFC 9110, 13) and writes that take effect once.
 *
 * A read's conditions are decided here, on the value that was read. A write's are decided where it is applied; what this
 * API could not pass on as exactly one condition is refused with BAD_REQUEST, never weakened. A request without these
 * headers costs their lookups, and nothing else.
 */
export interface ReadConditions {
  readonly ifMatch: TagField | undefined
  readonly ifNoneMatch: TagField | undefined
}

/** Undefined without conditions. Throws BAD_REQUEST for headers that are malformed. */
export function readConditionsOf(headers: IncomingHttpHeaders): ReadConditions | undefined {
  const ifMatch = headers['if-match']
  const ifNoneMatch = headers['if-none-match']
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined
  return {
    ifMatch: ifMatch === undefined ? undefined : parseTagField('If-Match', ifMatch),
    ifNoneMatch: ifNoneMatch === undefined ? undefined : parseTagField('If-None-Match', ifNoneMatch),
  }
}

/** The status for a value of this version, in the order of RFC 9110, 13.2.2. */
export function decideRead({ ifMatch, ifNoneMatch }: ReadConditions, version: Version): 200 | 304 | 412 {
  if (ifMatch !== undefined && !matchesStrongly(ifMatch, version)) return 412
  return ifNoneMatch !== undefined && matchesWeakly(ifNoneMatch, version) ? 304 : 200
}

/** What a write asks for besides its effect. */
export interface WriteDemand {
  /** Without `idempotency`, which takes the body. */
  readonly condition: WriteGuard
  readonly idempotencyKey: string | undefined
}

/** Undefined for a plain write. Throws BAD_REQUEST, and then nothing may be written. */
export function writeDemandOf(headers: IncomingHttpHeaders): WriteDemand | undefined {
  const ifMatch = headers['if-match']
  const ifNoneMatch = headers['if-none-match']
  // Repeated, the header arrives joined by a comma and a space, which no idempotency key contains.
  const idempotencyKey = headers['idempotency-key'] as string | undefined
  if (ifMatch === undefined && ifNoneMatch === undefined && idempotencyKey === undefined) return undefined
  return {
    condition: conditionOf(ifMatch, ifNoneMatch),
    idempotencyKey: idempotencyKey === undefined ? undefined : parseIdempotencyKey(idempotencyKey),
  }
}

/** The demand as it travels to where the write is applied. `key` carries its keyspace's prefix. */
export function guardOf(demand: WriteDemand, method: 'PUT' | 'DELETE', key: Key, body: Uint8Array): WriteGuard {
  const { condition, idempotencyKey } = demand
  if (idempotencyKey === undefined) return condition
  const spelled = condition.ifPresent ? '*' : `${condition.ifVersion ?? ''}`
  return { ...condition, idempotency: idempotencyOf(key, idempotencyKey, { method, condition: spelled, body }) }
}

function conditionOf(ifMatch: string | undefined, ifNoneMatch: string | undefined): WriteGuard {
  if (ifMatch !== undefined && ifNoneMatch !== undefined) {
    throw refusal('a write takes If-Match or If-None-Match, not both')
  }
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch === '*') return { ifVersion: 0 }
    throw refusal('a write takes If-None-Match with * alone: only if there is no such key')
  }
  if (ifMatch === undefined) return {}
  const field = parseTagField('If-Match', ifMatch)
  return field === '*' ? { ifPresent: true } : { ifVersion: theVersion(field) }
}

function theVersion(tags: readonly EntityTag[]): Version {
  const tag = tags[0]!
  if (tags.length > 1) throw refusal('a write takes one entity tag in If-Match, not a list')
  if (isWeak(tag)) throw refusal('a write takes a strong entity tag in If-Match, without W/')
  const version = tryVersion(tag)
  if (version === undefined) throw refusal('an entity tag of this API is a version from 1 to 2^53-1 in double quotes')
  return version
}

function refusal(detail: string): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail: `${detail}; nothing was written` })
}
