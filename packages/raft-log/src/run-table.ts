import { assert, type LogIndex, type Term } from '@cordillera/base'
import type { SegmentTable } from './segment-table.js'

/** Contiguous entries of one term, in one record of the log. */
export interface Run {
  readonly from: LogIndex
  readonly count: number
  readonly term: Term
  readonly sequence: number
  /** Where the record begins in the segment, and its length. It may hold further entries, before and behind. */
  readonly offset: number
  readonly byteLength: number
  /** The batch's running checksum before the record and behind it, by which the record is verified on its own. */
  readonly crcBefore: number
  readonly crcAfter: number
}

const CELLS = 8

/**
 * Where a group's entries lie, and their terms: a flat array of eight numbers per run, in the order of the indexes,
 * never overlapping. Every change keeps the segments' counts of what they are needed for.
 *
 * During recovery there may be gaps, which carried entries fill; afterwards there are none.
 */
export class RunTable {
  readonly #cells: number[] = []

  get count(): number {
    return this.#cells.length / CELLS
  }

  /** 0 when there is no run. */
  get firstIndex(): LogIndex {
    return this.#cells[0] ?? 0
  }

  /** 0 when there is no run. */
  get lastIndex(): LogIndex {
    const at = this.#cells.length - CELLS
    return at < 0 ? 0 : this.#cells[at]! + this.#cells[at + 1]! - 1
  }

  at(position: number): Run {
    const cells = this.#cells
    const c = position * CELLS
    return {
      from: cells[c]!,
      count: cells[c + 1]!,
      term: cells[c + 2]!,
      sequence: cells[c + 3]!,
      offset: cells[c + 4]!,
      byteLength: cells[c + 5]!,
      crcBefore: cells[c + 6]!,
      crcAfter: cells[c + 7]!,
    }
  }

  /** The position of the run that holds `index`, or -1. */
  find(index: LogIndex): number {
    const position = this.#lowerBound(index)
    return position < this.count && this.#cells[position * CELLS]! <= index ? position : -1
  }

  termAt(index: LogIndex): Term | undefined {
    const position = this.find(index)
    return position < 0 ? undefined : this.#cells[position * CELLS + 2]
  }

  /** The run whose record begins there, or -1: whether what was read is still what counts. */
  findRecord(index: LogIndex, sequence: number, offset: number): number {
    const position = this.find(index)
    if (position < 0) return -1
    const c = position * CELLS
    return this.#cells[c + 3] === sequence && this.#cells[c + 4] === offset ? position : -1
  }

  /** Of the runs that do not fit in so many bytes, counted from the last one, the last index; 0 when all fit. */
  lastBefore(bytesMax: number): LogIndex {
    let position = this.count - 1
    for (let bytes = 0; position >= 0; position--) {
      bytes += this.#cells[position * CELLS + 5]!
      if (bytes > bytesMax) return this.#endOf(position)
    }
    return 0
  }

  /** Adds a run behind all others. */
  push(run: Run, segments: SegmentTable): void {
    assert(run.from > this.lastIndex && run.count > 0, 'runs are added in order')
    this.#cells.push(
      run.from,
      run.count,
      run.term,
      run.sequence,
      run.offset,
      run.byteLength,
      run.crcBefore,
      run.crcAfter,
    )
    segments.retain(run.sequence, run.byteLength)
  }

  /** Forgets `index` and everything behind it. */
  truncateFrom(index: LogIndex, segments: SegmentTable): void {
    let count = this.count
    while (count > 0 && this.#cells[(count - 1) * CELLS]! >= index) {
      this.#release(count - 1, segments)
      count--
    }
    this.#cells.length = count * CELLS
    if (count > 0 && this.lastIndex >= index) {
      const c = (count - 1) * CELLS
      this.#cells[c + 1] = index - this.#cells[c]!
    }
  }

  /** Forgets the runs that end at or before `index`; one that reaches beyond stays as it is. */
  dropThrough(index: LogIndex, segments: SegmentTable): void {
    let gone = 0
    while (gone < this.count && this.#endOf(gone) <= index) this.#release(gone++, segments)
    if (gone > 0) this.#cells.splice(0, gone * CELLS)
  }

  /**
   * Puts a run in the place of what is there for its indexes, and cuts nothing else: what lies behind it stays. What is
   * left in front is forgotten when it ends at or before `compactedIndex`.
   */
  overlay(run: Run, compactedIndex: LogIndex, segments: SegmentTable): void {
    const end = run.from + run.count - 1
    let position = this.#lowerBound(run.from)
    if (position < this.count && this.#cells[position * CELLS]! < run.from) {
      const c = position * CELLS
      const behind = this.#endOf(position) > end ? this.at(position) : undefined
      this.#cells[c + 1] = run.from - this.#cells[c]!
      position++
      if (behind) this.#insertRest(position, behind, end, segments)
    }
    while (position < this.count && this.#cells[position * CELLS]! <= end) {
      if (this.#endOf(position) > end) {
        const c = position * CELLS
        this.#cells[c + 1] = this.#endOf(position) - end
        this.#cells[c] = end + 1
        break
      }
      this.#release(position, segments)
      this.#cells.splice(position * CELLS, CELLS)
    }
    this.#insert(position, run, segments)
    this.dropThrough(Math.min(compactedIndex, run.from - 1), segments)
  }

  clear(segments: SegmentTable): void {
    for (let position = 0; position < this.count; position++) this.#release(position, segments)
    this.#cells.length = 0
  }

  #insertRest(position: number, run: Run, end: LogIndex, segments: SegmentTable): void {
    this.#insert(position, { ...run, from: end + 1, count: run.from + run.count - 1 - end }, segments)
  }

  #insert(position: number, run: Run, segments: SegmentTable): void {
    const { from, count, term, sequence, offset, byteLength, crcBefore, crcAfter } = run
    this.#cells.splice(position * CELLS, 0, from, count, term, sequence, offset, byteLength, crcBefore, crcAfter)
    segments.retain(sequence, byteLength)
  }

  #release(position: number, segments: SegmentTable): void {
    segments.release(this.#cells[position * CELLS + 3]!, this.#cells[position * CELLS + 5]!)
  }

  #endOf(position: number): LogIndex {
    return this.#cells[position * CELLS]! + this.#cells[position * CELLS + 1]! - 1
  }

  /** The first run that ends at or behind `index`. */
  #lowerBound(index: LogIndex): number {
    let high = this.count
    if (high > 0 && this.#cells[(high - 1) * CELLS]! <= index) return index <= this.#endOf(high - 1) ? high - 1 : high
    let low = 0
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#endOf(middle) < index) low = middle + 1
      else high = middle
    }
    return low
  }
}
