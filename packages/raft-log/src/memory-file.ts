import { Buffer } from 'node:buffer'
import type { Random } from '@cordillera/base'

const PAGE_BYTES = 4096
const SECTOR_BYTES = 512
const SECTORS_PER_PAGE = PAGE_BYTES / SECTOR_BYTES

/** A sync under way: the sectors as they were when it began. */
export interface MemorySync {
  readonly sectors: Map<number, Buffer>
  readonly size: number
}

/**
 * The bytes of one file of a `MemoryDisk`: what reads see, and what would be there after losing power now.
 *
 * Pages of zeros take no memory. Durability is kept by the sector: a crash may keep any of those that were written and
 * not synced.
 */
export class MemoryFile {
  #current = new Map<number, Buffer>()
  #durable = new Map<number, Buffer>()
  #size = 0
  #durableSize = 0
  /** In the order of their first writing since the last sync. */
  #unsynced = new Set<number>()
  readonly #syncs = new Set<MemorySync>()

  get size(): number {
    return this.#size
  }

  read(target: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(target.length, this.#size - position))
    for (let done = 0; done < length; ) {
      const at = position + done
      const within = at % PAGE_BYTES
      const count = Math.min(length - done, PAGE_BYTES - within)
      const page = this.#current.get(Math.floor(at / PAGE_BYTES))
      if (page) target.set(page.subarray(within, within + count), done)
      else target.fill(0, done, done + count)
      done += count
    }
    return length
  }

  write(bytes: Uint8Array, position: number): void {
    put(this.#current, bytes, position)
    this.#size = Math.max(this.#size, position + bytes.length)
    const last = Math.floor((position + bytes.length - 1) / SECTOR_BYTES)
    for (let sector = Math.floor(position / SECTOR_BYTES); sector <= last; sector++) this.#unsynced.add(sector)
  }

  truncate(size: number): void {
    cut(this.#current, size)
    this.#size = size
  }

  /** Of everything unsynced, or of the sectors that these bytes lie in. */
  beginSync(from = 0, to = Number.POSITIVE_INFINITY): MemorySync {
    const sectors = new Map<number, Buffer>()
    for (const sector of this.#unsynced) {
      if ((sector + 1) * SECTOR_BYTES > from && sector * SECTOR_BYTES < to) sectors.set(sector, this.#sector(sector))
    }
    for (const sector of sectors.keys()) this.#unsynced.delete(sector)
    const sync = { sectors, size: this.#size }
    this.#syncs.add(sync)
    return sync
  }

  endSync(sync: MemorySync): void {
    if (!this.#syncs.delete(sync)) return
    for (const [sector, bytes] of sync.sectors) put(this.#durable, bytes, sector * SECTOR_BYTES)
    this.#durableSize = sync.size
    cut(this.#durable, sync.size)
  }

  /** The sync failed: what it was to write stays readable and is not written by any later sync. */
  dropSync(sync: MemorySync): void {
    this.#syncs.delete(sync)
  }

  /** The process died, the kernel did not: reads see what they saw, and what was being synced is not durable yet. */
  abandonSyncs(): void {
    for (const sync of this.#syncs) for (const sector of sync.sectors.keys()) this.#unsynced.add(sector)
    this.#syncs.clear()
  }

  crash(keep: 'none' | Random): void {
    const pending = new Map<number, Buffer>()
    for (const sync of this.#syncs) for (const [sector, bytes] of sync.sectors) pending.set(sector, bytes)
    for (const sector of this.#unsynced) pending.set(sector, this.#sector(sector))
    if (keep !== 'none') this.#keepSome(pending, keep)
    this.#current = clonePages(this.#durable)
    this.#size = this.#durableSize
    this.#unsynced = new Set()
    this.#syncs.clear()
  }

  flipBit(offset: number, bit: number): void {
    for (const pages of [this.#current, this.#durable]) {
      const page = pageOf(pages, Math.floor(offset / PAGE_BYTES))
      page[offset % PAGE_BYTES]! ^= 1 << bit
    }
  }

  overwrite(offset: number, bytes: Uint8Array): void {
    put(this.#current, bytes, offset)
    put(this.#durable, bytes, offset)
    this.#size = Math.max(this.#size, offset + bytes.length)
    this.#durableSize = Math.max(this.#durableSize, offset + bytes.length)
  }

  truncateDurably(size: number): void {
    this.truncate(size)
    cut(this.#durable, size)
    this.#durableSize = size
  }

  /** A file with the same bytes, all durable. */
  clone(): MemoryFile {
    const copy = new MemoryFile()
    copy.#current = clonePages(this.#current)
    copy.#durable = clonePages(this.#current)
    copy.#size = copy.#durableSize = this.#size
    return copy
  }

  #keepSome(pending: Map<number, Buffer>, random: Random): void {
    const manner = random.below(4)
    const upTo = random.below(pending.size + 1)
    let position = 0
    let end = 0
    for (const [sector, bytes] of pending) {
      const isKept = manner === 1 || (manner === 2 && position < upTo) || (manner === 3 && random.below(2) === 0)
      position++
      if (!isKept) continue
      put(this.#durable, bytes, sector * SECTOR_BYTES)
      end = Math.max(end, (sector + 1) * SECTOR_BYTES)
    }
    this.#durableSize = Math.min(Math.max(this.#durableSize, end), Math.max(this.#size, this.#durableSize))
    if (this.#size < this.#durableSize && random.below(2) === 0) {
      this.#durableSize = this.#size
      cut(this.#durable, this.#size)
    }
  }

  #sector(sector: number): Buffer {
    const bytes = Buffer.alloc(SECTOR_BYTES)
    const page = this.#current.get(Math.floor(sector / SECTORS_PER_PAGE))
    const at = (sector % SECTORS_PER_PAGE) * SECTOR_BYTES
    if (page) page.copy(bytes, 0, at, at + SECTOR_BYTES)
    return bytes
  }
}

function put(pages: Map<number, Buffer>, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const at = position + done
    const number = Math.floor(at / PAGE_BYTES)
    const within = at % PAGE_BYTES
    const chunk = bytes.subarray(done, done + PAGE_BYTES - within)
    if (chunk.length === PAGE_BYTES && isZero(chunk)) pages.delete(number)
    else pageOf(pages, number).set(chunk, within)
    done += chunk.length
  }
}

function pageOf(pages: Map<number, Buffer>, number: number): Buffer {
  let page = pages.get(number)
  if (!page) {
    page = Buffer.alloc(PAGE_BYTES)
    pages.set(number, page)
  }
  return page
}

function cut(pages: Map<number, Buffer>, size: number): void {
  const last = Math.floor(size / PAGE_BYTES)
  for (const number of pages.keys()) if (number > last) pages.delete(number)
  pages.get(last)?.fill(0, size % PAGE_BYTES)
}

function clonePages(pages: Map<number, Buffer>): Map<number, Buffer> {
  const copy = new Map<number, Buffer>()
  for (const [number, page] of pages) copy.set(number, Buffer.from(page))
  return copy
}

const ZEROS = Buffer.alloc(PAGE_BYTES)

function isZero(chunk: Uint8Array): boolean {
  return ZEROS.equals(chunk)
}
