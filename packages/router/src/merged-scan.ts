import { type CordilleraError, type Key, prefixEnd } from '@cordillera/base'
import type { ScannedEntry } from '@cordillera/wire'
import { type ScanParts, type ScanPlan, type ScanResult, ScanWalk } from './scan-walk.js'

/**
 * Reads the same span behind each of several prefixes, all at one timestamp, and merges the entries by what stands behind
 * the prefix: the scan of a keyspace that is spread over buckets.
 *
 * `limit`, `bytesMax` and `more` hold for the whole and are exact. The spans are read in parallel, a chunk at a time: about
 * as many entries of each as an even spread needs, and twice as many whenever that was not enough, so that the number of
 * rounds grows with the logarithm of the skew. Beyond the result at most 1.5 times `bytesMax` is held, and an entry of each
 * span. Ends only when nothing of it is under way any more, also when it fails.
 */
export interface MergedScanPlan extends Omit<ScanPlan, 'start' | 'end'> {
  /** At least one; of one length, different, and none of them all `0xff`. */
  readonly prefixes: readonly Key[]
  /** Behind every prefix; inclusive. */
  readonly start: Key
  /** Behind every prefix; exclusive. Null is the end of what begins with it. */
  readonly end: Key | null
}

export interface MergedScanOptions extends ScanParts {
  readonly plan: MergedScanPlan
}

export class MergedScan {
  readonly #options: MergedScanOptions
  readonly #parts: Part[]
  readonly #prefixBytes: number
  readonly #chunkBytesMax: number
  readonly #entries: ScannedEntry[] = []
  #bytes = 0
  #underWay = 0
  #error: CordilleraError | undefined

  constructor(options: MergedScanOptions) {
    const { prefixes, start, end, limit, bytesMax } = options.plan
    const asked = firstChunk(limit, prefixes.length)
    this.#options = options
    this.#prefixBytes = prefixes[0]!.length
    this.#chunkBytesMax = Math.ceil(bytesMax / prefixes.length)
    this.#parts = prefixes.map((prefix) => new Part(prefix + start, spanEnd(prefix, end), asked))
  }

  begin(): void {
    this.#read(this.#parts)
  }

  #read(parts: readonly Part[]): void {
    const { plan, at, deadlineMs, askPage } = this.#options
    const { reverse, values } = plan
    const left = plan.limit - this.#entries.length
    this.#underWay = parts.length
    for (const part of parts) {
      const limit = Math.min(part.asked, left)
      const onEnd = (outcome: ScanResult | CordilleraError): void => this.#onChunk(part, outcome)
      const chunk = { start: part.start, end: part.end, reverse, limit, bytesMax: this.#chunkBytesMax, values, at }
      new ScanWalk({ plan: chunk, at, deadlineMs, askPage, onEnd }).begin()
    }
  }

  #onChunk(part: Part, outcome: ScanResult | CordilleraError): void {
    if (outcome instanceof Error) this.#error ??= outcome
    else part.take(outcome, this.#prefixBytes, this.#options.plan.reverse)
    if (--this.#underWay > 0) return
    if (this.#error === undefined) this.#merge()
    else this.#options.onEnd(this.#error)
  }

  /** Takes entries in order until the result is full, nothing is left, or a span must be read further to know the next. */
  #merge(): void {
    const { limit, bytesMax, reverse } = this.#options.plan
    for (;;) {
      if (this.#parts.some((part) => part.isDry)) {
        this.#read(this.#parts.filter((part) => part.isLow))
        return
      }
      const next = firstOf(this.#parts, reverse)
      if (next === undefined) break
      const entry = next.entry!
      const bytes = bytesOf(entry)
      const isFirst = this.#entries.length === 0
      if (this.#entries.length >= limit || (!isFirst && this.#bytes + bytes > bytesMax)) break
      this.#entries.push(entry)
      this.#bytes += bytes
      next.drop(bytes)
      if (this.#entries.length >= limit) break
    }
    const more = this.#parts.some((part) => part.entry !== undefined || part.more)
    this.#options.onEnd({ at: this.#options.at, entries: this.#entries, more })
  }
}

/** One of the spans: what was read of it and not yet merged, and what is left to be read. */
class Part {
  start: Key
  end: Key
  /** Entries of the next chunk. */
  asked: number
  /** Whether there is something behind what was read. */
  more = true
  entry: ScannedEntry | undefined
  /** Of `entry`, behind the prefix. */
  key: Key = ''
  #entries: ScannedEntry[] = []
  #keys: Key[] = []
  #at = 0
  #bytes = 0
  #chunkBytes = 0

  constructor(start: Key, end: Key, asked: number) {
    this.start = start
    this.end = end
    this.asked = asked
  }

  /** What comes next is not known before it is read further. */
  get isDry(): boolean {
    return this.entry === undefined && this.more
  }

  /** Less than half of a chunk is left of it, and there is more. */
  get isLow(): boolean {
    return this.more && (this.entry === undefined || this.#bytes * 2 < this.#chunkBytes)
  }

  take({ entries, more }: ScanResult, prefixBytes: number, reverse: boolean): void {
    const rest = this.#entries.slice(this.#at)
    this.#entries = rest.length === 0 ? entries : rest.concat(entries)
    this.#keys = this.#entries.map((entry) => entry.key.slice(prefixBytes))
    this.#goTo(0)
    this.#chunkBytes = entries.reduce((sum, entry) => sum + bytesOf(entry), 0)
    this.#bytes += this.#chunkBytes
    this.more = more
    this.asked *= 2
    const last = entries.at(-1)
    if (last === undefined) return
    if (reverse) this.end = last.key
    else this.start = `${last.key}\x00`
  }

  /** The first entry, of so many bytes, has been merged. */
  drop(bytes: number): void {
    this.#bytes -= bytes
    this.#goTo(this.#at + 1)
  }

  #goTo(at: number): void {
    this.#at = at
    this.entry = this.#entries[at]
    if (this.entry !== undefined) this.key = this.#keys[this.#at]!
  }
}

/** The one whose entry comes first; undefined when none has any. */
function firstOf(parts: readonly Part[], reverse: boolean): Part | undefined {
  let first: Part | undefined
  for (const part of parts) {
    if (part.entry === undefined) continue
    if (first === undefined || (reverse ? part.key > first.key : part.key < first.key)) first = part
  }
  return first
}

/** Of `limit` entries spread at random, hardly ever more fall to one of the spans: the mean and three deviations. */
function firstChunk(limit: number, spans: number): number {
  const mean = limit / spans
  return Math.ceil(mean + 3 * Math.sqrt(mean)) + 1
}

function bytesOf({ key, value }: ScannedEntry): number {
  return key.length + value.length
}

function spanEnd(prefix: Key, end: Key | null): Key {
  return end === null ? prefixEnd(prefix)! : prefix + end
}
