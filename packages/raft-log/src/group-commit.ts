import { type Clock, CordilleraError, type Timer } from '@cordillera/base'
import type { BatchWriter } from './batch-writer.js'
import type { LoggedGroup } from './logged-group.js'
import { type PendingRecord, pendingBytes } from './pending-record.js'

export interface GroupCommitOptions {
  readonly clock: Clock
  readonly writer: BatchWriter
  readonly sealAfterMs: number
  /** A batch is durable; these groups have records in it. */
  readonly onDurable: (groups: readonly LoggedGroup[]) => void
  readonly onFailure: (error: CordilleraError) => void
}

interface Waiters {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: CordilleraError) => void
}

const DONE = Promise.resolve()

/**
 * Turns of the event loop between the end of one batch and the beginning of the next, in which what the first one has
 * made durable is acknowledged and what that brings arrives. See decisions/0005.
 */
const TURNS_BETWEEN_BATCHES = 4

/**
 * Collects records and makes them durable, one batch after the other.
 *
 * Everything that is enqueued while a write and its sync are under way, and a few turns of the event loop longer, goes
 * into the next batch, and everyone who waits for that one shares a promise. An idle log begins at once, after the
 * microtasks already queued, so that groups which append in the same turn share a batch. A failure is final: a failed fsync may have dropped the very pages that a
 * second one would report as written.
 */
export class GroupCommit {
  readonly #options: GroupCommitOptions
  #pending: PendingRecord[] = []
  #current: Waiters | undefined
  #next: Waiters | undefined
  #running: Promise<void> | undefined
  #failure: CordilleraError | undefined
  #sealTimer: Timer | undefined
  #isSealDue = false
  /** The seal is to be written even if the log is sealed. */
  #isProbeDue = false
  #commits = 0
  pendingBytes = 0

  constructor(options: GroupCommitOptions) {
    this.#options = options
  }

  get failure(): CordilleraError | undefined {
    return this.#failure
  }

  enqueue(record: PendingRecord): void {
    this.#pending.push(record)
    this.pendingBytes += pendingBytes(record)
  }

  /** Resolves when everything enqueued before is durable. */
  flush(): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure)
    if (this.#pending.length === 0 && !this.#next) return this.#current?.promise ?? DONE
    this.#next ??= newWaiters()
    this.#running ??= this.#run()
    return this.#next.promise
  }

  /** Makes everything durable and ends the log with an empty batch. */
  async seal(): Promise<void> {
    await this.flush()
    this.#isSealDue = true
    this.#running ??= this.#run()
    await this.#running
    if (this.#failure) throw this.#failure
  }

  /** Writes an empty batch when nothing else is being written, so that the disk is measured. */
  probe(): void {
    if (this.#running || this.#failure) return
    this.#isSealDue = true
    this.#isProbeDue = true
    this.#running = this.#run()
  }

  /** Seals the log. Nothing is written afterwards. */
  async close(): Promise<void> {
    await this.seal()
    this.#sealTimer?.cancel()
  }

  /** The disk failed: everyone who waits is told, and nobody is served again. */
  fail(cause: unknown): void {
    if (this.#failure) return
    const error = new CordilleraError('DISK_FAILED', { detail: 'a write to the Raft log failed', cause })
    this.#failure = error
    this.#sealTimer?.cancel()
    this.#current?.reject(error)
    this.#next?.reject(error)
    this.#current = this.#next = undefined
    this.#pending = []
    this.#options.onFailure(error)
  }

  async #run(): Promise<void> {
    try {
      await undefined
      while (!this.#failure) {
        if (this.#next) await this.#commit(this.#next)
        else if (this.#isSealDue && this.#pending.length > 0) await this.#commit(newWaiters())
        else if (this.#isSealDue) await this.#seal()
        else break
        await this.#pause()
      }
    } catch (error) {
      this.fail(error)
    }
    this.#running = undefined
    this.#armSeal()
  }

  async #commit(waiters: Waiters): Promise<void> {
    this.#current = waiters
    this.#next = undefined
    const records = this.#pending
    this.#pending = []
    this.pendingBytes = 0
    this.#commits++
    let done = 0
    while (done < records.length) {
      const { taken, groups } = await this.#options.writer.write(records, done)
      if (this.#failure) return
      done += taken
      this.#options.onDurable(groups)
    }
    this.#current = undefined
    waiters.resolve()
  }

  #pause(): Promise<void> {
    const { clock } = this.#options
    return new Promise((resolve) => {
      let turns = TURNS_BETWEEN_BATCHES
      const onTurn = (): void => {
        if (--turns > 0) clock.defer(onTurn)
        else resolve()
      }
      clock.defer(onTurn)
    })
  }

  async #seal(): Promise<void> {
    this.#isSealDue = false
    const isWanted = this.#isProbeDue || !this.#options.writer.isSealed
    this.#isProbeDue = false
    if (isWanted) await this.#options.writer.seal()
  }

  /** Records that nobody flushes, and the seal, are written once nothing was committed for a while. */
  #armSeal(): void {
    if (this.#sealTimer || this.#failure || this.#options.writer.isSealed) return
    const commits = this.#commits
    this.#sealTimer = this.#options.clock.after(this.#options.sealAfterMs, () => {
      this.#sealTimer = undefined
      if (this.#failure || this.#running) return
      if (commits !== this.#commits) {
        this.#armSeal()
        return
      }
      this.#isSealDue = true
      this.#running = this.#run()
    })
  }
}

function newWaiters(): Waiters {
  let resolve!: () => void
  let reject!: (error: CordilleraError) => void
  const promise = new Promise<void>((onDone, onFailure) => {
    resolve = onDone
    reject = onFailure
  })
  promise.catch(() => {})
  return { promise, resolve, reject }
}
