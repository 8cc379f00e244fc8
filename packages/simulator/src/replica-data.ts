import { Buffer } from 'node:buffer'
import type { StateEngine } from '@cordillera/state'

/** Of `state`'s engine keys those of data, whichever replica they belong to. */
const DATA_SPAN = { start: 'd', end: 'e', reverse: false } as const
const PAGE = 1_000

/** Every key of the store with its stored value as text (version included), system keys too. */
export async function readData(engine: StateEngine): Promise<Map<string, string>> {
  const data = new Map<string, string>()
  const snapshot = engine.snapshot()
  const iterator = snapshot.iterate(DATA_SPAN)
  for (let page = await iterator.next(PAGE); page.length > 0; page = await iterator.next(PAGE)) {
    for (const [key, value] of page) data.set(key.slice(1), Buffer.from(value).toString('latin1'))
  }
  await iterator.close()
  await snapshot.close()
  return data
}
