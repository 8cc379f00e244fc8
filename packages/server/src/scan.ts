import { assert, CordilleraError, type Key, prefixEnd } from '@cordillera/base'
import { BUCKET_BYTES, bucketPrefixes, DEFAULT_KEYSPACE, keyspaceSpan } from '@cordillera/ranges'
import type { ScanAnswer, ScanQuery } from './admin-schemas.js'
import { decodeCursor, encodeCursor, type ScanState } from './cursor.js'
import { decodeKey, type EncodedEntry, type Encoding, encodeEntry } from './key-codec.js'
import { chosenKeyspace } from './keyspace-parameter.js'
import type { ScannedEntry, ScannedPage, ServedRouter } from './served-node.js'

/**
 * Scans of a keyspace, a page at a time, all of them at the first one's snapshot. A page ends at its limit or when it
 * holds {@link PAGE_BYTES_MAX}; it carries a cursor exactly when there may be more, so a client follows cursors until
 * there is none. A spread keyspace is scanned in the order of users' keys as well: the router merges its buckets.
 */
const LIMIT_DEFAULT = 1_000

/** Keys and values in one page: what a node holds in memory for one scan, and a fraction of a peer frame. */
export const PAGE_BYTES_MAX = 8 << 20

/** What a checked query asks for. Throws coded errors for combinations that have no meaning. */
export function scanOf(query: ScanQuery): ScanState {
  if (query.cursor !== undefined) return continued(query, query.cursor)
  const encoding: Encoding = query.encoding ?? 'text'
  const options = {
    ...(chosenKeyspace(query.keyspace, query.spread) ?? { keyspace: DEFAULT_KEYSPACE, spread: false }),
    at: 0,
    reverse: query.reverse ?? false,
    values: query.values ?? true,
    limit: query.limit ?? LIMIT_DEFAULT,
    encoding,
  }
  if (query.prefix !== undefined) {
    if (query.start !== undefined || query.end !== undefined) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'a scan takes either prefix or start and end, not both' })
    }
    const prefix = decodeKey(query.prefix, encoding)
    return { start: prefix, end: prefixEnd(prefix) ?? null, ...options }
  }
  return {
    start: query.start === undefined ? '' : decodeKey(query.start, encoding),
    end: query.end === undefined ? null : decodeKey(query.end, encoding),
    ...options,
  }
}

/** One page. The promise rejects as the router does. */
export async function scanPage(router: ServedRouter, scan: ScanState, deadlineMs: number): Promise<ScannedPage> {
  if (scan.end !== null && scan.start >= scan.end) return { entries: [], more: false, at: scan.at }
  const { start, end, reverse, limit, values, at } = scan
  const page = { reverse, limit, values, bytesMax: PAGE_BYTES_MAX, at }
  if (scan.spread)
    return router.scanMerged({ prefixes: bucketPrefixes(scan.keyspace), start, end, ...page }, deadlineMs)
  const keyspace = keyspaceSpan(scan.keyspace)
  const wholeEnd = end === null ? keyspace.end : keyspace.start + end
  return router.scan({ start: keyspace.start + start, end: wholeEnd, ...page }, deadlineMs)
}

/** What is left of a scan after a page, at that page's snapshot; undefined after the last one. */
export function restOf(scan: ScanState, page: ScannedPage): ScanState | undefined {
  const last = page.entries.at(-1)
  if (!page.more || last === undefined) return undefined
  assert(scan.at === 0 || scan.at === page.at, 'a page is read at the snapshot that was asked for')
  const key = userKey(scan, last.key)
  return scan.reverse ? { ...scan, at: page.at, end: key } : { ...scan, at: page.at, start: `${key}\x00` }
}

export function answerOf(scan: ScanState, page: ScannedPage): ScanAnswer {
  const rest = restOf(scan, page)
  const entries = page.entries.map((entry) => answerEntry(scan, entry))
  return rest === undefined ? { entries } : { entries, cursor: encodeCursor(rest) }
}

/** Every page from this one on, a line of JSON an entry; the next page is asked for when the last one was consumed. */
export async function* linesOf(
  scan: ScanState,
  firstPage: ScannedPage,
  nextPage: (scan: ScanState) => Promise<ScannedPage>,
): AsyncGenerator<string> {
  let at = scan
  let page = firstPage
  for (;;) {
    let lines = ''
    for (const entry of page.entries) {
      lines += `${JSON.stringify(answerEntry(at, entry))}\n`
      if (lines.length >= LINES_CHARS) {
        yield lines
        lines = ''
      }
    }
    if (lines !== '') yield lines
    const rest = restOf(at, page)
    if (rest === undefined) return
    page = await nextPage(rest)
    at = rest
  }
}

/** Handed to the socket at once. */
const LINES_CHARS = 64 * 1024

const CURSOR_HOLDS = ['keyspace', 'spread', 'prefix', 'start', 'end', 'reverse', 'values', 'encoding'] as const

function continued(query: ScanQuery, cursor: string): ScanState {
  for (const name of CURSOR_HOLDS) {
    if (query[name] !== undefined) {
      throw new CordilleraError('BAD_REQUEST', { detail: `a cursor continues its own scan: leave out ${name}` })
    }
  }
  const state = decodeCursor(cursor)
  return query.limit === undefined ? state : { ...state, limit: query.limit }
}

function answerEntry(scan: ScanState, entry: ScannedEntry): EncodedEntry & { version: number } {
  const encoded = encodeEntry(userKey(scan, entry.key), scan.values ? entry.value : undefined, scan.encoding)
  const { encoding, ...content } = encoded
  return encoding === undefined
    ? { ...content, version: entry.version }
    : { ...content, version: entry.version, encoding }
}

function userKey(scan: ScanState, key: Key): Key {
  return key.slice(scan.keyspace.length + 1 + (scan.spread ? BUCKET_BYTES : 0))
}
