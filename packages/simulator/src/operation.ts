/**
 * What one client did to one key, as it saw it.
 *
 * An operation precedes another when it returned strictly before the other was invoked; all else is concurrent. Times
 * are of one clock, in any unit. `returnedAt` is Infinity where the outcome is unknown: such a write may take effect at
 * any time after its invocation, or never; such a read says nothing.
 */
export interface Operation {
  readonly client: number
  readonly key: string
  readonly kind: 'put' | 'delete' | 'get'
  /** What was written or read; null is "no value", for a delete always. The empty string is a value. */
  readonly value: string | null
  /** A put that took effect only because this was the value before it; null is "no value". Undefined: unconditional. */
  readonly expected?: string | null | undefined
  readonly invokedAt: number
  readonly returnedAt: number
}

export function describeOperation(operation: Operation): string {
  const { client, kind, value, expected, invokedAt, returnedAt } = operation
  const shown = value === null ? 'nothing' : JSON.stringify(value)
  const what = kind === 'get' ? `get=${shown}` : kind === 'delete' ? 'delete' : `put ${shown}`
  const condition = expected === undefined ? '' : ` if ${expected === null ? 'nothing' : JSON.stringify(expected)}`
  return `client ${client} ${what}${condition} [${invokedAt}, ${Number.isFinite(returnedAt) ? returnedAt : 'unknown'}]`
}
