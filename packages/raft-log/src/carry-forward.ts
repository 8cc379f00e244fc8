import type { Buffer } from 'node:buffer'
import { CordilleraError, type Logger } from '@cordillera/base'
import type { EntryLoader } from './entry-loader.js'
import type { LoggedGroup } from './logged-group.js'
import { type PendingRecord, pendingBytes } from './pending-record.js'
import { RECORD_HEAD_BYTES, RecordKind } from './record.js'
import type { Segment, SegmentTable } from './segment-table.js'

export interface CarryForwardOptions {
  readonly segments: SegmentTable
  readonly groups: ReadonlyMap<number, LoggedGroup>
  readonly loader: EntryLoader
  readonly logger: Logger
  readonly segmentBytes: number
  readonly enqueue: (record: PendingRecord) => void
  readonly flush: () => Promise<void>
}

/** How many segments are in use before the oldest one is emptied, and how much of it may be alive then. */
const SEGMENTS_KEPT = 3
const LIVE_SHARE_MAX = 1 / 8
/** Carried at once, so that the batches of others stay small. */
const CHUNK_BYTES = 256 * 1024

/**
 * Empties the oldest segment when little of it is alive, by writing that little again at the end of the log.
 *
 * Idle groups keep a few entries and a hard state for ever; without this they would pin every segment behind them. A
 * segment that is mostly alive is left alone: its groups are busy, and their host compacts. So at least seven eighths of
 * a segment are won for each one emptied. A segment of which something cannot be read stays where it is until the group
 * concerned is removed.
 */
export class CarryForward {
  readonly #options: CarryForwardOptions
  #running: Promise<void> | undefined
  /** The last segment of which something could not be carried. */
  #stuckSequence = 0
  carriedEntries = 0

  constructor(options: CarryForwardOptions) {
    this.#options = options
  }

  /** Begins when there is reason to, and nothing under way. */
  tryBegin(): void {
    if (this.#running) return
    const { segments, segmentBytes } = this.#options
    const oldest = segments.find(segments.headSequence)
    if (segments.active.sequence - oldest.sequence + 1 < SEGMENTS_KEPT || oldest.sequence === this.#stuckSequence)
      return
    if (oldest.liveBytes > segmentBytes * LIVE_SHARE_MAX) return
    this.#running = this.#carry(oldest).finally(() => {
      this.#running = undefined
    })
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await this.#running
  }

  async #carry(segment: Segment): Promise<void> {
    try {
      let bytes = 0
      for (const group of [...this.#options.groups.values()]) {
        bytes += await this.#carryGroup(group, segment)
        if (bytes < CHUNK_BYTES) continue
        bytes = 0
        await this.#options.flush()
      }
      await this.#options.flush()
    } catch (error) {
      if (!(error instanceof CordilleraError)) throw error
      // The log has failed or is closing: everyone who waits for it has been told.
    }
  }

  async #carryGroup(group: LoggedGroup, segment: Segment): Promise<number> {
    const { sequence } = segment
    let bytes = 0
    if (!group.isRemoved && group.image.needsStateIn(sequence)) {
      bytes += this.#enqueue({ kind: RecordKind.carriedState, group })
    }
    for (const run of group.image.runsIn(sequence)) {
      const position = group.image.runs.findRecord(run.from, run.sequence, run.offset)
      if (position < 0) continue
      const record = await this.#read(group, position)
      if (!record || group.isRemoved) continue
      this.carriedEntries += run.count
      bytes += this.#enqueue({
        kind: RecordKind.carriedEntries,
        group,
        run,
        payload: record.subarray(RECORD_HEAD_BYTES),
      })
      if (bytes < CHUNK_BYTES) continue
      bytes = 0
      await this.#options.flush()
    }
    return bytes
  }

  async #read(group: LoggedGroup, position: number): Promise<Buffer | undefined> {
    try {
      const [record] = await this.#options.loader.readRecords(group, [group.image.runs.at(position)])
      return record
    } catch (error) {
      if (!(error instanceof CordilleraError) || error.code !== 'LOG_DAMAGED') throw error
      this.#stuckSequence = this.#options.segments.headSequence
      this.#options.logger.error('log-damaged', { ...error.details, detail: error.message })
      return undefined
    }
  }

  #enqueue(record: PendingRecord): number {
    this.#options.enqueue(record)
    return pendingBytes(record)
  }
}
