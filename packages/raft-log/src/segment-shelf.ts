import { Buffer } from 'node:buffer'
import type { Clock, Logger } from '@cordillera/base'
import type { Disk, DiskFile } from './disk.js'
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, segmentName } from './segment-format.js'
import { newSegment, type Segment } from './segment-table.js'

/**
 * Keeps the next segment ready, so that the log goes on without waiting when one is full.
 *
 * A new file is zeroed in chunks, each synced and followed by a turn for others, so that a group commit never waits
 * behind more than one chunk; a recycled file needs only its header, because what is left in it carries another
 * sequence number. When the log needs the segment earlier it takes the file as it is: appending behind the zeroed part
 * costs more per sync, and that is all. At most `sparesMax` files wait to be used again; the others are removed. A full
 * disk makes zeroing wait; any other failure is handed to `onFailure`.
 */
export interface ShelfOptions {
  readonly disk: Disk
  readonly clock: Clock
  readonly logger: Logger
  readonly segmentBytes: number
  readonly zeroChunkBytes: number
  readonly sparesMax: number
  readonly onFailure: (error: unknown) => void
}

/** A file that nobody needs. Its contents do not matter; its blocks up to `allocatedBytes` are allocated. */
export interface Spare {
  readonly slot: number
  readonly file: DiskFile
  readonly allocatedBytes: number
}

interface Preparation {
  readonly sequence: number
  readonly done: Promise<Segment | undefined>
  ready: Segment | undefined
  hurry: boolean
  wake: (() => void) | undefined
}

const SPACE_RETRY_MS = 1000

export class SegmentShelf {
  readonly #options: ShelfOptions
  readonly #spares: Spare[] = []
  readonly #slots = new Set<number>()
  #preparation: Preparation | undefined
  #closed = false
  #removals: Promise<void> = Promise.resolve()
  recycled = 0
  /** The disk had no room for the next segment when it was last tried. */
  spaceShort = false

  constructor(options: ShelfOptions) {
    this.#options = options
  }

  get spareCount(): number {
    return this.#spares.length
  }

  /** A name that is in use. */
  claimSlot(slot: number): void {
    this.#slots.add(slot)
  }

  /** Begins to prepare the segment in the background. */
  prepare(sequence: number): void {
    const preparation: Preparation = {
      sequence,
      done: Promise.resolve(undefined),
      ready: undefined,
      hurry: false,
      wake: undefined,
    }
    const done = this.#prepare(preparation)
    done.catch((error: unknown) => this.#options.onFailure(error))
    this.#preparation = Object.assign(preparation, { done })
  }

  isReady(sequence: number): boolean {
    return this.#preparation?.sequence === sequence && this.#preparation.ready !== undefined
  }

  /** The segment, with its header durable: at once when it is ready, else as soon as it can be written to. */
  async take(sequence: number): Promise<Segment> {
    if (this.#preparation?.sequence !== sequence) this.prepare(sequence)
    const preparation = this.#preparation!
    preparation.hurry = true
    preparation.wake?.()
    const segment = await preparation.done
    if (!segment) throw new Error('the log is closing')
    this.#preparation = undefined
    return segment
  }

  /** Takes a segment that the log no longer needs: to be used again, or removed. */
  offer(segment: Segment): void {
    if (segment.readers > 0) {
      segment.onUnread = () => this.offer(segment)
      return
    }
    segment.onUnread = undefined
    this.addSpare(segment)
  }

  /** Takes a file: to be used again, or removed. */
  addSpare(spare: Spare): void {
    const { sparesMax, segmentBytes } = this.#options
    const isWanted = !this.#closed && this.#spares.length < sparesMax && spare.allocatedBytes <= segmentBytes
    if (isWanted) this.#spares.push(spare)
    else this.#discard(spare)
  }

  /** Stops the preparation and closes what is on the shelf. */
  async close(): Promise<void> {
    this.#closed = true
    this.#preparation?.wake?.()
    const segment = await this.#preparation?.done.catch(() => undefined)
    await this.#removals
    await segment?.file.close()
    for (const spare of this.#spares) await spare.file.close()
  }

  async #prepare(preparation: Preparation): Promise<Segment | undefined> {
    const spare = this.#spares.pop()
    if (spare) this.recycled++
    const taken = spare ?? (await this.#tryCreate(preparation))
    if (taken === undefined) return undefined
    const { slot, file, allocatedBytes: from } = taken
    const allocatedBytes = await this.#zero(file, from, preparation)
    // One that is used again has all its room from the beginning.
    if (allocatedBytes >= this.#options.segmentBytes) this.spaceShort = false
    if (this.#closed) {
      await file.close()
      return undefined
    }
    await file.write([encodeSegmentHeader(preparation.sequence)], 0)
    await file.sync()
    const segment = newSegment(preparation.sequence, slot, file, Math.max(allocatedBytes, SEGMENT_HEADER_BYTES))
    preparation.ready = segment
    return segment
  }

  /** Waits while there is no room for a name; undefined once the shelf is closed. */
  async #tryCreate(preparation: Preparation): Promise<Spare | undefined> {
    while (!this.#closed) {
      try {
        return await this.#create()
      } catch (error) {
        if (preparation.hurry) throw error
        await this.#waitForRoom(error, preparation, 0)
      }
    }
    return undefined
  }

  async #create(): Promise<Spare> {
    let slot = 1
    while (this.#slots.has(slot)) slot++
    this.#slots.add(slot)
    const { disk } = this.#options
    let file: DiskFile | undefined
    try {
      file = await disk.open(segmentName(slot), { create: true })
      await disk.syncDirectory()
      return { slot, file, allocatedBytes: 0 }
    } catch (error) {
      this.#slots.delete(slot)
      await file?.close()
      throw error
    }
  }

  /** Returns how far the file is allocated. */
  async #zero(file: DiskFile, from: number, preparation: Preparation): Promise<number> {
    const { segmentBytes, zeroChunkBytes, clock } = this.#options
    const zeros = Buffer.alloc(Math.min(zeroChunkBytes, segmentBytes))
    let at = from
    while (at < segmentBytes && !preparation.hurry && !this.#closed) {
      try {
        const chunk = zeros.subarray(0, Math.min(zeros.length, segmentBytes - at))
        await file.write([chunk], at)
        await file.sync()
        at += chunk.length
        await new Promise<void>((resolve) => clock.defer(resolve))
      } catch (error) {
        await this.#waitForRoom(error, preparation, at)
      }
    }
    return at
  }

  /** Throws what is not for want of room. */
  async #waitForRoom(error: unknown, preparation: Preparation, zeroedBytes: number): Promise<void> {
    if ((error as { code?: unknown }).code !== 'ENOSPC') throw error
    const { logger, segmentBytes } = this.#options
    if (!this.spaceShort) logger.warn('log-space-short', { segmentBytes, zeroedBytes })
    this.spaceShort = true
    await this.#pause(preparation, SPACE_RETRY_MS)
  }

  #pause(preparation: Preparation, delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(delayMs, () => preparation.wake?.())
      preparation.wake = () => {
        preparation.wake = undefined
        timer.cancel()
        resolve()
      }
    })
  }

  #discard({ slot, file }: Spare): void {
    const removal = async (): Promise<void> => {
      await file.close()
      await this.#options.disk.remove(segmentName(slot))
      this.#slots.delete(slot)
    }
    this.#removals = this.#removals.then(removal).catch((error: unknown) => this.#options.onFailure(error))
  }
}
