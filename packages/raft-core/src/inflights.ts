import type { LogIndex } from '@cordillera/base'

/**
 * The window of append messages that a leader has sent to one peer and not yet seen answered, counted in messages and
 * in bytes of entries.
 *
 * A ring that begins empty and grows by doubling, so that an idle group holds no slots; a ring that has grown large is
 * given back when the window empties. The last message may take the window above its limit in bytes, so that an entry
 * of any size can be sent.
 */
export class Inflights {
  #lastIndexes: number[] = NO_SLOTS
  #sizes: number[] = NO_SLOTS
  #start = 0
  #count = 0
  #bytes = 0

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  isFull(messagesMax: number, bytesMax: number): boolean {
    return this.#count >= messagesMax || this.#bytes >= bytesMax
  }

  /** Notes a message whose last entry is `lastIndex`; ascending from call to call. */
  add(lastIndex: LogIndex, bytes: number): void {
    if (this.#count === this.#lastIndexes.length) this.#grow()
    const at = (this.#start + this.#count) % this.#lastIndexes.length
    this.#lastIndexes[at] = lastIndex
    this.#sizes[at] = bytes
    this.#count++
    this.#bytes += bytes
  }

  /** Forgets every message that ends at or before `index`. */
  freeTo(index: LogIndex): void {
    const capacity = this.#lastIndexes.length
    while (this.#count > 0 && this.#lastIndexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!
      this.#count--
      this.#start = this.#start + 1 === capacity ? 0 : this.#start + 1
    }
    if (this.#count === 0 && capacity > KEPT_SLOTS_MAX) this.clear()
  }

  clear(): void {
    this.#lastIndexes = NO_SLOTS
    this.#sizes = NO_SLOTS
    this.#start = 0
    this.#count = 0
    this.#bytes = 0
  }

  #grow(): void {
    const old = this.#lastIndexes.length
    const capacity = old === 0 ? FIRST_SLOTS : old * 2
    const lastIndexes = new Array<number>(capacity).fill(0)
    const sizes = new Array<number>(capacity).fill(0)
    for (let i = 0; i < this.#count; i++) {
      lastIndexes[i] = this.#lastIndexes[(this.#start + i) % old]!
      sizes[i] = this.#sizes[(this.#start + i) % old]!
    }
    this.#lastIndexes = lastIndexes
    this.#sizes = sizes
    this.#start = 0
  }
}

const FIRST_SLOTS = 4
const KEPT_SLOTS_MAX = 16
/** Shared and never written: a full ring grows before it takes anything. */
const NO_SLOTS: number[] = []
