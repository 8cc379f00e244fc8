import { CordilleraError, type Key } from '@cordillera/base'
import { decodePercent } from './key-codec.js'

/**
 * The query of a request target, read strictly: a name at most once, valid percent-encoding, nothing guessed.
 *
 * Values are byte strings, since keys arrive in them. A `+` is a space, as in every form and `URLSearchParams`; a plus
 * sign is `%2B`. (In a path a `+` is a plus sign.)
 */
export function parseQuery(query: string): Record<string, Key> {
  const values: Record<string, Key> = Object.create(null)
  if (query === '') return values
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const name = decodeForm(equals < 0 ? pair : pair.slice(0, equals))
    if (name in values) throw new CordilleraError('BAD_REQUEST', { detail: `the parameter ${name} is given twice` })
    values[name] = equals < 0 ? '' : decodeForm(pair.slice(equals + 1))
  }
  return values
}

/** The path and the query of a request target. An absolute target (RFC 9112, 3.2.2) loses its scheme and authority. */
export function splitTarget(target: string): { path: string; query: string } {
  let from = 0
  if (target.charCodeAt(0) !== SLASH) {
    const authority = target.indexOf('://')
    const slash = authority < 0 ? -1 : target.indexOf('/', authority + 3)
    if (slash > 0) from = slash
  }
  const mark = target.indexOf('?', from)
  return mark < 0
    ? { path: from === 0 ? target : target.slice(from), query: '' }
    : { path: target.slice(from, mark), query: target.slice(mark + 1) }
}

function decodeForm(text: string): Key {
  return decodePercent(text.includes('+') ? text.replaceAll('+', ' ') : text)
}

const SLASH = 0x2f
