import { CordilleraError, type LogIndex, type RangeId } from '@cordillera/base'

/** What every replica of some ranges holds, as another node says it. Throws `BAD_REQUEST`. */
export function readReplicated(body: unknown): (readonly [RangeId, LogIndex])[] {
  const isPair = (pair: unknown): pair is [number, number] =>
    Array.isArray(pair) && pair.length === 2 && pair.every((number) => Number.isSafeInteger(number) && number >= 0)
  if (!Array.isArray(body) || !body.every(isPair)) {
    throw new CordilleraError('BAD_REQUEST', { detail: 'indexes come in pairs with their ranges' })
  }
  return body
}
