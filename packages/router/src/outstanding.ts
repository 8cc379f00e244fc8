/**
 * The numbers of a router's writes, and which of them are still to be answered.
 *
 * Numbers rise by one and are never used again. What is below {@link lowest} was answered: no request sent from now on
 * carries it, so the ranges may forget what it came to (see `OperationMemory` of ranges). Costs a byte for every number
 * from the lowest outstanding one on.
 */
export class OutstandingSequences {
  /** Answered or not, by number modulo length, which is a power of two. */
  #isAnswered = new Uint8Array(1024)
  #lowest = 1
  #next = 1

  /** Every number below it was answered. */
  get lowest(): number {
    return this.#lowest
  }

  take(): number {
    if (this.#next - this.#lowest === this.#isAnswered.length) this.#grow()
    this.#isAnswered[this.#next & (this.#isAnswered.length - 1)] = 0
    return this.#next++
  }

  onAnswered(sequence: number): void {
    const { length } = this.#isAnswered
    this.#isAnswered[sequence & (length - 1)] = 1
    while (this.#lowest < this.#next && this.#isAnswered[this.#lowest & (length - 1)] === 1) this.#lowest++
  }

  #grow(): void {
    const before = this.#isAnswered
    const grown = new Uint8Array(before.length * 2)
    for (let sequence = this.#lowest; sequence < this.#next; sequence++) {
      grown[sequence & (grown.length - 1)] = before[sequence & (before.length - 1)]!
    }
    this.#isAnswered = grown
  }
}
