/**
 * How many operations of a process's own are with its node at one time. The rest waits here, in order, instead of being
 * refused: who asks shares its memory with who answers, and holds a promise for each operation already.
 */
export interface WindowLimits {
  readonly operationsMax: number
  readonly bytesMax: number
  /** Something is under way now; nothing is any more. */
  readonly onBusy: () => void
  readonly onIdle: () => void
}

export class OperationWindow {
  readonly #limits: WindowLimits
  readonly #waiting: { readonly bytes: number; readonly start: () => void }[] = []
  /** Of `#waiting`, how many have started. */
  #started = 0
  #operations = 0
  #bytes = 0

  constructor(limits: WindowLimits) {
    this.#limits = limits
  }

  /** Starts the operation when there is room, at once if there is. Each is followed by a {@link leave}. */
  enter(bytes: number, start: () => void): void {
    if (this.#operations === 0) this.#limits.onBusy()
    if (this.#waiting.length === 0 && this.#hasRoom(bytes)) this.#start(bytes, start)
    else this.#waiting.push({ bytes, start })
  }

  leave(bytes: number): void {
    this.#operations--
    this.#bytes -= bytes
    while (this.#started < this.#waiting.length) {
      const next = this.#waiting[this.#started]!
      if (!this.#hasRoom(next.bytes)) {
        if (this.#started >= FORGOTTEN_AT_ONCE) this.#forgetStarted()
        return
      }
      this.#started++
      this.#start(next.bytes, next.start)
    }
    this.#forgetStarted()
    if (this.#operations === 0) this.#limits.onIdle()
  }

  #forgetStarted(): void {
    this.#waiting.splice(0, this.#started)
    this.#started = 0
  }

  #start(bytes: number, start: () => void): void {
    this.#operations++
    this.#bytes += bytes
    start()
  }

  #hasRoom(bytes: number): boolean {
    const { operationsMax, bytesMax } = this.#limits
    return this.#operations === 0 || (this.#operations < operationsMax && this.#bytes + bytes <= bytesMax)
  }
}

/** So many at least of what has started are taken out of the queue at once: that moves the rest of it. */
const FORGOTTEN_AT_ONCE = 4096
