import { CordilleraError, type Key, keyFromText } from '@cordillera/base'
import { DEFAULT_KEYSPACE, keyspacePrefix, SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { RangeInfo } from './admin-schemas.js'
import { decodeKey } from './key-codec.js'
import { keyspaceOf } from './keyspace-parameter.js'
import type { SplitQuery } from './operator-schemas.js'
import { viewRange } from './range-pages.js'
import type { ServedNode } from './served-node.js'

/**
 * The whole key at which a range is to be split, from one that a person writes: relative to the range's keyspace, or to
 * another one that is named.
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
  const keyspace = query.keyspace === undefined ? range.keyspace || DEFAULT_KEYSPACE : keyspaceOf(query.keyspace)
  const userKey = decodeKey(bytesOf(text), query.encoding ?? 'text')
  const key = keyspacePrefix(keyspace) + userKey
  const holder = (await node.ranges({ key })).ranges[0]
  if (holder !== undefined && userKey !== '' && holder.keyspace === keyspace && holder.start === userKey) {
    throw new CordilleraError('CONFLICT', {
      detail: `the key is a boundary already: range ${holder.rangeId} begins there`,
    })
  }
  if (holder?.rangeId === rangeId) return key
  const elsewhere = holder === undefined ? '' : `; range ${holder.rangeId} holds it`
  throw new CordilleraError('BAD_REQUEST', { detail: `the key is not in ${boundsOf(range)}${elsewhere}` })
}

function boundsOf(range: RangeInfo): string {
  const { start, end, encoding } = viewRange(range)
  const last = end === null ? (range.keyspace === '' ? 'infinity' : 'the end') : JSON.stringify(end)
  const spelled = encoding === undefined ? '' : ` in ${encoding}`
  const keyspace = range.keyspace === '' ? '' : ` of keyspace ${range.keyspace}`
  return `range ${range.rangeId}, which holds [${JSON.stringify(start)}, ${last})${keyspace}${spelled}`
}

/** A text of JSON may hold half a surrogate pair, which has no UTF-8. */
function bytesOf(text: string): Key {
  if (/\p{Surrogate}/u.test(text)) throw new CordilleraError('BAD_ENCODING', { detail: 'the key is not valid Unicode' })
  return keyFromText(text)
}
