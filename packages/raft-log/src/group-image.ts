import { assert, type LogIndex, type Term } from '@cordillera/base'
import type { HardState } from '@cordillera/raft-core'
import type { CarriedState } from './record.js'
import { type Run, RunTable } from './run-table.js'
import type { SegmentTable } from './segment-table.js'

const NO_HARD_STATE: HardState = { term: 0, vote: 0, commitIndex: 0 }

/**
 * What the log says of one group, record after record, and which segments it says it in.
 *
 * The same methods follow the writing of batches and their replay, so that what recovery finds is what was written.
 * The image runs behind what the group's owner sees by the records that are enqueued and not yet laid out in a batch.
 */
export class GroupImage {
  readonly runs = new RunTable()
  hardState = NO_HARD_STATE
  flushedIndex: LogIndex = 0
  compactedIndex: LogIndex = 0
  compactedTerm: Term = 0
  damaged = false
  /** The number of the last batch that names this group. */
  batchNumber = 0
  #hardStateSequence = 0
  #flushedSequence = 0
  #baseSequence = 0

  get lastIndex(): LogIndex {
    return Math.max(this.runs.lastIndex, this.compactedIndex)
  }

  /** A record of entries: replaces what is at its first index and everything behind it. */
  addEntries(run: Run, segments: SegmentTable): void {
    this.runs.truncateFrom(run.from, segments)
    this.runs.push(run, segments)
  }

  carryEntries(run: Run, segments: SegmentTable): void {
    this.runs.overlay(run, this.compactedIndex, segments)
  }

  setHardState(hardState: HardState, sequence: number, segments: SegmentTable): void {
    this.hardState = hardState
    this.#hardStateSequence = repin(this.#hardStateSequence, sequence, segments)
  }

  setFlushed(index: LogIndex, sequence: number, segments: SegmentTable): void {
    this.flushedIndex = index
    this.#flushedSequence = repin(this.#flushedSequence, sequence, segments)
  }

  create(sequence: number, segments: SegmentTable): void {
    this.#baseSequence = repin(this.#baseSequence, sequence, segments)
  }

  compact(index: LogIndex, term: Term, sequence: number, segments: SegmentTable): void {
    this.#baseSequence = repin(this.#baseSequence, sequence, segments)
    if (index <= this.compactedIndex) return
    this.compactedIndex = index
    this.compactedTerm = term
    this.runs.dropThrough(index, segments)
  }

  reset(index: LogIndex, term: Term, sequence: number, segments: SegmentTable): void {
    this.#baseSequence = repin(this.#baseSequence, sequence, segments)
    this.compactedIndex = index
    this.compactedTerm = term
    this.runs.clear(segments)
  }

  carriedState(): CarriedState {
    const { hardState, compactedIndex, compactedTerm, flushedIndex, lastIndex, damaged } = this
    return { hardState, compactedIndex, compactedTerm, flushedIndex, lastIndex, damaged }
  }

  /** A carried state: takes over what is newer than what is known, and cuts nothing but what is compacted. */
  carryState(state: CarriedState, sequence: number, segments: SegmentTable): void {
    const known = this.hardState
    const newer = state.hardState.term >= known.term ? state.hardState : known
    const commitIndex = Math.max(known.commitIndex, state.hardState.commitIndex)
    this.setHardState({ term: newer.term, vote: newer.vote, commitIndex }, sequence, segments)
    this.setFlushed(Math.max(this.flushedIndex, state.flushedIndex), sequence, segments)
    this.compact(state.compactedIndex, state.compactedTerm, sequence, segments)
    this.damaged ||= state.damaged
  }

  /** Whether the group's state, without its entries, would be lost with this segment. */
  needsStateIn(sequence: number): boolean {
    return this.#hardStateSequence === sequence || this.#flushedSequence === sequence || this.#baseSequence === sequence
  }

  /** The runs of entries that would be lost with this segment. */
  runsIn(sequence: number): Run[] {
    const runs: Run[] = []
    for (let i = 0; i < this.runs.count; i++) {
      const run = this.runs.at(i)
      if (run.sequence === sequence) runs.push(run)
    }
    return runs
  }

  /** Lets go of every segment; the image is not used again. */
  release(segments: SegmentTable): void {
    this.runs.clear(segments)
    for (const sequence of [this.#hardStateSequence, this.#flushedSequence, this.#baseSequence]) {
      if (sequence > 0) segments.release(sequence, 0)
    }
    this.#hardStateSequence = this.#flushedSequence = this.#baseSequence = 0
  }
}

function repin(from: number, to: number, segments: SegmentTable): number {
  assert(to > 0, 'segments are numbered from 1')
  if (from === to) return to
  if (from > 0) segments.release(from, 0)
  segments.retain(to, 0)
  return to
}
