import { CordilleraError, type Key, type NodeId, type RangeId, type Term } from '@cordillera/base'
import type { LoadSplit } from '@cordillera/placement'
import {
  compareEpochs,
  type Descriptor,
  decodeDescriptor,
  encodeDescriptor,
  type Span,
  spanContains,
} from '@cordillera/ranges'
import { DescriptorCache } from '@cordillera/router'

/**
 * What the placement driver knows of all ranges, from the heartbeats of those that lead them: what has changed at once, everything
 * now and then. A beat that does not follow the one before is answered with the wish for everything.
 *
 * No two ranges of the index overlap: what is newer takes the place of what is older, as in a gateway's cache. Of one epoch the
 * later term counts. In memory alone: a new driver hears everything anew.
 */
export interface RangeBeat {
  readonly descriptor: Descriptor
  readonly term: Term
  readonly bytes: number
  readonly readsPerSec: number
  readonly writesPerSec: number
  /** The most requests a second of the last minutes. */
  readonly loadMaxPerSec: number
  /** How long the range has been what it is. */
  readonly unchangedMs: number
  /** Nodes whose replica lacks too much to lead. */
  readonly behind: readonly NodeId[]
  /** See `RangePicture`. A key lies strictly inside of the range. */
  readonly loadSplit?: LoadSplit
}

export interface Heartbeat {
  /** Counts up by one; of one start of one node. */
  readonly sequence: number
  /** Every range that the node leads is in it. */
  readonly isFull: boolean
  readonly ranges: readonly RangeBeat[]
}

export interface IndexedRange extends Omit<RangeBeat, 'unchangedMs'> {
  readonly leader: NodeId
  readonly lastChangedMs: number
}

export class ClusterIndex {
  readonly #order = new DescriptorCache()
  readonly #ranges = new Map<RangeId, IndexedRange>()
  readonly #beats = new Map<NodeId, { readonly sequence: number; readonly atMs: number }>()

  /** False: the node is to send everything. */
  onHeartbeat(nodeId: NodeId, { sequence, isFull, ranges }: Heartbeat, nowMs: number): boolean {
    const known = this.#beats.get(nodeId)
    if (!isFull && known?.sequence !== sequence - 1) return false
    this.#beats.set(nodeId, { sequence, atMs: nowMs })
    for (const beat of ranges) this.#learn(nodeId, beat, nowMs)
    return true
  }

  /** When the node was heard last; undefined: not since this driver began. */
  heardAtMs(nodeId: NodeId): number | undefined {
    return this.#beats.get(nodeId)?.atMs
  }

  get(rangeId: RangeId): IndexedRange | undefined {
    return this.#ranges.get(rangeId)
  }

  /** In the order of keys. */
  ranges(): IndexedRange[] {
    return Array.from(this.#order.all(), ({ rangeId }) => this.#ranges.get(rangeId)!)
  }

  /** Whether it has every key: before that a picture of the cluster would be wrong. */
  get isWhole(): boolean {
    return this.gaps().length === 0
  }

  /** The keys of which nothing is known. */
  gaps(): Span[] {
    return this.#between(() => true)
  }

  /** Whether nothing is known of these keys alone. */
  isWholeBut(unknown: readonly Span[]): boolean {
    return this.gaps().every((gap) => unknown.some((one) => isWithin(gap, one)))
  }

  /** The keys of which nobody has said that he leads them, from one range that is led to the next. */
  unled(): Span[] {
    return this.#between(({ rangeId }) => this.#ranges.get(rangeId)!.leader !== 0)
  }

  /**
   * Takes in ranges where nothing was heard of any: those without a leader are in nobody's heartbeat. Of them only where they are
   * is known; nobody leads them as far as this goes, and whoever does says so with his next beat.
   */
  fillGaps(descriptors: Iterable<Descriptor>, nowMs: number): void {
    const quiet = { term: 0, bytes: 0, readsPerSec: 0, writesPerSec: 0, loadMaxPerSec: 0, behind: [] }
    const unled = this.unled()
    for (const descriptor of descriptors) {
      if (!unled.some((gap) => isWithin(descriptor, gap))) continue
      const replaced = this.#order.tryLearn(descriptor)
      if (replaced === undefined) continue
      for (const { rangeId } of replaced) this.#ranges.delete(rangeId)
      this.#ranges.set(descriptor.rangeId, { ...quiet, descriptor, leader: 0, lastChangedMs: nowMs })
    }
  }

  #between(counts: (descriptor: Descriptor) => boolean): Span[] {
    const gaps: Span[] = []
    let at: Key | null = ''
    for (const one of this.#order.all()) {
      if (!counts(one)) continue
      if (at !== null && at < one.start) gaps.push({ start: at, end: one.start })
      at = one.end
    }
    if (at !== null) gaps.push({ start: at, end: null })
    return gaps
  }

  #learn(nodeId: NodeId, { unchangedMs, ...beat }: RangeBeat, nowMs: number): void {
    const { descriptor, term } = beat
    const known = this.#ranges.get(descriptor.rangeId)
    const isKnown = known !== undefined && compareEpochs(known.descriptor.epoch, descriptor.epoch) === 0
    if (isKnown && term < known.term) return
    if (!isKnown) {
      const replaced = this.#order.tryLearn(descriptor)
      if (replaced === undefined) return
      for (const { rangeId } of replaced) this.#ranges.delete(rangeId)
    }
    this.#ranges.set(descriptor.rangeId, { ...beat, leader: nodeId, lastChangedMs: nowMs - unchangedMs })
  }
}

function isWithin({ start, end }: Span, gap: Span): boolean {
  return gap.start <= start && (gap.end === null || (end !== null && end <= gap.end))
}

/** As it travels: plain data, descriptors as bytes. */
export function encodeHeartbeat({ sequence, isFull, ranges }: Heartbeat): unknown {
  return [sequence, isFull, ranges.map(encodeRange)]
}

/** Throws `BAD_REQUEST`, or `CORRUPT` as descriptors do. */
export function decodeHeartbeat(body: unknown): Heartbeat {
  const [sequence, isFull, rows] = Array.isArray(body) ? (body as unknown[]) : []
  if (typeof sequence !== 'number' || typeof isFull !== 'boolean' || !Array.isArray(rows)) throw malformed()
  return { sequence, isFull, ranges: rows.map(decodeRange) }
}

function encodeRange(one: RangeBeat): unknown {
  const { descriptor, behind, loadSplit } = one
  const row = [encodeDescriptor(descriptor), numbersOf(one), behind]
  return loadSplit === undefined ? row : [...row, [loadSplit.kind, loadSplit.key]]
}

function numbersOf(one: RangeBeat): number[] {
  return [one.term, one.bytes, one.readsPerSec, one.writesPerSec, one.loadMaxPerSec, one.unchangedMs]
}

function decodeRange(row: unknown): RangeBeat {
  const [bytes, numbers, behind, split] = Array.isArray(row) ? (row as unknown[]) : []
  const isNumbers = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every((one) => typeof one === 'number' && one >= 0)
  if (!(bytes instanceof Uint8Array) || !isNumbers(numbers) || numbers.length !== 6 || !isNumbers(behind)) {
    throw malformed()
  }
  const [term, size, readsPerSec, writesPerSec, loadMaxPerSec, unchangedMs] = numbers as [
    ...[number, number, number, number, number, number],
  ]
  const load = { readsPerSec, writesPerSec, loadMaxPerSec }
  const descriptor = decodeDescriptor(bytes)
  const range = { descriptor, term, bytes: size, ...load, unchangedMs, behind }
  return split === undefined ? range : { ...range, loadSplit: decodeLoadSplit(split, descriptor) }
}

function decodeLoadSplit(pair: unknown, range: Descriptor): LoadSplit {
  const [kind, key] = Array.isArray(pair) ? (pair as unknown[]) : []
  if ((kind !== 'key' && kind !== 'one-hot-key') || typeof key !== 'string') throw malformed()
  if (!spanContains(range, key) || (kind === 'key' && key === range.start)) throw malformed()
  return { kind, key }
}

function malformed(): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail: 'a heartbeat that is none' })
}
