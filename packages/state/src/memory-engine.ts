import { Buffer } from 'node:buffer'
import { assert, type Clock, CordilleraError, type Key } from '@cordillera/base'
import { lowerBound } from './sorted-runs.js'
import type { EngineBatch, EngineIterator, EngineSnapshot, StateEngine } from './state-engine.js'

/**
 * A {@link StateEngine} in memory, for tests and simulation: sorted, deterministic, and able to crash.
 *
 * A batch becomes visible one turn of the clock after `write()` and durable, resolving, `writeDelayMs` (or one more
 * turn) later, as a real one does: what is visible may still be lost. Iterators take a turn a step. {@link crash} and {@link reopen} return a new
 * engine over what was durable and leave this one behind: it refuses reads, and its writes never come to an end.
 */
export class MemoryEngine implements StateEngine {
  readonly #clock: Clock
  readonly #writeDelayMs: number
  /** Visible. Replaced, never changed. */
  #visible: Table
  #durable: Table
  #status: 'open' | 'closed' | 'dead' = 'open'
  #writeFailure: unknown
  #lastWrite: Promise<void> = Promise.resolve()
  #openSnapshots = 0

  constructor(options: { readonly clock: Clock; readonly writeDelayMs?: number }) {
    this.#clock = options.clock
    this.#writeDelayMs = options.writeDelayMs ?? 0
    this.#visible = EMPTY
    this.#durable = EMPTY
  }

  /** From now on writes reject with `error` and write nothing; undefined heals. */
  failWrites(error: unknown): void {
    this.#writeFailure = error
  }

  /** Snapshots not closed yet: for tests that look for leaks. */
  get openSnapshots(): number {
    return this.#openSnapshots
  }

  /** The power fails: the engine after the restart, with what was durable. Writes under way are lost. */
  crash(): MemoryEngine {
    return this.#successor(this.#durable)
  }

  /** The process was killed, the machine was not: as {@link crash}, but what was visible has survived. */
  kill(): MemoryEngine {
    return this.#successor(this.#visible)
  }

  /** Another engine, not opened by anyone, with what is visible now, all of it durable: an image of the disk. */
  clone(): MemoryEngine {
    return this.#withTable(this.#visible)
  }

  /** Opens again what was closed. */
  reopen(): MemoryEngine {
    assert(this.#status === 'closed', 'only a closed engine is opened again')
    return this.#successor(this.#durable)
  }

  get(key: Key): Uint8Array | undefined {
    this.#assertOpen()
    const { keys, values } = this.#visible
    const at = lowerBound(keys, key)
    return keys[at] === key ? Buffer.from(values[at]!) : undefined
  }

  snapshot(): EngineSnapshot {
    this.#assertOpen()
    this.#openSnapshots++
    const table = this.#visible
    let open = true
    return {
      iterate: (span) => new TableIterator(table, span, (step) => this.#nextTurn(step)),
      close: async () => {
        if (open) this.#openSnapshots--
        open = false
      },
    }
  }

  batch(): EngineBatch {
    if (this.#status === 'closed') throw closed()
    const writes = new Map<Key, Uint8Array | undefined>()
    let written = false
    return {
      put: (key, value) => void writes.set(key, Buffer.from(value)),
      delete: (key) => void writes.set(key, undefined),
      write: () => {
        assert(!written, 'a batch is written once')
        written = true
        return this.#enqueueWrite(writes)
      },
    }
  }

  async approximateBytes({ start, end }: { readonly start: Key; readonly end: Key }): Promise<number> {
    const { keys, values } = this.#visible
    let bytes = 0
    for (const [i, key] of keys.entries()) if (key >= start && key < end) bytes += key.length + values[i]!.length
    return bytes
  }

  async close(): Promise<void> {
    if (this.#status !== 'open') return
    this.#status = 'closed'
    await this.#lastWrite
  }

  #enqueueWrite(writes: ReadonlyMap<Key, Uint8Array | undefined>): Promise<void> {
    if (this.#status === 'closed') return Promise.reject(closed())
    const write = this.#lastWrite.then(() => this.#write(writes))
    this.#lastWrite = write.catch(() => undefined)
    return write
  }

  #write(writes: ReadonlyMap<Key, Uint8Array | undefined>): Promise<void> {
    return new Promise((resolve, reject) => {
      const whenAlive = (step: () => void) => (): void => {
        if (this.#status !== 'dead') step()
      }
      const onDurable = whenAlive(() => {
        this.#durable = this.#visible
        resolve()
      })
      this.#clock.defer(
        whenAlive(() => {
          if (this.#writeFailure !== undefined) return reject(this.#writeFailure)
          this.#visible = merged(this.#visible, writes)
          if (this.#writeDelayMs > 0) this.#clock.after(this.#writeDelayMs, onDurable)
          else this.#clock.defer(onDurable)
        }),
      )
    })
  }

  #successor(table: Table): MemoryEngine {
    this.#status = 'dead'
    return this.#withTable(table)
  }

  #withTable(table: Table): MemoryEngine {
    const engine = new MemoryEngine({ clock: this.#clock, writeDelayMs: this.#writeDelayMs })
    engine.#visible = table
    engine.#durable = table
    return engine
  }

  /** The result of `step`, a turn later; a rejection once the engine is closed, never anything once it is dead. */
  #nextTurn<T>(step: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#clock.defer(() => {
        if (this.#status === 'open') resolve(step())
        else if (this.#status === 'closed') reject(closed())
      })
    })
  }

  #assertOpen(): void {
    if (this.#status !== 'open') throw closed()
  }
}

function closed(): CordilleraError {
  return new CordilleraError('CLOSED', { detail: 'the engine is not open' })
}

/** Keys in order, and their values at the same places. Immutable. */
interface Table {
  readonly keys: readonly Key[]
  readonly values: readonly Uint8Array[]
}

const EMPTY: Table = { keys: [], values: [] }

function merged(table: Table, writes: ReadonlyMap<Key, Uint8Array | undefined>): Table {
  const keys: Key[] = []
  const values: Uint8Array[] = []
  let at = 0
  const copyBelow = (limit: Key | undefined): void => {
    for (; at < table.keys.length && (limit === undefined || table.keys[at]! < limit); at++) {
      keys.push(table.keys[at]!)
      values.push(table.values[at]!)
    }
  }
  for (const key of [...writes.keys()].sort()) {
    copyBelow(key)
    if (table.keys[at] === key) at++
    const value = writes.get(key)
    if (value === undefined) continue
    keys.push(key)
    values.push(value)
  }
  copyBelow(undefined)
  return { keys, values }
}

type NextTurn = <T>(step: () => T) => Promise<T>

class TableIterator implements EngineIterator {
  readonly #table: Table
  readonly #reverse: boolean
  readonly #nextTurn: NextTurn
  #from: number
  #to: number

  constructor(
    table: Table,
    span: { readonly start: Key; readonly end: Key | null; readonly reverse: boolean },
    nextTurn: NextTurn,
  ) {
    this.#table = table
    this.#nextTurn = nextTurn
    this.#reverse = span.reverse
    this.#from = lowerBound(table.keys, span.start)
    this.#to = span.end === null ? table.keys.length : lowerBound(table.keys, span.end)
  }

  next(count: number): Promise<readonly (readonly [Key, Uint8Array])[]> {
    return this.#nextTurn(() => this.#take(count))
  }

  async close(): Promise<void> {}

  #take(count: number): (readonly [Key, Uint8Array])[] {
    const { keys, values } = this.#table
    const entries: (readonly [Key, Uint8Array])[] = []
    while (entries.length < count && this.#from < this.#to) {
      const at = this.#reverse ? --this.#to : this.#from++
      entries.push([keys[at]!, Buffer.from(values[at]!)])
    }
    return entries
  }
}
