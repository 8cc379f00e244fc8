import { assert, type Clock, type Timer } from '@cordillera/base'

/**
 * Calls `turn` again and again until it returns false, each time only when every promise job that the call before has
 * caused has run. Handed in, because only the platform's event loop can tell; `turnsOfNode` does it.
 */
export type RunTurns = (turn: () => boolean) => Promise<void>

/** Turns at one moment after which the simulated program is taken to go round in circles. */
const TURNS_AT_ONE_MOMENT_MAX = 1_000_000
/** What `wallMs` says at virtual time zero. */
const WALL_ORIGIN_MS = 1_767_225_600_000

/**
 * Time that passes only when nothing is left to do: events in order of their time, then of their registration.
 *
 * A turn is one callback and all promise jobs it causes. As in the platform's loop everything due at a moment runs
 * first, then what was deferred until then, in order; what that defers waits for the next round. Work takes no time.
 */
export class VirtualClock implements Clock {
  readonly #runTurns: RunTurns
  readonly #events = new EventQueue()
  #nowMs = 0
  #deferred: (() => void)[] = []
  #round: (() => void)[] = []
  #roundAt = 0
  #turnsAtMoment = 0
  #isRunning = false
  turns = 0

  constructor(options: { readonly runTurns: RunTurns }) {
    this.#runTurns = options.runTurns
  }

  now(): number {
    return this.#nowMs
  }

  wallMs(): number {
    return WALL_ORIGIN_MS + this.#nowMs
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#events.add(this.#nowMs + Math.max(0, delayMs), callback)
  }

  defer(callback: () => void): void {
    this.#deferred.push(callback)
  }

  /**
   * Lets time pass until the condition holds, looked at before every turn: true; or until `timeoutMs` have passed, or
   * nothing would ever happen again: false. Rejects with what a callback threw.
   */
  async runUntil(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    assert(!this.#isRunning, 'time passes once at a time')
    this.#isRunning = true
    const endMs = this.#nowMs + timeoutMs
    let outcome: boolean | undefined
    try {
      await this.#runTurns(() => {
        if (condition()) outcome = true
        else if (!this.#turn(endMs)) outcome = false
        return outcome === undefined
      })
    } finally {
      this.#isRunning = false
    }
    if (outcome === false) this.#nowMs = endMs
    return outcome!
  }

  /** Lets `durationMs` pass. */
  async run(durationMs: number): Promise<void> {
    await this.runUntil(() => false, durationMs)
  }

  /** One callback; false when there is none before the end. */
  #turn(endMs: number): boolean {
    if (this.#roundAt === this.#round.length && !this.#events.isDue(this.#nowMs)) {
      this.#round = this.#deferred
      this.#roundAt = 0
      this.#deferred = []
    }
    const deferred = this.#round[this.#roundAt]
    if (deferred !== undefined) {
      this.#roundAt++
      this.#count()
      deferred()
      return true
    }
    const atMs = this.#events.nextAtMs()
    if (atMs === undefined || atMs > endMs) return false
    if (atMs > this.#nowMs) {
      this.#nowMs = atMs
      this.#turnsAtMoment = 0
    }
    this.#count()
    this.#events.take()()
    return true
  }

  #count(): void {
    this.turns++
    this.#turnsAtMoment++
    assert(this.#turnsAtMoment < TURNS_AT_ONE_MOMENT_MAX, 'time goes on')
  }
}

/** A clock for one life of a process: after {@link ProcessClock.kill} nothing registered with it runs. */
export class ProcessClock implements Clock {
  readonly #clock: Clock
  #isAlive = true

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  now(): number {
    return this.#clock.now()
  }

  wallMs(): number {
    return this.#clock.wallMs()
  }

  after(delayMs: number, callback: () => void): Timer {
    return this.#clock.after(delayMs, () => {
      if (this.#isAlive) callback()
    })
  }

  defer(callback: () => void): void {
    this.#clock.defer(() => {
      if (this.#isAlive) callback()
    })
  }

  kill(): void {
    this.#isAlive = false
  }
}

class Event implements Timer {
  readonly atMs: number
  readonly order: number
  callback: (() => void) | undefined

  constructor(atMs: number, order: number, callback: () => void) {
    this.atMs = atMs
    this.order = order
    this.callback = callback
  }

  cancel(): void {
    this.callback = undefined
  }

  isBefore(other: Event): boolean {
    return this.atMs < other.atMs || (this.atMs === other.atMs && this.order < other.order)
  }
}

/** A binary heap. Cancelled events stay until it is their turn. */
class EventQueue {
  readonly #heap: Event[] = []
  #order = 0

  add(atMs: number, callback: () => void): Event {
    const event = new Event(atMs, this.#order++, callback)
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!event.isBefore(heap[above]!)) break
      heap[at] = heap[above]!
      at = above
    }
    heap[at] = event
    return event
  }

  isDue(nowMs: number): boolean {
    const atMs = this.nextAtMs()
    return atMs !== undefined && atMs <= nowMs
  }

  nextAtMs(): number | undefined {
    while (this.#heap.length > 0 && this.#heap[0]!.callback === undefined) this.#removeFirst()
    return this.#heap[0]?.atMs
  }

  /** The first event's callback; there must be one. */
  take(): () => void {
    const event = this.#heap[0]!
    const callback = event.callback!
    this.#removeFirst()
    event.callback = undefined
    return callback
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && heap[below + 1]!.isBefore(heap[below]!)) below++
      if (!heap[below]!.isBefore(last)) break
      heap[at] = heap[below]!
      at = below
    }
    heap[at] = last
  }
}
