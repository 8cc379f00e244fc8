import { CordilleraError } from '@cordillera/base'

/** The number of a range, a node or an operator, from an argument or a flag. */
export function idOf(name: string, text: string | boolean | undefined): number {
  const id = typeof text === 'string' && /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(id)) return id
  throw new CordilleraError('CONFIG_INVALID', { detail: `${name} is a whole number of at least 1; it is "${text}"` })
}
