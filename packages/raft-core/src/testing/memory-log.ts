import { assert, type LogIndex, type Term } from '@cordillera/base'
import type { Entry } from '../entry.js'
import type { LogReader } from '../log-reader.js'
import type { HardState } from '../ready.js'

/**
 * A host's log in memory that can crash: writes are seen at once, become durable in order with `syncNext`, and are lost
 * with `crash` if they were not. Entries at or below `evictedIndex` are not in memory until they are loaded.
 */
export class MemoryLog implements LogReader {
  compactedIndex: LogIndex = 0
  hardState: HardState = { term: 0, vote: 0, commitIndex: 0 }
  durableHardState: HardState = this.hardState
  evictedIndex: LogIndex = 0
  #compactedTerm: Term = 0
  #entries: Entry[] = []
  #durable: Entry[] = []
  readonly #writes: Write[] = []
  #loaded: { from: LogIndex; to: LogIndex } = { from: 0, to: -1 }

  /** A log that is durable from the start. */
  static of(entries: readonly Entry[], hardState: HardState): MemoryLog {
    const log = new MemoryLog()
    log.#entries = [...entries]
    log.#durable = [...entries]
    log.hardState = hardState
    log.durableHardState = hardState
    return log
  }

  get lastIndex(): LogIndex {
    return this.compactedIndex + this.#entries.length
  }

  get durableLastIndex(): LogIndex {
    return this.compactedIndex + this.#durable.length
  }

  get unsyncedCount(): number {
    return this.#writes.length
  }

  termAt(index: LogIndex): Term | undefined {
    return this.#termIn(this.#entries, index)
  }

  durableTermAt(index: LogIndex): Term | undefined {
    return this.#termIn(this.#durable, index)
  }

  entryAt(index: LogIndex): Entry | undefined {
    return this.#entries[index - this.compactedIndex - 1]
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    assert(from > this.compactedIndex && from <= to && to <= this.lastIndex, 'entries asked for exist')
    const found: Entry[] = []
    let bytes = 0
    for (let index = from; index <= to && this.#isInMemory(index); index++) {
      const entry = this.entryAt(index)!
      bytes += entry.bytes.length
      if (found.length > 0 && bytes > bytesMax) break
      found.push(entry)
    }
    return found.length > 0 ? found : undefined
  }

  write(entries: readonly Entry[], hardState: HardState | undefined): void {
    this.#splice(this.#entries, entries)
    if (hardState !== undefined) this.hardState = hardState
    this.#writes.push({ entries, hardState })
  }

  /** The oldest write becomes durable. */
  syncNext(): void {
    const write = this.#writes.shift()
    assert(write !== undefined, 'there is something to sync')
    this.#splice(this.#durable, write.entries)
    if (write.hardState !== undefined) this.durableHardState = write.hardState
  }

  crash(): void {
    this.#entries = [...this.#durable]
    this.hardState = this.durableHardState
    this.#writes.length = 0
  }

  load(from: LogIndex, to: LogIndex): void {
    this.#loaded = { from, to }
  }

  compactTo(index: LogIndex): void {
    assert(index >= this.compactedIndex && index <= this.durableLastIndex, 'what is compacted is durable')
    this.#compactedTerm = this.termAt(index)!
    this.#entries.splice(0, index - this.compactedIndex)
    this.#durable.splice(0, index - this.compactedIndex)
    this.compactedIndex = index
  }

  /** A snapshot has taken the place of everything up to `index`, durably; what was behind it is gone. */
  restart(index: LogIndex, term: Term): void {
    this.#entries = []
    this.#durable = []
    this.#writes.forEach(({ hardState }, at) => {
      this.#writes[at] = { entries: [], hardState }
    })
    this.compactedIndex = index
    this.#compactedTerm = term
    this.#loaded = { from: 0, to: -1 }
  }

  #isInMemory(index: LogIndex): boolean {
    return index > this.evictedIndex || (index >= this.#loaded.from && index <= this.#loaded.to)
  }

  #termIn(entries: readonly Entry[], index: LogIndex): Term | undefined {
    return index === this.compactedIndex ? this.#compactedTerm : entries[index - this.compactedIndex - 1]?.term
  }

  #splice(target: Entry[], entries: readonly Entry[]): void {
    if (entries.length === 0) return
    const at = entries[0]!.index - this.compactedIndex - 1
    assert(at >= 0 && at <= target.length, 'a log has no gaps')
    target.length = at
    for (const entry of entries) target.push(entry)
  }
}

interface Write {
  readonly entries: readonly Entry[]
  readonly hardState: HardState | undefined
}
