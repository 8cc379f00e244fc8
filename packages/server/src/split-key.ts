import { CordilleraError, type Key, keyFromText } from '@cordillera/base'
import {
  BUCKET_BYTES,
  DEFAULT_KEYSPACE,
  isSpreadBound,
  KEY_BYTES_MAX,
  keyspacePrefix,
  SYSTEM_RANGE_ID,
} from '@cordillera/ranges'
import type { RangeInfo } from './admin-schemas.js'
import { decodeKey, type Encoding } from './key-codec.js'
import { chosenKeyspace, type KeyspaceChoice } from './keyspace-parameter.js'
import type { SplitQuery } from './operator-schemas.js'
import { viewRange } from './range-pages.js'
import type { ServedNode } from './served-node.js'

/**
 * The whole key at which a range is to be split, from one that a person writes: relative to the range's keyspace, or to
 * another one that is named. In a spread keyspace it is a bound as the list of ranges shows them: a bucket, and the rest.
 *
 * Throws BAD_REQUEST, with the range's bounds, for a key that the range does not hold, and CONFLICT when a range begins
 * there already, as after the same command. Ranges change meanwhile, so the node checks again.
 */
export async function splitKeyOf(node: ServedNode, rangeId: number, text: string, query: SplitQuery): Promise<Key> {
  const { ranges } = await node.ranges({})
  const range = ranges.find((one) => one.rangeId === rangeId)
  if (range === undefined) throw new CordilleraError('NOT_FOUND', { detail: `there is no range ${rangeId}` })
  if (rangeId === SYSTEM_RANGE_ID) {
    throw new CordilleraError('BAD_REQUEST', { detail: `range ${rangeId} is the system range: it has no users' keys` })
  }
  const { keyspace, spread } = chosenKeyspace(query.keyspace, query.spread) ?? keyspaceOf(range)
  const bound = boundOf(text, query, spread)
  const key = keyspacePrefix(keyspace, spread) + bound
  const holder = (await node.ranges({ key })).ranges[0]
  if (holder !== undefined && bound !== '' && isBoundary(holder, { keyspace, spread }, bound)) {
    throw new CordilleraError('CONFLICT', {
      detail: `the key is a boundary already: range ${holder.rangeId} begins there`,
    })
  }
  if (holder?.rangeId === rangeId) return key
  const elsewhere = holder === undefined ? '' : `; range ${holder.rangeId} holds it`
  throw new CordilleraError('BAD_REQUEST', { detail: `the key is not in ${boundsOf(range)}${elsewhere}` })
}

function keyspaceOf({ keyspace, spread = false }: RangeInfo): KeyspaceChoice {
  return keyspace === '' ? { keyspace: DEFAULT_KEYSPACE, spread: false } : { keyspace, spread }
}

function boundOf(text: string, { encoding = 'text' }: { encoding?: Encoding }, spread: boolean): Key {
  const bytes = bytesOf(text)
  if (!spread) return decodeKey(bytes, encoding)
  const bound = decodeKey(bytes, encoding, KEY_BYTES_MAX + BUCKET_BYTES)
  if (isSpreadBound(bound)) return bound
  throw new CordilleraError('BAD_REQUEST', {
    detail:
      'a spread keyspace is split at a bucket, 0 to 9 or a to f, or at one with a key behind it, as in the list of ranges',
  })
}

function isBoundary(range: RangeInfo, { keyspace, spread }: KeyspaceChoice, bound: Key): boolean {
  return range.keyspace === keyspace && (range.spread ?? false) === spread && range.start === bound
}

function boundsOf(range: RangeInfo): string {
  const { start, end, encoding } = viewRange(range)
  const last = end === null ? (range.keyspace === '' ? 'infinity' : 'the end') : JSON.stringify(end)
  const spelled = encoding === undefined ? '' : ` in ${encoding}`
  const keyspace = range.keyspace === '' ? '' : ` of ${range.spread ? 'spread ' : ''}keyspace ${range.keyspace}`
  return `range ${range.rangeId}, which holds [${JSON.stringify(start)}, ${last})${keyspace}${spelled}`
}

/** A text of JSON may hold half a surrogate pair, which has no UTF-8. */
function bytesOf(text: string): Key {
  if (/\p{Surrogate}/u.test(text)) throw new CordilleraError('BAD_ENCODING', { detail: 'the key is not valid Unicode' })
  return keyFromText(text)
}
