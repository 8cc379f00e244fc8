import { decodeStoredValue } from '@cordillera/ranges'
import { keyOfData } from './engine-keys.js'
import type { OverlaidEntry } from './overlay.js'
import type { Page } from './page.js'
import type { EngineIterator } from './state-engine.js'

/** So many entries are asked of the engine at once, at most. */
const CHUNK_ENTRIES_MAX = 1000

/**
 * Fills a page from unflushed entries laid over the engine's, both in the scan's order and of the same moment. An
 * unflushed entry hides the engine's of the same key; a deletion hides it and adds nothing. Ends when the page is full
 * or both are exhausted. Does not close the iterator.
 */
export async function fillPage(
  page: Page,
  overlaid: readonly OverlaidEntry[],
  iterator: EngineIterator,
  { reverse, limit }: { readonly reverse: boolean; readonly limit: number },
): Promise<void> {
  let at = 0
  for (;;) {
    // One more than fits tells whether there is more.
    const wanted = Math.max(1, limit - page.entries.length + 1)
    const chunk = await iterator.next(Math.min(wanted, CHUNK_ENTRIES_MAX))
    if (chunk.length === 0) break
    for (const [engineKey, stored] of chunk) {
      const key = keyOfData(engineKey)
      while (at < overlaid.length && precedes(overlaid[at]!, key, reverse)) {
        if (!tryAdd(page, overlaid[at++]!)) return
      }
      if (at < overlaid.length && overlaid[at]!.key === key) {
        if (!tryAdd(page, overlaid[at++]!)) return
        continue
      }
      const { version, value } = decodeStoredValue(stored)
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
