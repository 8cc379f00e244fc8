import type { Buffer } from 'node:buffer'
import { CordilleraError, type Logger } from '@cordillera/base'
import { type EntryLoader, neighboursEnd, type RunPlace } from './entry-loader.js'
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
  /** An invariant is broken, or the like: the store stops. */
  readonly onFailure: (error: unknown) => void
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
  #isStopped = false
  #chunkBytes = 0
  carriedEntries = 0

  constructor(options: CarryForwardOptions) {
    this.#options = options
  }

  /** Begins when there is reason to, and nothing under way. */
  tryBegin(): void {
    if (this.#running || this.#isStopped) return
    const { segments, segmentBytes } = this.#options
    const oldest = segments.find(segments.headSequence)
    if (segments.active.sequence - oldest.sequence + 1 < SEGMENTS_KEPT || oldest.sequence === this.#stuckSequence)
      return
    if (oldest.liveBytes > segmentBytes * LIVE_SHARE_MAX) return
    this.#running = this.#carry(oldest).finally(() => {
      this.#running = undefined
    })
  }

  /** Carries nothing more; resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
  }

  async #carry(segment: Segment): Promise<void> {
    try {
      await this.#carryStates(segment.sequence)
      await this.#carryEntries(segment.sequence)
      await this.#options.flush()
    } catch (error) {
      // A failed or closing log has told everyone who waits for it.
      if (!(error instanceof CordilleraError)) this.#options.onFailure(error)
    }
  }

  async #carryStates(sequence: number): Promise<void> {
    for (const group of [...this.#options.groups.values()]) {
      if (group.isRemoved || !group.image.needsStateIn(sequence)) continue
      await this.#enqueue({ kind: RecordKind.carriedState, group })
    }
  }

  async #carryEntries(sequence: number): Promise<void> {
    const places: RunPlace[] = []
    for (const group of this.#options.groups.values()) {
      for (const run of group.image.runsIn(sequence)) places.push({ group, run })
    }
    places.sort((a, b) => a.run.offset - b.run.offset)
    for (let start = 0; start < places.length; ) {
      const end = neighboursEnd(places, start)
      const records = await this.#options.loader.readRecords(places.slice(start, end))
      for (let i = 0; i < records.length; i++) await this.#carryRecord(places[start + i]!, records[i]!)
      start = end
    }
  }

  async #carryRecord({ group, run }: RunPlace, record: Buffer | CordilleraError): Promise<void> {
    if (record instanceof CordilleraError) {
      this.#stuckSequence = run.sequence
      this.#options.logger.error('log-damaged', { ...record.details, detail: record.message })
    } else if (!group.isRemoved && group.image.runs.findRecord(run.from, run.sequence, run.offset) >= 0) {
      this.carriedEntries += run.count
      await this.#enqueue({ kind: RecordKind.carriedEntries, group, run, payload: record.subarray(RECORD_HEAD_BYTES) })
    }
  }

  /** Waits for the disk each time that enough has come together. */
  async #enqueue(record: PendingRecord): Promise<void> {
    if (this.#isStopped) throw new CordilleraError('CLOSED')
    this.#options.enqueue(record)
    this.#chunkBytes += pendingBytes(record)
    if (this.#chunkBytes < CHUNK_BYTES) return
    this.#chunkBytes = 0
    await this.#options.flush()
  }
}
