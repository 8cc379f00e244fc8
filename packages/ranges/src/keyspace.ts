import { assert, type Key, type RangeId } from '@cordillera/base'
import type { Span } from './descriptor.js'
import { KEYSPACE_NAME_BYTES_MAX } from './limits.js'

/**
 * How the one key space is shared out. System keys begin with `\x00` and live in the system range. A user's key is
 * prefixed by its keyspace's name and a separator, which no name contains: keyspaces are contiguous and disjoint. Behind
 * `\x00` keys are as they are, in their order. Behind `\x01` they are spread over buckets (see `spread.ts`): the kind of a
 * keyspace is a part of its prefix, and a spread keyspace is another one than the plain one of the same name.
 */
export const SYSTEM_RANGE_ID: RangeId = 1
export const SYSTEM_SPAN = { start: '', end: '\x01' } as const satisfies Span
export const DEFAULT_KEYSPACE = 'default'

const SEPARATOR = '\x00'
const SPREAD_SEPARATOR = '\x01'
const AFTER_SPREAD_SEPARATOR = '\x02'
const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/** A letter or digit, then up to 63 letters, digits, dots, underscores and hyphens. */
export function isKeyspaceName(name: string): boolean {
  return name.length <= KEYSPACE_NAME_BYTES_MAX && NAME_PATTERN.test(name)
}

/** What every key of the keyspace begins with. The name must be valid: check input with {@link isKeyspaceName}. */
export function keyspacePrefix(name: string, spread = false): Key {
  assert(isKeyspaceName(name), 'a keyspace has a valid name')
  return name + (spread ? SPREAD_SEPARATOR : SEPARATOR)
}

/** Every key of the keyspace, and no other. */
export function keyspaceSpan(name: string, spread = false): Span & { readonly end: Key } {
  const start = keyspacePrefix(name, spread)
  return { start, end: name + (spread ? AFTER_SPREAD_SEPARATOR : SPREAD_SEPARATOR) }
}

export interface KeyInKeyspace {
  readonly keyspace: string
  readonly spread: boolean
  /** What stands behind the keyspace's prefix: the user's key, in a spread keyspace behind its bucket. */
  readonly key: Key
}

/** The keyspace and the rest of a key; undefined for system keys and for anything that no keyspace's key looks like. */
export function splitKeyspace(key: Key): KeyInKeyspace | undefined {
  let at = 0
  while (at < key.length && key[at] !== SEPARATOR && key[at] !== SPREAD_SEPARATOR) at++
  const keyspace = key.slice(0, at)
  if (at === key.length || !isKeyspaceName(keyspace)) return undefined
  return { keyspace, spread: key[at] === SPREAD_SEPARATOR, key: key.slice(at + 1) }
}

/**
 * A key of the system range: the parts one behind the other, each begun by `\x00`. Texts hold no `\x00`; numbers
 * (non-negative safe integers) become 14 hex digits, so that they sort by value.
 */
export function systemKey(...parts: readonly (string | number)[]): Key {
  assert(parts.length > 0, 'a system key has a part')
  let key = ''
  for (const part of parts) key += SEPARATOR + (typeof part === 'number' ? numberPart(part) : textPart(part))
  return key
}

function numberPart(value: number): string {
  assert(Number.isSafeInteger(value) && value >= 0, 'a number in a system key is a safe integer')
  return value.toString(16).padStart(14, '0')
}

function textPart(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i)
    assert(char !== 0 && char <= 0xff, 'a text in a system key is made of bytes other than zero')
  }
  return text
}
