import { describeOperation, type Operation } from './operation.js'

/**
 * The search for a linear order of the operations on one register: Wing and Gong's, with Lowe's memory of the states
 * already refuted ("Testing for linearizability", 2017).
 *
 * Exact shortcuts keep it near linear on real histories: a read that fits now is placed now; a value that is still to
 * be read and will not be written again is not overwritten; writes of one value are placed in the order of their
 * returns, unknown ones in that of their invocations; values nobody will read are all the same. A write of unknown
 * outcome that alone can explain a read did happen, before that read returned; one whose value was never read need not
 * have happened. A conditional write reads one value and writes another at the same moment.
 */

interface Known {
  readonly operation: Operation
  readonly isRead: boolean
  readonly value: number
  /** A write that must find this value; it counts among those who still read it. */
  readonly expected: number | undefined
  readonly invokedAt: number
  readonly returnedAt: number
}

/** One write placed, the reads that followed at once, and what may be tried next. */
interface Step {
  readonly previousValue: number
  /** A known operation, or the value of an unknown write. */
  readonly write: Choice | undefined
  readonly reads: readonly number[]
  readonly lowBefore: number
  readonly choices: readonly Choice[]
  next: number
}

type Choice =
  | { readonly kind: 'known'; readonly at: number; readonly value: number }
  | { readonly kind: 'unknown'; readonly value: number }

/** The value before any write: none. */
const NOTHING = 0
/** Stands for every value that nobody will read any more: they are all alike. */
const DEAD = -1

export class RegisterSearch {
  /** In order of invocation. */
  readonly #known: readonly Known[]
  /** Invocations of writes of unknown outcome by value, ascending. */
  readonly #unknown: ReadonlyMap<number, readonly number[]>
  readonly #unknownUsed = new Map<number, number>()
  readonly #readsLeft: number[]
  readonly #writesLeft: number[]
  readonly #placed: Uint8Array
  /** States met before, with how many unknown writes of each value they had used. */
  readonly #refuted = new Map<string, number[][]>()
  /** Everything before it is placed. */
  #low = 0
  #placedCount = 0
  #value = NOTHING
  #deepestCount = -1
  #deepest = ''
  readonly #values: (string | null)[] = [null]

  constructor(operations: readonly Operation[]) {
    const { known, unknown } = this.#prepare(operations)
    this.#known = known
    this.#unknown = unknown
    this.#placed = new Uint8Array(known.length)
    this.#readsLeft = this.#values.map(() => 0)
    this.#writesLeft = this.#values.map(() => 0)
    for (const { isRead, value, expected } of known) {
      ;(isRead ? this.#readsLeft : this.#writesLeft)[value]!++
      if (expected !== undefined) this.#readsLeft[expected]!++
    }
    for (const [value, invocations] of unknown) this.#writesLeft[value]! += invocations.length
  }

  /** Undefined when there is an order; else what could not be placed in the longest attempt. */
  run(): string | undefined {
    const steps: Step[] = [this.#step(undefined)]
    for (let step = steps.at(-1); step !== undefined; step = steps.at(-1)) {
      if (this.#placedCount === this.#known.length) return undefined
      const choice = step.choices[step.next++]
      if (choice === undefined) {
        this.#undo(step)
        steps.pop()
      } else if (this.#value !== choice.value || choice.kind === 'known') {
        steps.push(this.#step(choice))
      }
    }
    return this.#deepest
  }

  #prepare(operations: readonly Operation[]): { known: Known[]; unknown: Map<number, number[]> } {
    const numbers = new Map<string | null, number>([[null, NOTHING]])
    const numberOf = (value: string | null): number => {
      const number = numbers.get(value) ?? numbers.size
      if (!numbers.has(value)) {
        numbers.set(value, number)
        this.#values.push(value)
      }
      return number
    }
    const writesOf = new Map<number, number>()
    const readBy = new Map<number, number>()
    for (const { kind, value, expected, returnedAt } of operations) {
      const number = numberOf(kind === 'delete' ? null : value)
      if (kind !== 'get') writesOf.set(number, (writesOf.get(number) ?? 0) + 1)
      const read = kind === 'get' ? number : expected === undefined ? undefined : numberOf(expected)
      if (read === undefined || !Number.isFinite(returnedAt)) continue
      readBy.set(read, Math.min(readBy.get(read) ?? Number.POSITIVE_INFINITY, returnedAt))
    }
    const known: Known[] = []
    const unknown = new Map<number, number[]>()
    for (const operation of operations) {
      const isRead = operation.kind === 'get'
      const value = numberOf(operation.kind === 'delete' ? null : operation.value)
      let { invokedAt, returnedAt } = operation
      if (!Number.isFinite(returnedAt)) {
        const readAt = readBy.get(value)
        if (isRead || readAt === undefined) continue
        if (value === NOTHING || writesOf.get(value) !== 1) {
          unknown.set(value, [...(unknown.get(value) ?? []), invokedAt])
          continue
        }
        returnedAt = readAt
      }
      const expected = operation.expected === undefined ? undefined : numberOf(operation.expected)
      known.push({ operation, isRead, value, expected, invokedAt, returnedAt })
    }
    known.sort((a, b) => a.invokedAt - b.invokedAt)
    for (const invocations of unknown.values()) invocations.sort((a, b) => a - b)
    return { known, unknown }
  }

  /** Places the choice and every read that fits then. */
  #step(choice: Choice | undefined): Step {
    const [previousValue, lowBefore] = [this.#value, this.#low]
    if (choice !== undefined) {
      if (choice.kind === 'known') {
        this.#place(choice.at)
        const { expected } = this.#known[choice.at]!
        if (expected !== undefined) this.#readsLeft[expected]!--
      } else this.#unknownUsed.set(choice.value, (this.#unknownUsed.get(choice.value) ?? 0) + 1)
      this.#writesLeft[choice.value]!--
      this.#value = choice.value
    }
    const reads = this.#placeReads()
    const choices = this.#isNew() ? this.#choices() : []
    if (this.#placedCount > this.#deepestCount) this.#noteDeepest()
    return { previousValue, write: choice, reads, lowBefore, choices, next: 0 }
  }

  #undo(step: Step): void {
    for (const at of step.reads) {
      this.#placed[at] = 0
      this.#placedCount--
      this.#readsLeft[this.#value]!++
    }
    const { write } = step
    if (write !== undefined) {
      this.#writesLeft[write.value]!++
      if (write.kind === 'unknown') this.#unknownUsed.set(write.value, this.#unknownUsed.get(write.value)! - 1)
      else {
        this.#placed[write.at] = 0
        this.#placedCount--
        const { expected } = this.#known[write.at]!
        if (expected !== undefined) this.#readsLeft[expected]!++
      }
    }
    this.#value = step.previousValue
    this.#low = step.lowBefore
  }

  #place(at: number): void {
    this.#placed[at] = 1
    this.#placedCount++
    while (this.#placed[this.#low] === 1) this.#low++
  }

  #placeReads(): number[] {
    const reads: number[] = []
    for (let again = true; again; ) {
      again = false
      for (const at of this.#open()) {
        const { isRead, value } = this.#known[at]!
        if (!isRead || value !== this.#value) continue
        this.#place(at)
        this.#readsLeft[value]!--
        reads.push(at)
        again = true
      }
    }
    return reads
  }

  /** What may be placed next: nothing that is not placed returned before it was invoked. */
  #open(): number[] {
    const open: number[] = []
    let firstReturn = Number.POSITIVE_INFINITY
    for (let at = this.#low; at < this.#known.length; at++) {
      if (this.#placed[at] === 1) continue
      const { invokedAt, returnedAt } = this.#known[at]!
      if (invokedAt > firstReturn) break
      firstReturn = Math.min(firstReturn, returnedAt)
      open.push(at)
    }
    // An early break may have let in what a later, shorter operation excludes.
    return open.filter((at) => this.#known[at]!.invokedAt <= firstReturn)
  }

  #choices(): Choice[] {
    const isDead = this.#readsLeft[this.#value] === 0
    const open = this.#open()
    const conditional = open.filter((at) => this.#known[at]!.expected === this.#value).map((at) => this.#choose(at))
    if (!isDead && this.#writesLeft[this.#value] === 0) return conditional
    let firstReturn = Number.POSITIVE_INFINITY
    // Of writes of one value, or of values nobody will read, the one that returns first can always go first.
    const firstByValue = new Map<number, number>()
    for (const at of open) {
      const { isRead, value, expected, returnedAt } = this.#known[at]!
      firstReturn = Math.min(firstReturn, returnedAt)
      if (isRead || expected !== undefined) continue
      const sort = this.#readsLeft[value] === 0 ? DEAD : value
      const former = firstByValue.get(sort)
      if (former === undefined || returnedAt < this.#known[former]!.returnedAt) firstByValue.set(sort, at)
    }
    const dead = firstByValue.get(DEAD)
    if (dead !== undefined && isDead) return [this.#choose(dead)]
    const choices = [...conditional, ...Array.from(firstByValue.values(), (at) => this.#choose(at))]
    for (const [value, invocations] of this.#unknown) {
      const invokedAt = invocations[this.#unknownUsed.get(value) ?? 0]
      if (invokedAt === undefined || invokedAt > firstReturn || this.#readsLeft[value] === 0) continue
      choices.push({ kind: 'unknown', value })
    }
    return choices
  }

  #choose(at: number): Choice {
    return { kind: 'known', at, value: this.#known[at]!.value }
  }

  #isNew(): boolean {
    let state = `${this.#low}|${this.#readsLeft[this.#value] === 0 ? DEAD : this.#value}`
    let left = this.#placedCount - this.#low
    for (let at = this.#low; left > 0; at++) {
      if (this.#placed[at] === 0) continue
      left--
      state += `,${at}`
    }
    const used = Array.from(this.#unknown.keys(), (value) => this.#unknownUsed.get(value) ?? 0)
    const seen = this.#refuted.get(state)
    if (seen === undefined) this.#refuted.set(state, [used])
    // Whoever has used fewer of the unknown writes can do everything that another can.
    else if (seen.some((fewer) => fewer.every((count, i) => count <= used[i]!))) return false
    else seen.push(used)
    return true
  }

  #noteDeepest(): void {
    this.#deepestCount = this.#placedCount
    const open = this.#open().map((at) => describeOperation(this.#known[at]!.operation))
    const value = this.#values[this.#value]
    const reader = this.#known.find(
      ({ isRead, value }, at) => isRead && value === this.#value && this.#placed[at] === 0,
    )
    const waits = reader === undefined ? '' : `; ${describeOperation(reader.operation)} still waits for it`
    this.#deepest =
      `after ${this.#placedCount} of ${this.#known.length} operations the value is ` +
      `${value === null ? 'nothing' : JSON.stringify(value)}${waits}; none of these leads further: ${open.slice(0, 8).join('; ')}`
  }
}
