import type { Buffer } from 'node:buffer'
import { crc32 } from 'node:zlib'
import type { LogIndex, Term } from '@cordillera/base'
import type { Entry, HardState } from '@cordillera/raft-core'
import type { GroupImage } from './group-image.js'
import type { LoggedGroup } from './logged-group.js'
import { PAYLOAD_BYTES, RECORD_HEAD_BYTES, RecordKind, sliceEntries, writeIntegers, writeRecordHead } from './record.js'
import type { Run } from './run-table.js'
import type { SegmentTable } from './segment-table.js'

/**
 * Records that wait for their batch, and how they are laid out in it.
 *
 * Laying a record out also tells its group's image, in the order of the log. What is carried is decided only here: the
 * records before it in the queue may have replaced or compacted what was about to be carried.
 */
export type PendingRecord =
  | {
      readonly kind: typeof RecordKind.entries
      readonly group: LoggedGroup
      /** Those from `start` to before `end`: contiguous, of one term. */
      readonly entries: readonly Entry[]
      readonly start: number
      readonly end: number
      readonly byteLength: number
    }
  | { readonly kind: typeof RecordKind.hardState; readonly group: LoggedGroup; readonly hardState: HardState }
  | { readonly kind: typeof RecordKind.flushed; readonly group: LoggedGroup; readonly index: LogIndex }
  | {
      readonly kind: typeof RecordKind.compaction | typeof RecordKind.reset
      readonly group: LoggedGroup
      readonly index: LogIndex
      readonly term: Term
    }
  | {
      readonly kind: typeof RecordKind.removal | typeof RecordKind.creation | typeof RecordKind.carriedState
      readonly group: LoggedGroup
    }
  | {
      readonly kind: typeof RecordKind.carriedEntries
      readonly group: LoggedGroup
      readonly run: Run
      /** The payload of the run's record, verified. */
      readonly payload: Buffer
    }

/** The most bytes that the record takes in a body, head included. */
export function pendingBytes(record: PendingRecord): number {
  switch (record.kind) {
    case RecordKind.entries:
      return RECORD_HEAD_BYTES + record.byteLength
    case RecordKind.carriedEntries:
      return RECORD_HEAD_BYTES + record.payload.length
    case RecordKind.hardState:
      return RECORD_HEAD_BYTES + PAYLOAD_BYTES.hardState
    case RecordKind.flushed:
      return RECORD_HEAD_BYTES + PAYLOAD_BYTES.index
    case RecordKind.compaction:
    case RecordKind.reset:
      return RECORD_HEAD_BYTES + PAYLOAD_BYTES.indexAndTerm
    case RecordKind.carriedState:
      return RECORD_HEAD_BYTES + PAYLOAD_BYTES.carriedState
    case RecordKind.removal:
    case RecordKind.creation:
      return RECORD_HEAD_BYTES
  }
}

/** The batch that records are laid out in. */
export interface Layout {
  readonly buffer: Buffer
  readonly sequence: number
  /** Where the batch begins in its segment. */
  readonly position: number
  readonly segments: SegmentTable
  /** The next free byte in the buffer. */
  at: number
  /** The running checksum of the body up to `at`. */
  crc: number
  entries: number
}

/** Encodes the record at `layout.at` and moves it on. */
export function layOut(record: PendingRecord, layout: Layout): void {
  const { group } = record
  const { image } = group
  const { sequence, segments } = layout
  switch (record.kind) {
    case RecordKind.entries:
      layOutEntries(record, layout)
      return
    case RecordKind.carriedEntries:
      layOutCarriedEntries(record, layout)
      return
    case RecordKind.hardState: {
      const { term, vote, commitIndex } = record.hardState
      layOutIntegers(layout, record.kind, group, term, vote, commitIndex)
      image.setHardState(record.hardState, sequence, segments)
      return
    }
    case RecordKind.flushed:
      layOutIntegers(layout, record.kind, group, record.index)
      image.setFlushed(record.index, sequence, segments)
      return
    case RecordKind.compaction:
      layOutIntegers(layout, record.kind, group, record.index, record.term)
      image.compact(record.index, record.term, sequence, segments)
      return
    case RecordKind.reset:
      layOutIntegers(layout, record.kind, group, record.index, record.term)
      image.reset(record.index, record.term, sequence, segments)
      return
    case RecordKind.carriedState:
      layOutState(record.kind, group, image, layout)
      return
    case RecordKind.creation:
      layOutIntegers(layout, record.kind, group)
      image.create(sequence, segments)
      return
    case RecordKind.removal:
      layOutIntegers(layout, record.kind, group)
      image.release(segments)
  }
}

function layOutEntries(record: PendingRecord & { kind: typeof RecordKind.entries }, layout: Layout): void {
  const { group, entries, start, end } = record
  const { buffer, at } = layout
  let to = writeRecordHead(buffer, at, RecordKind.entries, record.byteLength, group.replicaId)
  for (let i = start; i < end; i++) {
    const { bytes } = entries[i]!
    buffer.set(bytes, to)
    to += bytes.length
  }
  const first = entries[start]!
  group.image.addEntries(finishRun(layout, to, first.index, end - start, first.term), layout.segments)
  group.onLaidOut(entries, start, end)
  layout.entries += end - start
}

function layOutCarriedEntries(
  record: PendingRecord & { kind: typeof RecordKind.carriedEntries },
  layout: Layout,
): void {
  const { image } = record.group
  const last = record.run.from + record.run.count - 1
  const from = Math.max(record.run.from, image.compactedIndex + 1)
  if (from > last) return
  const position = image.runs.findRecord(from, record.run.sequence, record.run.offset)
  if (position < 0) return
  const current = image.runs.at(position)
  const to = Math.min(last, current.from + current.count - 1)
  const payload = sliceEntries(record.payload, from, to)
  const { buffer, at } = layout
  const body = writeRecordHead(buffer, at, RecordKind.carriedEntries, payload.length, record.group.replicaId)
  buffer.set(payload, body)
  image.carryEntries(finishRun(layout, body + payload.length, from, to - from + 1, current.term), layout.segments)
}

function layOutState(kind: RecordKind, group: LoggedGroup, image: GroupImage, layout: Layout): void {
  const state = image.carriedState()
  const { term, vote, commitIndex } = state.hardState
  const { compactedIndex, compactedTerm, flushedIndex, lastIndex } = state
  const damaged = state.damaged ? 1 : 0
  layOutIntegers(
    layout,
    kind,
    group,
    term,
    vote,
    commitIndex,
    compactedIndex,
    compactedTerm,
    flushedIndex,
    lastIndex,
    damaged,
  )
  image.carryState(state, layout.sequence, layout.segments)
}

function layOutIntegers(layout: Layout, kind: RecordKind, group: LoggedGroup, ...values: readonly number[]): void {
  const { buffer, at } = layout
  const to = writeIntegers(buffer, writeRecordHead(buffer, at, kind, 8 * values.length, group.replicaId), ...values)
  layout.crc = crc32(buffer.subarray(at, to), layout.crc)
  layout.at = to
}

function finishRun(layout: Layout, to: number, from: LogIndex, count: number, term: Term): Run {
  const { at, sequence } = layout
  const crcBefore = layout.crc
  layout.crc = crc32(layout.buffer.subarray(at, to), crcBefore)
  layout.at = to
  const offset = layout.position + at
  return { from, count, term, sequence, offset, byteLength: to - at, crcBefore, crcAfter: layout.crc }
}
