import type { Buffer } from 'node:buffer'
import { type BatchHeader, BatchKind, type BatchSummary, isBodyWhole, tryReadBatchHeader } from './batch-header.js'
import { SECTOR_BYTES, SEGMENT_HEADER_BYTES } from './segment-format.js'

/**
 * Goes through the batches of one segment and tells whole ones, damaged ones and the end apart.
 *
 * Only headers that carry this segment's sequence number count: all else is a former life of the file. Batches are
 * numbered without gaps and a batch is written only after the one before it was durable. Therefore:
 *
 * - A batch that is not whole, with any later header of this segment behind it, is damage. When its own header or the
 *   copy in the next header is whole, the damage is attributed to the groups listed there; when the copy shows that the
 *   body is whole too, nothing was lost and the batch counts.
 * - What lies between two headers and is covered by neither a header nor a copy is damage that cannot be attributed.
 * - A batch that is not whole with nothing later behind it ends the walk. It is a tear if the log has nothing later in
 *   other segments either; that is for the caller to say.
 */
export type WalkStep =
  | {
      readonly kind: 'batch'
      readonly at: number
      readonly summary: BatchSummary
      readonly number: number
      /** Undefined when the batch was found by the copy of its header. */
      readonly headSequence: number | undefined
    }
  | {
      readonly kind: 'damage'
      readonly at: number
      readonly number: number
      /** Lists the groups whose records were lost. Undefined: it cannot be said whose. */
      readonly summary: BatchSummary | undefined
      readonly headSequence: number | undefined
    }

/** Where a walk ended: behind the last batch; `nextNumber` is undefined when not a single batch was met. */
export interface WalkEnd {
  readonly at: number
  readonly nextNumber: number | undefined
  /** The last batch is the mark that the log goes on in the next segment. */
  readonly isEnded: boolean
}

interface Found {
  readonly at: number
  readonly header: BatchHeader
}

/** `nextNumber` is the number of the first batch, when it is known. */
export function* walkSegment(
  bytes: Buffer,
  sequence: number,
  nextNumber: number | undefined,
): Generator<WalkStep, WalkEnd> {
  let at = SEGMENT_HEADER_BYTES
  let number = nextNumber
  for (;;) {
    const header = tryReadBatchHeader(bytes, at)
    const isNext = header?.sequence === sequence && (number === undefined || header.number === number)
    if (header && isNext && isBodyWhole(bytes, at, header, header.number)) {
      yield { kind: 'batch', at, summary: header, number: header.number, headSequence: header.headSequence }
      at += header.byteLength
      number = header.number + 1
      if (header.kind === BatchKind.end) return { at, nextNumber: number, isEnded: true }
      continue
    }
    const own = header && isNext ? header : undefined
    const later = own
      ? tryFindLater(bytes, sequence, at + own.byteLength, own.number)
      : tryFindLater(bytes, sequence, at, number === undefined ? -1 : number)
    if (!later) return { at, nextNumber: number, isEnded: false }
    yield* stepsBetween(bytes, sequence, { at, number, own }, later)
    at = later.at
    number = later.header.number
  }
}

interface Bad {
  readonly at: number
  readonly number: number | undefined
  /** The bad batch's own header, when that is whole. */
  readonly own: BatchHeader | undefined
}

function* stepsBetween(bytes: Buffer, sequence: number, bad: Bad, later: Found): Generator<WalkStep> {
  let at = bad.at
  let number = bad.number
  if (bad.own) {
    yield { kind: 'damage', at, number: bad.own.number, summary: bad.own, headSequence: bad.own.headSequence }
    at += bad.own.byteLength
    number = bad.own.number + 1
    if (later.header.number === number) return
  }
  const lost: WalkStep = { kind: 'damage', at, number: number ?? 0, summary: undefined, headSequence: undefined }
  const copy = later.header.previous
  const copyNumber = later.header.number - 1
  const copyAt = later.at - (copy?.byteLength ?? 0)
  if (!copy || copy.sequence !== sequence || copyAt < at) {
    yield lost
    return
  }
  if (copyAt > at || (number !== undefined && copyNumber > number)) yield lost
  if (isBodyWhole(bytes, copyAt, copy, copyNumber)) {
    yield { kind: 'batch', at: copyAt, summary: copy, number: copyNumber, headSequence: undefined }
  } else {
    yield { kind: 'damage', at: copyAt, number: copyNumber, summary: copy, headSequence: undefined }
  }
}

/** The first header of this segment from `at` on with a number above `number`. */
export function tryFindLater(bytes: Buffer, sequence: number, at: number, number: number): Found | undefined {
  for (let position = at; position + SECTOR_BYTES <= bytes.length; position += SECTOR_BYTES) {
    const header = tryReadBatchHeader(bytes, position)
    if (header?.sequence === sequence && header.number > number) return { at: position, header }
  }
  return undefined
}

/** The highest sequence number in a whole header of a batch: which segment a file is whose own header is gone. */
export function highestSequence(bytes: Buffer): number | undefined {
  let highest: number | undefined
  for (let position = SEGMENT_HEADER_BYTES; position + SECTOR_BYTES <= bytes.length; position += SECTOR_BYTES) {
    const header = tryReadBatchHeader(bytes, position)
    if (header) highest = Math.max(highest ?? 0, header.sequence)
  }
  return highest
}
