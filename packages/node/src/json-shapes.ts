/** The shapes that parsed JSON of this package is made of; looked at before anything is believed. */

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** 128 bits: a cluster's id, or a token. */
export function isHex(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value)
}

export const SHORT_TEXT_CHARS_MAX = 1024

/** An address or a locality. */
export function isShortText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= SHORT_TEXT_CHARS_MAX
}

/** From 1: an id, an incarnation, a number of things. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1
}
