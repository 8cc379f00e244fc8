import { Buffer } from 'node:buffer'
import { CordilleraError, type Key } from '@cordillera/base'
import { DEFAULT_KEYSPACE, keyspacePrefix, keyspaceSpan, spreadKey } from '@cordillera/ranges'
import type { RangeInfo, RangesQuery } from './admin-schemas.js'
import { decodeKey, encodeEntry } from './key-codec.js'
import { chosenKeyspace, type KeyspaceChoice } from './keyspace-parameter.js'
import type { ServedRangeFilter } from './served-node.js'

/**
 * The list of ranges for people: filters from the query, pages in key order, bounds as text. A bound of
 * a spread keyspace begins with its bucket; a key to look for does not.
 *
 * A cursor names the last range of its page and where that began, so that paging goes on at the right place even when
 * the range was merged away in the meantime.
 */
const LIMIT_DEFAULT = 1_000

/** A range with its bounds as JSON spells them. */
export type RangeView = RangeInfo & { readonly encoding?: string }

export interface RangesPage {
  readonly ranges: RangeView[]
  readonly cursor?: string
}

export function rangeFilterOf(query: RangesQuery): ServedRangeFilter {
  const { key, node, encoding } = query
  const chosen = chosenKeyspace(query.keyspace, query.spread)
  if (key === undefined && encoding !== undefined) {
    throw new CordilleraError('BAD_REQUEST', { detail: 'encoding says how key is spelled, and there is no key' })
  }
  return {
    ...(key === undefined ? {} : { key: storedKey(decodeKey(key, encoding ?? 'text'), chosen) }),
    ...(node === undefined ? {} : { node }),
    ...(chosen === undefined ? {} : { span: keyspaceSpan(chosen.keyspace, chosen.spread) }),
  }
}

function storedKey(key: Key, chosen: KeyspaceChoice | undefined): Key {
  const prefix = keyspacePrefix(chosen?.keyspace ?? DEFAULT_KEYSPACE, chosen?.spread)
  return chosen?.spread ? spreadKey(prefix, key) : prefix + key
}

export function rangesPage(all: readonly RangeInfo[], query: RangesQuery): RangesPage {
  const limit = query.limit ?? LIMIT_DEFAULT
  const from = query.cursor === undefined ? 0 : resumeAt(all, query.cursor)
  const page = all.slice(from, from + limit)
  const last = page.at(-1)
  const ranges = page.map(viewRange)
  return last === undefined || from + limit >= all.length ? { ranges } : { ranges, cursor: cursorAt(last) }
}

export function viewRange(range: RangeInfo): RangeView {
  const start = encodeEntry(range.start, undefined, 'text')
  const end = range.end === null ? undefined : encodeEntry(range.end, undefined, 'text')
  if (start.encoding === undefined && end?.encoding === undefined) {
    return { ...range, start: start.key, end: end?.key ?? null }
  }
  return {
    ...range,
    start: encodeEntry(range.start, undefined, 'base64url').key,
    end: range.end === null ? null : encodeEntry(range.end, undefined, 'base64url').key,
    encoding: 'base64url',
  }
}

function cursorAt(range: RangeInfo): string {
  return Buffer.from(`${range.rangeId}\n${position(range)}`, 'latin1').toString('base64url')
}

function resumeAt(all: readonly RangeInfo[], cursor: string): number {
  const match = /^(\d{1,16})\n(.*)$/s.exec(Buffer.from(cursor, 'base64url').toString('latin1'))
  if (match === null)
    throw new CordilleraError('BAD_REQUEST', { detail: 'the cursor is not one that this API gave out' })
  const same = all.findIndex((range) => range.rangeId === Number(match[1]))
  if (same >= 0) return same + 1
  const behind = all.findIndex((range) => position(range) > match[2]!)
  return behind < 0 ? all.length : behind
}

function position(range: RangeInfo): string {
  return range.keyspace === '' ? '' : keyspacePrefix(range.keyspace, range.spread) + range.start
}
