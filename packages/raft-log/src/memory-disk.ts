import { Buffer } from 'node:buffer'
import type { Clock, Random } from '@cordillera/base'
import type { Disk, DiskFile } from './disk.js'
import { MemoryFile } from './memory-file.js'

/** What survives a crash besides what was synced: everything (the process alone died), nothing, or what chance keeps. */
export type CrashKeeps = 'all' | 'none' | Random

export type DiskOperation =
  | 'list'
  | 'open'
  | 'rename'
  | 'remove'
  | 'syncDirectory'
  | 'size'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'

export interface Fault {
  readonly operation: DiskOperation
  readonly code: 'EIO' | 'ENOSPC'
  /** The file concerned; any by default. */
  readonly name?: string
  /** How often; once by default. */
  readonly times?: number
}

export interface MemoryDiskOptions {
  readonly clock: Clock
  /** Asked for every operation; 0, the default, completes it when the turn ends. */
  readonly latencyMs?: (operation: DiskOperation, bytes: number) => number
  /** Writes that would make the disk hold more fail with ENOSPC. */
  readonly capacityBytes?: number
}

interface DirectoryChange {
  readonly apply: (names: Map<string, MemoryFile>) => void
}

interface WriteUnderWay {
  readonly file: MemoryFile
  readonly bytes: Buffer
  readonly position: number
}

interface PendingFault {
  readonly fault: Fault
  times: number
}

/** A place in a file; the same name and position in a file that was begun more often is another one. */
export interface WrittenAt {
  readonly name: string
  readonly begun: number
  readonly position: number
}

/**
 * A disk in memory that loses power: the reference implementation of `Disk` for tests and the simulator.
 *
 * Bytes are durable when a sync that began after their write has completed, names when a `syncDirectory` has. A failed
 * sync drops what it was to write: the bytes can still be read, and no later sync makes them durable (as Linux does).
 * Everything completes through the given clock, so that a run is as deterministic as its clock.
 *
 * After {@link crash} the files that were open are dead: their operations never complete, as for a process that is no
 * more. A write's chunks that changed before it completed are a defect of the caller and reject the write.
 */
export class MemoryDisk implements Disk {
  readonly #clock: Clock
  readonly #latencyMs: (operation: DiskOperation, bytes: number) => number
  readonly #faults: PendingFault[] = []
  #names = new Map<string, MemoryFile>()
  #durableNames = new Map<string, MemoryFile>()
  #changes: DirectoryChange[] = []
  #stalled: (() => void)[] | undefined
  readonly #writesUnderWay = new Set<WriteUnderWay>()
  #life = 0
  #lastWritten: WrittenAt | undefined
  /** How often each file was begun anew: written at 0. A segment that is recycled is. */
  readonly #begun = new Map<string, number>()
  capacityBytes: number
  /** How often each operation was called. */
  readonly counts: Record<DiskOperation, number> = {
    list: 0,
    open: 0,
    rename: 0,
    remove: 0,
    syncDirectory: 0,
    size: 0,
    read: 0,
    write: 0,
    sync: 0,
    truncate: 0,
  }

  constructor(options: MemoryDiskOptions) {
    this.#clock = options.clock
    this.#latencyMs = options.latencyMs ?? (() => 0)
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY
  }

  list(): Promise<string[]> {
    return this.#run('list', '', 0, () => [...this.#names.keys()])
  }

  open(name: string, options: { readonly create: boolean }): Promise<DiskFile> {
    return this.#run('open', name, 0, () => {
      let file = this.#names.get(name)
      if (!file) {
        if (!options.create) throw diskError('ENOENT', `no such file: ${name}`)
        file = new MemoryFile()
        const created = file
        this.#change((names) => names.set(name, created))
      }
      return this.#handle(name, file)
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', from, 0, () => {
      const file = this.#existing(from)
      this.#change((names) => {
        names.delete(from)
        names.set(to, file)
      })
    })
  }

  remove(name: string): Promise<void> {
    return this.#run('remove', name, 0, () => {
      this.#existing(name)
      this.#change((names) => names.delete(name))
    })
  }

  syncDirectory(): Promise<void> {
    const changes = this.#changes.length
    return this.#run('syncDirectory', '', 0, () => {
      for (const { apply } of this.#changes.splice(0, changes)) apply(this.#durableNames)
    })
  }

  freeBytes(): Promise<number> {
    return Promise.resolve(Math.max(0, this.capacityBytes - this.usedBytes))
  }

  /**
   * Loses power, or the process alone (`keep: 'all'`: nothing is lost, and nothing has become durable). Of each file's unsynced sectors, writes under way included, chance
   * keeps none, all, those written up to a point, or any subset; of the unsynced changes of names it keeps those up to a point. Faults and stalls end.
   */
  crash(options: { readonly keep: CrashKeeps }): void {
    const { keep } = options
    if (keep !== 'none') for (const { file, bytes, position } of this.#writesUnderWay) file.write(bytes, position)
    this.#writesUnderWay.clear()
    if (keep === 'all') {
      for (const file of this.#names.values()) file.abandonSyncs()
    } else {
      const changes = keep === 'none' ? 0 : keep.below(this.#changes.length + 1)
      for (const { apply } of this.#changes.slice(0, changes)) apply(this.#durableNames)
      this.#changes = []
      for (const file of new Set(this.#durableNames.values())) file.crash(keep)
      this.#names = new Map(this.#durableNames)
    }
    this.#stalled = undefined
    this.#faults.length = 0
    this.#life++
  }

  /** The next matching operations fail. */
  fail(fault: Fault): void {
    this.#faults.push({ fault, times: fault.times ?? 1 })
  }

  /** What was still to fail does not. */
  clearFaults(): void {
    this.#faults.length = 0
  }

  /** Where the last {@link DiskFile.writeThrough} was begun. */
  get lastWrittenThrough(): WrittenAt | undefined {
    return this.#lastWritten
  }

  /** Syncs do not complete until {@link releaseSyncs}. */
  stallSyncs(): void {
    this.#stalled ??= []
  }

  releaseSyncs(): void {
    const stalled = this.#stalled ?? []
    this.#stalled = undefined
    for (const complete of stalled) complete()
  }

  /** Rot: flips one bit, on disk and in every later read. */
  flipBit(name: string, offset: number, bit: number): void {
    this.#existing(name).flipBit(offset, bit)
  }

  /** Cuts the file off, durably. */
  truncateFile(name: string, size: number): void {
    this.#existing(name).truncateDurably(size)
  }

  /** Overwrites bytes, durably, behind everyone's back. */
  overwrite(name: string, offset: number, bytes: Uint8Array): void {
    this.#existing(name).overwrite(offset, bytes)
  }

  /** A new file, durably, behind everyone's back. */
  place(name: string, bytes: Uint8Array): void {
    const file = new MemoryFile()
    file.overwrite(0, bytes)
    this.#names.set(name, file)
    this.#durableNames.set(name, file)
  }

  /** What a read of the whole file would find now. */
  contents(name: string): Buffer {
    const file = this.#existing(name)
    const bytes = Buffer.alloc(file.size)
    file.read(bytes, 0)
    return bytes
  }

  /** The names present, sorted. */
  names(): string[] {
    return [...this.#names.keys()].sort()
  }

  /** Another disk with the same bytes, all of them durable. Its operations complete through `clock`. */
  clone(clock: Clock): MemoryDisk {
    const copy = new MemoryDisk({ clock, latencyMs: this.#latencyMs, capacityBytes: this.capacityBytes })
    for (const [name, file] of this.#names) copy.#names.set(name, file.clone())
    copy.#durableNames = new Map(copy.#names)
    return copy
  }

  get usedBytes(): number {
    let bytes = 0
    for (const file of this.#names.values()) bytes += file.size
    return bytes
  }

  #handle(name: string, file: MemoryFile): DiskFile {
    let isClosed = false
    const run = <T>(operation: DiskOperation, bytes: number, action: () => T): Promise<T> =>
      isClosed ? Promise.reject(diskError('EBADF', `${name} is closed`)) : this.#run(operation, name, bytes, action)
    const write = (chunks: readonly Uint8Array[], position: number): Promise<void> => {
      const bytes = Buffer.concat(chunks)
      if (position === 0) this.#begun.set(name, (this.#begun.get(name) ?? 0) + 1)
      const underWay = { file, bytes, position }
      if (!isClosed) this.#writesUnderWay.add(underWay)
      return run('write', bytes.length, () => {
        this.#writesUnderWay.delete(underWay)
        if (!Buffer.concat(chunks).equals(bytes)) throw diskError('EINVAL', 'a chunk changed while it was written')
        const growth = Math.max(0, position + bytes.length - file.size)
        if (growth > 0 && this.usedBytes + growth > this.capacityBytes) throw diskError('ENOSPC', 'the disk is full')
        file.write(bytes, position)
      })
    }
    const sync = (from?: number, to?: number): Promise<void> => {
      const begun = file.beginSync(from, to)
      return run('sync', 0, () => file.endSync(begun)).catch((error: unknown) => {
        file.dropSync(begun)
        throw error
      })
    }
    return {
      size: () => run('size', 0, () => file.size),
      read: (target, position) => run('read', target.length, () => file.read(target, position)),
      write,
      writeThrough: async (chunks, position) => {
        this.#lastWritten = { name, begun: this.#begun.get(name) ?? 0, position }
        const byteLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
        await write(chunks, position)
        await sync(position, position + byteLength)
      },
      sync: () => sync(),
      truncate: (size) => run('truncate', 0, () => file.truncate(size)),
      close: () => {
        isClosed = true
        return Promise.resolve()
      },
    }
  }

  /** Runs the action when the operation completes, in the life in which it was called. */
  #run<T>(operation: DiskOperation, name: string, bytes: number, action: () => T): Promise<T> {
    this.counts[operation]++
    const life = this.#life
    const code = this.#takeFault(operation, name)
    return new Promise<T>((resolve, reject) => {
      const complete = (): void => {
        if (life !== this.#life) return
        if (operation === 'sync' && this.#stalled) {
          this.#stalled.push(complete)
          return
        }
        try {
          if (code) throw diskError(code, `${operation} of ${name} failed`)
          resolve(action())
        } catch (error) {
          reject(error)
        }
      }
      const latencyMs = this.#latencyMs(operation, bytes)
      if (latencyMs > 0) this.#clock.after(latencyMs, complete)
      else this.#clock.defer(complete)
    })
  }

  #takeFault(operation: DiskOperation, name: string): string | undefined {
    const position = this.#faults.findIndex(({ fault }) => {
      return fault.operation === operation && (fault.name === undefined || fault.name === name)
    })
    if (position < 0) return undefined
    const pending = this.#faults[position]!
    pending.times--
    if (pending.times === 0) this.#faults.splice(position, 1)
    return pending.fault.code
  }

  #change(apply: (names: Map<string, MemoryFile>) => void): void {
    apply(this.#names)
    this.#changes.push({ apply })
  }

  #existing(name: string): MemoryFile {
    const file = this.#names.get(name)
    if (!file) throw diskError('ENOENT', `no such file: ${name}`)
    return file
  }
}

function diskError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code })
}
