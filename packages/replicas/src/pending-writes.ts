import type { PendingBlock } from './proposals.js'

/**
 * Write blocks of one replica that are not proposed yet: *gathering*, or *frozen* for the timestamps that a request on
 * its way will bring. What gathers after the request has left waits for the next one. Order is kept.
 */
export class PendingWrites {
  #gathering: PendingBlock[] = []
  #frozen: PendingBlock[] = []
  #bytes = 0

  get isEmpty(): boolean {
    return this.#gathering.length === 0 && this.#frozen.length === 0
  }

  /** Of blocks, frozen ones included. */
  get bytes(): number {
    return this.#bytes
  }

  add(block: PendingBlock): void {
    this.#gathering.push(block)
    this.#bytes += block.block.length
  }

  /** Freezes everything; returns the number of commands. */
  freeze(): number {
    if (this.#frozen.length === 0) this.#frozen = this.#gathering
    else for (const block of this.#gathering) this.#frozen.push(block)
    this.#gathering = []
    let count = 0
    for (const block of this.#frozen) count += block.count
    return count
  }

  /** Frozen blocks gather again, in front. */
  thaw(): void {
    if (this.#frozen.length === 0) return
    this.#gathering = this.#frozen.concat(this.#gathering)
    this.#frozen = []
  }

  takeFrozen(): readonly PendingBlock[] {
    const blocks = this.#frozen
    this.#frozen = []
    for (const { block } of blocks) this.#bytes -= block.length
    return blocks
  }

  takeAll(): readonly PendingBlock[] {
    this.thaw()
    const blocks = this.#gathering
    this.#gathering = []
    this.#bytes = 0
    return blocks
  }
}
