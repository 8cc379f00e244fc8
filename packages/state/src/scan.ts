import type { OverlaidEntry } from './overlay.js'
import type { Page } from './page.js'
import type { RowSource } from './rows.js'

/** So many rows are asked of the engine at once, at most. */
const CHUNK_ROWS_MAX = 1000

/**
 * Fills a page from unflushed entries laid over the engine's rows, both in the scan's order and of the same moment. An
 * unflushed entry hides the engine's of the same key; a deletion hides it and adds nothing. Ends when the page is full
 * or both are exhausted. Does not close the source.
 */
export async function fillPage(
  page: Page,
  overlaid: readonly OverlaidEntry[],
  rows: RowSource,
  { reverse, limit }: { readonly reverse: boolean; readonly limit: number },
): Promise<void> {
  let at = 0
  for (;;) {
    // One more than fits tells whether there is more.
    const wanted = Math.max(1, limit - page.entries.length + 1)
    const chunk = await rows.next(Math.min(wanted, CHUNK_ROWS_MAX))
    if (chunk.length === 0) break
    for (const { key, version, value } of chunk) {
      while (at < overlaid.length && precedes(overlaid[at]!, key, reverse)) {
        if (!tryAdd(page, overlaid[at++]!)) return
      }
      if (at < overlaid.length && overlaid[at]!.key === key) {
        if (!tryAdd(page, overlaid[at++]!)) return
        continue
      }
      if (!page.tryAdd(key, version, value)) return
    }
  }
  while (at < overlaid.length) if (!tryAdd(page, overlaid[at++]!)) return
}

function precedes(entry: OverlaidEntry, key: string, reverse: boolean): boolean {
  return reverse ? entry.key > key : entry.key < key
}

function tryAdd(page: Page, { key, version, value }: OverlaidEntry): boolean {
  return value === undefined || page.tryAdd(key, version, value)
}
