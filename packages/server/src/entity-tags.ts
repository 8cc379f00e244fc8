import { CordilleraError, type Version } from '@cordillera/base'

/**
 * Entity tags (RFC 9110, 8.8.3). Those of this API are strong, and are a version's digits in quotes.
 *
 * A field is read by the grammar, and what does not fit it is refused with BAD_REQUEST: a condition that was garbled on
 * its way must not be taken for one that holds, or for none.
 */

/** As sent: `"7"`, `W/"7"`. */
export type EntityTag = string

/** `*` stands for any version. A list has at least one tag. */
export type TagField = '*' | readonly EntityTag[]

export function etagOf(version: Version): EntityTag {
  return `"${version}"`
}

/** Reads the value of If-Match or If-None-Match. Empty elements of a list do not count (RFC 9110, 5.6.1.2). */
export function parseTagField(header: string, field: string): TagField {
  if (field === '*') return '*'
  const tags: EntityTag[] = []
  let expectsTag = true
  for (let at = 0; at < field.length; ) {
    const char = field[at]
    if (char === ',') expectsTag = true
    if (char === ',' || char === ' ' || char === '\t') {
      at++
      continue
    }
    const end = expectsTag ? tagEnd(field, at) : -1
    if (end < 0) throw malformed(header)
    tags.push(field.slice(at, end))
    expectsTag = false
    at = end
  }
  if (tags.length === 0) throw malformed(header)
  return tags
}

/** RFC 9110, 13.1.1: weak tags never match. */
export function matchesStrongly(field: TagField, version: Version): boolean {
  return field === '*' || field.includes(etagOf(version))
}

/** RFC 9110, 13.1.2: a weak tag matches like a strong one. */
export function matchesWeakly(field: TagField, version: Version): boolean {
  return matchesStrongly(field, version) || (field !== '*' && field.includes(WEAK + etagOf(version)))
}

/** The version that a tag names; undefined for tags that this API cannot have given out. */
export function tryVersion(tag: EntityTag): Version | undefined {
  if (!/^"[1-9]\d{0,15}"$/.test(tag)) return undefined
  const version = Number(tag.slice(1, -1))
  return Number.isSafeInteger(version) ? version : undefined
}

export function isWeak(tag: EntityTag): boolean {
  return tag.startsWith(WEAK)
}

const WEAK = 'W/'

/** Where the tag that begins at `at` ends; -1 when there is none. */
function tagEnd(field: string, at: number): number {
  const open = field.startsWith(WEAK, at) ? at + WEAK.length : at
  const close = field[open] === '"' ? field.indexOf('"', open + 1) : -1
  return close >= 0 && OPAQUE.test(field.slice(open + 1, close)) ? close + 1 : -1
}

/** `etagc`, without controls and spaces. */
const OPAQUE = /^[\x21\x23-\x7e\x80-\xff]*$/

function malformed(header: string): CordilleraError {
  return new CordilleraError('BAD_REQUEST', {
    detail: `${header} is * or entity tags: versions in double quotes, separated by commas`,
  })
}
