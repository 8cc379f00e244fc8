import { Buffer } from 'node:buffer'
import { assert, CordilleraError, type Logger, type ReplicaId } from '@cordillera/base'
import { BatchKind, type BatchSummary, tryReadBatchHeader } from './batch-header.js'
import type { Disk } from './disk.js'
import type { GroupImage } from './group-image.js'
import { Replay } from './replay.js'
import { openSegmentFiles, type SegmentFile, WholeReader } from './segment-files.js'
import { SEGMENT_HEADER_BYTES } from './segment-format.js'
import { newSegment, SegmentTable } from './segment-table.js'
import { type WalkEnd, type WalkStep, walkSegment } from './segment-walk.js'

/**
 * Finds the segments that make up the log and replays them.
 *
 * The newest segment with a batch says, in that batch, which segment is the oldest that counts; everything else is a
 * spare, even with the header of a segment that counts. A bad batch is a tear, and forgotten, only if nothing valid lies behind it in its segment or in a later one. A
 * segment that is missing between others, or behind an end mark, is damage that cannot be attributed. Nothing is
 * written but the last batch, again: it may be in the operating system's memory alone (after a crash of the process,
 * even after an fsync of it that failed), and becomes durable before anyone builds on it.
 */
export interface Recovered {
  readonly segments: SegmentTable
  readonly images: ReadonlyMap<ReplicaId, GroupImage>
  /** Where to go on in the newest segment; undefined when segment `nextSequence` has to be made first. */
  readonly position: number | undefined
  readonly nextSequence: number
  readonly nextNumber: number
  readonly previous: BatchSummary | undefined
  readonly hasUnattributedDamage: boolean
  /** Files that hold nothing of the log. */
  readonly spares: readonly SegmentFile[]
}

/**
 * Throws `LOG_DAMAGED` when there is a log of which not a single batch can be read, and `DIRECTORY_INVALID` for a
 * format of another version.
 */
export async function recover(disk: Disk, logger: Logger): Promise<Recovered> {
  const reader = new WholeReader()
  const files = await openSegmentFiles(disk, reader)
  const newest = await findNewest(files, reader)
  if (!newest) return nothing(files)
  const inLog = new Map<number, SegmentFile>()
  for (const [sequence, file] of newest.bySequence) {
    if (sequence >= newest.headSequence && sequence <= newest.lastSequence) inLog.set(sequence, file)
  }
  const spares = files.filter((file) => inLog.get(file.sequence ?? 0) !== file)
  const reading = new LogReading(inLog, reader, logger)
  for (let sequence = newest.headSequence; sequence <= newest.lastSequence; sequence++) await reading.read(sequence)
  return reading.finish(newest.lastSequence, spares)
}

function nothing(files: readonly SegmentFile[]): Recovered {
  const lastSequence = files.reduce((highest, { sequence }) => Math.max(highest, sequence ?? 0), 0)
  if (lastSequence > 2) {
    throw new CordilleraError('LOG_DAMAGED', {
      detail: `not a single batch can be read of the log's ${files.length} segments; its contents are lost`,
    })
  }
  return {
    segments: new SegmentTable(),
    images: new Map(),
    position: undefined,
    nextSequence: 1,
    nextNumber: 1,
    previous: undefined,
    hasUnattributedDamage: false,
    spares: files,
  }
}

interface Newest {
  readonly bySequence: ReadonlyMap<number, SegmentFile>
  readonly headSequence: number
  readonly lastSequence: number
}

async function findNewest(files: readonly SegmentFile[], reader: WholeReader): Promise<Newest | undefined> {
  const bySequence = await filesBySequence(files, reader)
  const newestFirst = [...bySequence].sort(([a], [b]) => b - a)
  for (const [sequence, file] of newestFirst) {
    const walk = walkSegment(await reader.read(file), sequence, undefined)
    let headSequence: number | undefined
    let step = walk.next()
    for (; !step.done; step = walk.next()) headSequence = step.value.headSequence ?? headSequence
    if (headSequence === undefined) continue
    return { bySequence, headSequence, lastSequence: step.value.isEnded ? sequence + 1 : sequence }
  }
  return undefined
}

/**
 * The file of each segment. Several may have its header: one that was prepared, and not used before a crash, is a spare
 * afterwards, and stays one for a while. Batches are in one of them at most.
 */
async function filesBySequence(files: readonly SegmentFile[], reader: WholeReader): Promise<Map<number, SegmentFile>> {
  const bySequence = new Map<number, SegmentFile>()
  for (const file of files) {
    const { sequence } = file
    if (sequence === undefined) continue
    const isTaken = bySequence.has(sequence)
    if (!isTaken || !walkSegment(await reader.read(file), sequence, undefined).next().done) {
      bySequence.set(sequence, file)
    }
  }
  return bySequence
}

/** Reads the log's segments in their order. */
class LogReading {
  readonly #files: ReadonlyMap<number, SegmentFile>
  readonly #segments = new SegmentTable()
  readonly #replay = new Replay(this.#segments)
  readonly #reader: WholeReader
  readonly #logger: Logger
  #end: WalkEnd = { at: SEGMENT_HEADER_BYTES, nextNumber: undefined, isEnded: true }
  #last: { file: SegmentFile; step: WalkStep } | undefined

  constructor(files: ReadonlyMap<number, SegmentFile>, reader: WholeReader, logger: Logger) {
    this.#files = files
    this.#reader = reader
    this.#logger = logger
  }

  async read(sequence: number): Promise<void> {
    const file = this.#files.get(sequence)
    if (!file) {
      this.#onDamage(sequence, 0, undefined)
      this.#end = { at: 0, nextNumber: this.#end.isEnded ? this.#end.nextNumber : undefined, isEnded: false }
      return
    }
    this.#segments.push(newSegment(sequence, file.slot, file.file, file.bytes))
    const bytes = await this.#reader.read(file)
    if (!this.#end.isEnded) this.#endPrevious(sequence, bytes)
    const walk = walkSegment(bytes, sequence, this.#end.nextNumber)
    let next = walk.next()
    for (; !next.done; next = walk.next()) {
      this.#onStep(sequence, bytes, next.value)
      this.#last = { file, step: next.value }
    }
    this.#end = next.value
  }

  async finish(lastSequence: number, spares: readonly SegmentFile[]): Promise<Recovered> {
    this.#replay.finish()
    await this.#rewriteLast()
    const { nextNumber, at } = this.#end
    assert(nextNumber !== undefined, 'a log that was found has a batch')
    const { images, hasUnattributedDamage } = this.#replay
    const position = this.#segments.tryFind(lastSequence) ? at : undefined
    const previous = this.#last?.step.summary
    const segments = this.#segments
    this.#logger.info('log-recovered', { segments: segments.count, groups: images.size, batch: nextNumber - 1 })
    return {
      segments,
      images,
      position,
      nextSequence: lastSequence,
      nextNumber,
      previous,
      hasUnattributedDamage,
      spares,
    }
  }

  /** The segment before this one ended without its mark, and yet there is this one. */
  #endPrevious(sequence: number, bytes: Buffer): void {
    const header = tryReadBatchHeader(bytes, SEGMENT_HEADER_BYTES)
    const { nextNumber } = this.#end
    const isOnlyMarkLost =
      header?.sequence === sequence && header.number - 1 === nextNumber && header.previous?.kind === BatchKind.end
    if (!isOnlyMarkLost) this.#onDamage(sequence - 1, this.#end.at, undefined)
    this.#end = { ...this.#end, nextNumber: undefined }
  }

  #onStep(sequence: number, bytes: Buffer, step: WalkStep): void {
    if (step.kind === 'damage') {
      this.#onDamage(sequence, step.at, step.summary?.groups)
      return
    }
    try {
      this.#replay.replayBatch(bytes, step.at, step.summary, step.number)
    } catch (error) {
      if (!(error instanceof CordilleraError) || error.code !== 'CORRUPT') throw error
      this.#onDamage(sequence, step.at, step.summary.groups)
    }
  }

  #onDamage(segment: number, offset: number, groups: readonly ReplicaId[] | undefined): void {
    this.#logger.error('log-damaged', { segment, offset, groups: groups ?? 'all' })
    this.#replay.onDamage(groups)
  }

  async #rewriteLast(): Promise<void> {
    if (this.#last?.step.kind !== 'batch') return
    const { file, step } = this.#last
    const bytes = Buffer.allocUnsafeSlow(step.summary.byteLength)
    await file.file.read(bytes, step.at)
    await file.file.write([bytes], step.at)
    await file.file.sync()
  }
}
