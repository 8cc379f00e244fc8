import { CordilleraError, type Key, type Version } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import type { ScannedEntry } from '@cordillera/wire'
import type { Done, PageResult, PageSpan } from './pending-batch.js'

/**
 * Walks a span over its ranges, in order, one page at a time, and puts the pages together, all at one timestamp.
 *
 * `limit` and `bytesMax` hold for the whole, and `more` is exact: when they end the scan at a range's border, the next ranges are asked for one key more.
 */
export interface ScanPlan {
  /** Inclusive. */
  readonly start: Key
  /** Exclusive; null is infinity. */
  readonly end: Key | null
  /** From the end to the start. */
  readonly reverse: boolean
  /** At least 1. */
  readonly limit: number
  /** Keys and values count; at least one entry is returned all the same. */
  readonly bytesMax: number
  /** False: values come back empty. */
  readonly values: boolean
  /** The snapshot to read at; 0 for a new one. */
  readonly at: Version
}

export interface ScanResult {
  /** The snapshot that was read. */
  readonly at: Version
  readonly entries: ScannedEntry[]
  /** Whether the span holds entries beyond the last one. */
  readonly more: boolean
}

/** Asks the range at the span's beginning (its end, when reversed) for the part of the span that it holds. */
export type AskPage = (span: PageSpan, deadlineMs: number, done: Done<PageResult>) => void

/** What of a plan bounds a page, and which snapshot it is of. */
export type PageLimits = Pick<ScanPlan, 'limit' | 'bytesMax' | 'at'>

/** What a scan needs besides its plan. */
export interface ScanParts {
  /** The snapshot, open. */
  readonly at: Version
  readonly deadlineMs: number
  readonly askPage: AskPage
  /** Called once. */
  readonly onEnd: (outcome: ScanResult | CordilleraError) => void
}

export interface ScanWalkOptions extends ScanParts {
  readonly plan: ScanPlan
}

export class ScanWalk {
  readonly #options: ScanWalkOptions
  readonly #entries: ScannedEntry[] = []
  #bytes = 0
  #isFull = false
  #start: Key
  #end: Key | null

  constructor(options: ScanWalkOptions) {
    this.#options = options
    this.#start = options.plan.start
    this.#end = options.plan.end
  }

  begin(): void {
    if (this.#end !== null && this.#start >= this.#end) this.#finish(false)
    else this.#ask()
  }

  #ask(): void {
    const { plan, at, deadlineMs, askPage } = this.#options
    const span: PageSpan = {
      start: this.#start,
      end: this.#end,
      reverse: plan.reverse,
      limit: this.#isFull ? 1 : plan.limit - this.#entries.length,
      bytesMax: this.#isFull ? 1 : plan.bytesMax - this.#bytes,
      values: plan.values && !this.#isFull,
      at,
    }
    askPage(span, deadlineMs, (error, result) => {
      if (error !== undefined) this.#options.onEnd(error)
      else if (result === 'moved') this.#ask()
      else this.#onPage(result.span, result.page.entries, result.page.more)
    })
  }

  #onPage(covered: PageSpan, entries: readonly ScannedEntry[], more: boolean): void {
    const isRefused = entries.some((entry) => !this.#tryAdd(entry))
    const { limit, bytesMax } = this.#options.plan
    this.#isFull = this.#entries.length >= limit || this.#bytes >= bytesMax
    if (isRefused || (this.#isFull && more)) {
      this.#finish(true)
      return
    }
    const hasNext = more ? this.#goBehind(entries[entries.length - 1]!.key) : this.#goBeyond(covered)
    if (hasNext) this.#ask()
    else this.#finish(false)
  }

  /** False when the entry is one too many. */
  #tryAdd(entry: ScannedEntry): boolean {
    const bytes = entry.key.length + entry.value.length
    const { limit, bytesMax } = this.#options.plan
    const isFirst = this.#entries.length === 0
    if (this.#isFull || this.#entries.length >= limit || (!isFirst && this.#bytes + bytes > bytesMax)) return false
    this.#entries.push(entry)
    this.#bytes += bytes
    return true
  }

  /** What is left behind the last entry of a page. */
  #goBehind(key: Key): boolean {
    if (this.#options.plan.reverse) this.#end = key
    else this.#start = `${key}\x00`
    return this.#end === null || this.#start < this.#end
  }

  /** What is left beyond a range's part that was read to its end. */
  #goBeyond(covered: PageSpan): boolean {
    if (this.#options.plan.reverse) {
      this.#end = covered.start
      return this.#start < covered.start
    }
    if (covered.end === null || (this.#end !== null && covered.end >= this.#end)) return false
    this.#start = covered.end
    return true
  }

  #finish(more: boolean): void {
    this.#options.onEnd({ at: this.#options.at, entries: this.#entries, more })
  }
}

/** The part of the span that lies in the range. */
export function clip(span: PageSpan, within: Descriptor): PageSpan {
  const start = span.start > within.start ? span.start : within.start
  const end = within.end === null || (span.end !== null && span.end < within.end) ? span.end : within.end
  return { ...span, start, end }
}

/** Throws `BAD_REQUEST` for a plan that means nothing. */
export function refusePage(plan: PageLimits): CordilleraError | undefined {
  if (!Number.isSafeInteger(plan.limit) || plan.limit < 1) return badRequest('limit must be a whole number from 1')
  if (!Number.isSafeInteger(plan.at) || plan.at < 0) return badRequest('a snapshot is named by its timestamp')
  return plan.bytesMax >= 1 ? undefined : badRequest('bytesMax must be at least 1')
}

function badRequest(detail: string): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail })
}
