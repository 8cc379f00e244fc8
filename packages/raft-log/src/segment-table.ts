import { assert } from '@cordillera/base'
import type { DiskFile } from './disk.js'

/** A file in use as part of the log. */
export interface Segment {
  readonly sequence: number
  readonly slot: number
  readonly file: DiskFile
  /** How far the file's blocks are allocated: zeroed or written. */
  allocatedBytes: number
  /** How many facts about groups recovery would take from here: runs of entries, hard states, compaction points. */
  references: number
  /** Bytes of the records of entries among them. */
  liveBytes: number
  /** Reads under way; the file is neither recycled nor closed while there are any. */
  readers: number
  /** Called when the last reader is done. */
  onUnread: (() => void) | undefined
}

export function newSegment(sequence: number, slot: number, file: DiskFile, allocatedBytes: number): Segment {
  return {
    sequence,
    slot,
    file,
    allocatedBytes,
    references: 0,
    liveBytes: 0,
    readers: 0,
    onUnread: undefined,
  }
}

/**
 * The segments that make up the log, oldest first, with a count of what each is still needed for.
 *
 * Segments leave only at the front: recovery reads everything from the oldest one that is needed to the newest, so an
 * old record can never be met without the later ones that supersede it.
 */
export class SegmentTable {
  readonly #segments: Segment[] = []
  readonly #bySequence = new Map<number, Segment>()

  get count(): number {
    return this.#segments.length
  }

  /** The segment that batches are written to. */
  get active(): Segment {
    return this.#segments[this.#segments.length - 1]!
  }

  get oldest(): Segment {
    return this.#segments[0]!
  }

  get allocatedBytes(): number {
    let bytes = 0
    for (const segment of this.#segments) bytes += segment.allocatedBytes
    return bytes
  }

  push(segment: Segment): void {
    assert(this.count === 0 || segment.sequence > this.active.sequence, 'segments are used in their order')
    this.#segments.push(segment)
    this.#bySequence.set(segment.sequence, segment)
  }

  tryFind(sequence: number): Segment | undefined {
    return this.#bySequence.get(sequence)
  }

  find(sequence: number): Segment {
    const segment = this.#bySequence.get(sequence)
    assert(segment, 'what is needed lies in a segment of the log')
    return segment
  }

  retain(sequence: number, bytes: number): void {
    const segment = this.find(sequence)
    segment.references++
    segment.liveBytes += bytes
  }

  release(sequence: number, bytes: number): void {
    const segment = this.find(sequence)
    segment.references--
    segment.liveBytes -= bytes
    assert(segment.references >= 0 && segment.liveBytes >= 0, 'a segment is released as often as it is retained')
  }

  /** The oldest segment that recovery needs: nothing refers to those before it. */
  get headSequence(): number {
    for (const segment of this.#segments) if (segment.references > 0) return segment.sequence
    return this.active.sequence
  }

  /** Removes the segments before `headSequence` and hands them over. */
  takeBefore(headSequence: number): Segment[] {
    let count = 0
    while (count < this.#segments.length - 1 && this.#segments[count]!.sequence < headSequence) count++
    const taken = this.#segments.splice(0, count)
    for (const segment of taken) {
      assert(segment.references === 0, 'a segment that is needed is not given away')
      this.#bySequence.delete(segment.sequence)
    }
    return taken
  }

  [Symbol.iterator](): Iterator<Segment> {
    return this.#segments[Symbol.iterator]()
  }
}

/** Keeps the segment's file open and unchanged until {@link endRead}. */
export function beginRead(segment: Segment): void {
  segment.readers++
}

export function endRead(segment: Segment): void {
  segment.readers--
  if (segment.readers === 0) segment.onUnread?.()
}

/** Closes the file once its reads are done. */
export async function closeUnread(segment: Segment): Promise<void> {
  if (segment.readers > 0) {
    await new Promise<void>((resolve) => {
      segment.onUnread = resolve
    })
  }
  await segment.file.close()
}
