import type { Operation } from './operation.js'
import { RegisterSearch } from './register-search.js'

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly key: string; readonly detail: string }

/**
 * Whether the history could have come from one copy of the data, every operation taking effect at one moment between
 * its invocation and its return. Every key is a register of its own and begins without a value.
 *
 * Exact: no history is refused that has an order, none accepted that has none. Exponential only in the concurrency of
 * writes of equal values to one key.
 */
export function checkLinearizable(history: readonly Operation[]): Verdict {
  const byKey = new Map<string, Operation[]>()
  for (const operation of history) {
    const operations = byKey.get(operation.key)
    if (operations === undefined) byKey.set(operation.key, [operation])
    else operations.push(operation)
  }
  for (const [key, operations] of byKey) {
    const detail = new RegisterSearch(operations).run()
    if (detail !== undefined) return { ok: false, key, detail }
  }
  return { ok: true }
}
