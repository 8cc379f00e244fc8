import { CordilleraError, type Key, keyFromBytes, prefixEnd } from '@cordillera/base'
import type { ScannedEntry } from '@cordillera/wire'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MergedScan, type MergedScanPlan } from './merged-scan.js'
import type { AskPage, ScanResult } from './scan-walk.js'

/**
 * Against a plain sorted list: the entries of many prefixes, merged, are the entries of one, whatever the pages they are
 * read in, the order in which these arrive, and where one range ends and another begins.
 */
type Outcome = ScanResult | CordilleraError

const PREFIXES = ['k\x010', 'k\x011', 'k\x012', 'k\x01f']

interface Store {
  readonly entries: readonly ScannedEntry[]
  /** Where ranges begin; a page does not go beyond one. */
  readonly borders: readonly Key[]
}

/** Answers when it is told to, in any order. Counts what it was asked for. */
class Pages {
  readonly held: (() => void)[] = []
  asked = 0
  entriesRead = 0
  heldMax = 0
  fails = false
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  readonly ask: AskPage = (span, _deadlineMs, done) => {
    this.asked++
    this.held.push(() => {
      if (this.fails) {
        done(new CordilleraError('SNAPSHOT_EXPIRED'), undefined as never)
        return
      }
      const { borders } = this.#store
      const start = span.reverse ? (borders.findLast((b) => span.end === null || b < span.end) ?? '') : span.start
      const end = span.reverse ? span.end : (borders.find((b) => b > span.start) ?? null)
      const clipped = {
        ...span,
        start: start > span.start ? start : span.start,
        end: end !== null && (span.end === null || end < span.end) ? end : span.end,
      }
      const inside = this.#store.entries.filter(
        ({ key }) => key >= clipped.start && (clipped.end === null || key < clipped.end),
      )
      if (span.reverse) inside.reverse()
      const entries: ScannedEntry[] = []
      let bytes = 0
      for (const entry of inside) {
        bytes += entry.key.length + entry.value.length
        if (entries.length >= span.limit || (entries.length > 0 && bytes > span.bytesMax)) break
        entries.push(entry)
      }
      this.entriesRead += entries.length
      done(undefined, {
        span: clipped,
        page: { kind: 'scanned', entries, more: entries.length < inside.length },
      } as never)
    })
    this.heldMax = Math.max(this.heldMax, this.held.length)
  }
}

function run(plan: MergedScanPlan, pages: Pages, pick: (n: number) => number = () => 0): Outcome {
  const outcomes: Outcome[] = []
  new MergedScan({
    plan,
    at: 77,
    deadlineMs: 5,
    askPage: pages.ask,
    onEnd: (outcome) => {
      expect(pages.held).toEqual([])
      outcomes.push(outcome)
    },
  }).begin()
  while (pages.held.length > 0) pages.held.splice(pick(pages.held.length), 1)[0]!()
  expect(outcomes).toHaveLength(1)
  return outcomes[0]!
}

const suffix = fc.uint8Array({ maxLength: 4, max: 255 }).map(keyFromBytes)
const entry = fc.tuple(fc.constantFrom(...PREFIXES), suffix, fc.integer({ min: 0, max: 30 }))
const plan = fc.record({
  start: fc.oneof(fc.constant(''), suffix),
  end: fc.option(suffix),
  reverse: fc.boolean(),
  values: fc.constant(true),
  limit: fc.integer({ min: 1, max: 20 }),
  bytesMax: fc.integer({ min: 1, max: 200 }),
})

function storeOf(rows: readonly [Key, Key, number][], borders: readonly Key[]): Store {
  // As in a keyspace: one suffix is under one prefix.
  const bySuffix = new Map(rows.map(([prefix, key, size]) => [key, { prefix, size }]))
  const entries = Array.from(bySuffix, ([key, { prefix, size }]) => {
    return { key: prefix + key, version: 1, value: Buffer.alloc(size) }
  })
  // Beside the prefixes there are other keys, which nobody asked for.
  for (const key of ['k\x01', 'k\x013', 'k\x01g', 'k\x02']) entries.push({ key, version: 1, value: Buffer.alloc(1) })
  return { entries: entries.sort((a, b) => (a.key < b.key ? -1 : 1)), borders: [...borders].sort() }
}

/** What a merged scan is to answer, from a list. */
function expected({ entries }: Store, { start, end, reverse, limit, bytesMax }: MergedScanPlan): ScanResult {
  const inside = entries
    .filter(({ key }) => PREFIXES.includes(key.slice(0, 3)))
    .map((one) => ({ one, key: one.key.slice(3) }))
    .filter(({ key }) => key >= start && (end === null || key < end))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
  if (reverse) inside.reverse()
  const page: ScannedEntry[] = []
  let bytes = 0
  for (const { one } of inside) {
    bytes += one.key.length + one.value.length
    if (page.length >= limit || (page.length > 0 && bytes > bytesMax)) break
    page.push(one)
  }
  return { at: 77, entries: page, more: page.length < inside.length }
}

describe('a merged scan', () => {
  it('is the scan of one sorted list', () => {
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 60 }),
        fc.array(
          fc.tuple(fc.constantFrom(...PREFIXES), suffix).map(([p, s]) => p + s),
          { maxLength: 5 },
        ),
        plan,
        fc.infiniteStream(fc.nat()),
        (rows, borders, parts, picks) => {
          const store = storeOf(rows, borders)
          const chosen = { ...parts, prefixes: PREFIXES, at: 0 }
          const outcome = run(chosen, new Pages(store), (n) => picks.next().value! % n)
          expect(outcome).toEqual(expected(store, chosen))
        },
      ),
    )
  })

  const numbered = (count: number, prefixOf: (i: number) => Key, size = 0): Store =>
    storeOf(
      Array.from({ length: count }, (_, i) => [prefixOf(i), String(i).padStart(6, '0'), size] as [Key, Key, number]),
      [],
    )
  const whole = { prefixes: PREFIXES, start: '', end: null, reverse: false, values: true, bytesMax: 8 << 20, at: 0 }

  it('reads an even spread in one round, little more than it gives', () => {
    const pages = new Pages(numbered(3000, (i) => PREFIXES[i % 4]!))
    const outcome = run({ ...whole, limit: 1000 }, pages) as ScanResult
    expect(outcome.entries).toHaveLength(1000)
    expect([pages.asked, pages.heldMax]).toEqual([4, 4])
    expect(pages.entriesRead).toBeLessThan(1_210)
  })

  it('reads in few rounds what lies under one prefix alone', () => {
    const pages = new Pages(numbered(10_000, () => PREFIXES[2]!))
    const outcome = run({ ...whole, limit: 10_000 }, pages) as ScanResult
    expect([outcome.entries.length, outcome.more]).toEqual([10_000, false])
    expect(pages.asked).toBeLessThan(4 + 3)
    const limited = new Pages(numbered(10_000, () => PREFIXES[2]!))
    expect(run({ ...whole, limit: 16 }, limited)).toMatchObject({ more: true })
    expect(limited.entriesRead).toBeLessThan(16 * 2)
  })

  it('reads large values in parts of the page', () => {
    const pages = new Pages(numbered(400, (i) => PREFIXES[i % 4]!, 1_000))
    const outcome = run({ ...whole, limit: 1_000, bytesMax: 100_000 }, pages) as ScanResult
    expect([outcome.entries.length, outcome.more]).toEqual([99, true])
    expect(pages.entriesRead).toBeLessThan(99 * 2.5)
  })

  it('fails with the first failure, once nothing is under way any more', () => {
    const pages = new Pages(numbered(10, (i) => PREFIXES[i % 4]!))
    pages.fails = true
    expect(run({ ...whole, limit: 10 }, pages)).toMatchObject({ code: 'SNAPSHOT_EXPIRED' })
  })

  it('asks for nothing that cannot be', () => {
    const pages = new Pages(numbered(10, (i) => PREFIXES[i % 4]!))
    expect(run({ ...whole, start: 'b', end: 'a', limit: 10 }, pages)).toEqual({ at: 77, entries: [], more: false })
    expect(pages.asked).toBe(0)
  })

  it('goes to the end of each prefix, and no further', () => {
    for (const prefix of PREFIXES) expect(prefixEnd(prefix)! > `${prefix}\xff\xff`).toBe(true)
    const pages = new Pages(storeOf([[PREFIXES[0]!, '\xff\xff', 1]], []))
    expect(run({ ...whole, limit: 10 }, pages)).toMatchObject({ entries: [{ key: 'k\x010\xff\xff' }], more: false })
  })
})
