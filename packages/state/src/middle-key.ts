import { type Clock, type Key, paced } from '@cordillera/base'
import type { Span } from '@cordillera/ranges'
import { dataSpan, keyOfData } from './engine-keys.js'
import type { StateEngine } from './state-engine.js'

/** Rows that are read at once. */
const ROWS_MAX = 512
/** Keys that are remembered on the way: the middle is missed by one part in half as many at most. */
const MARKS_MAX = 512

interface Mark {
  readonly key: Key
  /** Of everything before it. */
  readonly bytes: number
}

/**
 * The key of the span that comes nearest to having half of its bytes before it; never the first one. Reads everything once, at
 * its leisure, and remembers a bounded number of keys.
 */
export async function findMiddleKey(engine: StateEngine, clock: Clock, span: Span): Promise<Key | undefined> {
  const snapshot = engine.snapshot()
  const iterator = snapshot.iterate({ ...dataSpan(span), reverse: false })
  let marks: Mark[] = []
  let step = 1
  let bytes = 0
  try {
    for (;;) {
      const rows = await paced(clock, () => iterator.next(ROWS_MAX))
      if (rows.length === 0) break
      for (const [key, value] of rows) {
        const last = marks[marks.length - 1]
        if (bytes > 0 && (last === undefined || bytes - last.bytes >= step)) {
          marks.push({ key: keyOfData(key), bytes })
          if (marks.length >= MARKS_MAX) {
            step = (2 * bytes) / MARKS_MAX
            marks = marks.filter((_, i) => i % 2 === 0)
          }
        }
        bytes += key.length + value.length
      }
    }
  } finally {
    await iterator.close()
    await snapshot.close()
  }
  return nearest(marks, bytes / 2)?.key
}

function nearest(marks: readonly Mark[], bytes: number): Mark | undefined {
  let best: Mark | undefined
  for (const mark of marks) {
    if (best === undefined || Math.abs(mark.bytes - bytes) < Math.abs(best.bytes - bytes)) best = mark
  }
  return best
}
