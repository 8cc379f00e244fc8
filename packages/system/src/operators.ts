import { type Clock, CordilleraError, type Logger, type Version } from '@cordillera/base'
import { systemKey } from '@cordillera/ranges'
import type { IdAllocator } from './id-allocator.js'
import { type OperatorRecord, type OperatorTask, type Subject, subjectsOf, tryReadOperator } from './operator.js'
import type { SystemTable } from './system-table.js'

/**
 * The operators of the cluster, run beside the leader of the system range.
 *
 * One is durable before anything is done for it. It is tried again, as it is, until it is done, its deadline has passed, or
 * somebody cancels it; a driver that takes over goes on with those that it finds running. A driver that was deposed may go on
 * for a moment: what it does is what the next one does, and its records are written over nobody's. One operator a range, and one
 * a node, at a time.
 */
export interface OperatorActions {
  /**
   * Tries for so long; resolves, with what people are told of it, when it is done. Rejects with `UNAVAILABLE` or another code that
   * may pass when it is not yet; with `CONFLICT`, `BAD_REQUEST` or `NOT_FOUND` when it cannot be.
   */
  perform(task: OperatorTask, timeoutMs: number): Promise<object | undefined>
  /** Undoes what is half done, as far as that can be. */
  abandon(task: OperatorTask): Promise<void>
}

export interface OperatorsParts {
  readonly table: Pick<SystemTable, 'list' | 'put' | 'delete'>
  readonly ids: Pick<IdAllocator, 'allocate'>
  readonly actions: OperatorActions
  readonly clock: Clock
  readonly logger: Logger
}

interface Running {
  record: OperatorRecord
  version: Version
  isCancelled: boolean
  readonly waiters: Set<() => void>
}

const PREFIX = systemKey('operator')
/** One try; between tries it is looked whether the operator is still wanted. */
const TRY_MS = 5_000
const PAUSE_MS = 300
const RECENT_MAX = 200
const FINAL: readonly string[] = ['CONFLICT', 'BAD_REQUEST', 'NOT_FOUND']

export class Operators {
  readonly #parts: OperatorsParts
  readonly #running = new Map<number, Running>()
  /** Ended ones, the newest last. */
  #recent: OperatorRecord[] = []
  /** For which one is being begun. */
  /** What is not durable yet. */
  readonly #beginning = new Map<Subject, OperatorTask>()
  #isClosed = false

  constructor(parts: OperatorsParts) {
    this.#parts = parts
  }

  /** Reads what there is and goes on with it. Once, before anything else. */
  async load(): Promise<void> {
    const rows = await this.#parts.table.list(PREFIX)
    for (const { value, version } of rows) {
      const record = tryReadOperator(value)
      if (record === undefined) continue
      if (record.state === 'running') this.#run({ record, version, isCancelled: false, waiters: new Set() })
      else this.#recent.push(record)
    }
    await this.#forgetOld()
  }

  /** Running and recent ones, the newest first. */
  list(): OperatorRecord[] {
    const running = Array.from(this.#running.values(), ({ record }) => record)
    return [...running, ...this.#recent].sort((a, b) => b.operatorId - a.operatorId)
  }

  /** The operator that runs for it, if one does. */
  of(subject: Subject): OperatorRecord | undefined {
    for (const { record } of this.#running.values()) if (subjectsOf(record.task).includes(subject)) return record
    return undefined
  }

  /** What is being done for it, or about to be: from the call of {@link start} on. */
  taskOf(subject: Subject): OperatorTask | undefined {
    return this.of(subject)?.task ?? this.#beginning.get(subject)
  }

  /** Those that run, or have ended lately, as far as it is known here: well in the last `doneMs`, badly in the last `failedMs`. */
  recent(doneMs: number, failedMs: number): OperatorRecord[] {
    const nowMs = this.#parts.clock.wallMs()
    const isRecent = ({ state, endedAtMs }: OperatorRecord): boolean =>
      nowMs - (endedAtMs ?? 0) < (state === 'done' ? doneMs : failedMs)
    return [...Array.from(this.#running.values(), ({ record }) => record), ...this.#recent.filter(isRecent)]
  }

  /**
   * Begins one; it is durable when this resolves. Rejects with `CONFLICT` when another one runs for one of its subjects, with
   * `UNAVAILABLE` or `OUTCOME_UNKNOWN` when it could not be written.
   */
  async start(task: OperatorTask, reason: string, timeoutMs: number): Promise<OperatorRecord> {
    const subjects = subjectsOf(task)
    for (const subject of subjects) {
      const other = this.of(subject)
      if (other !== undefined || this.#beginning.has(subject)) throw conflict(subject, other)
    }
    for (const subject of subjects) this.#beginning.set(subject, task)
    try {
      return await this.#begin(task, reason, timeoutMs)
    } finally {
      for (const subject of subjects) this.#beginning.delete(subject)
    }
  }

  /** Resolves when it has ended, or after `timeoutMs`. Rejects with `NOT_FOUND`, and with `UNAVAILABLE` when somebody else goes on. */
  async await(operatorId: number, timeoutMs: number): Promise<OperatorRecord> {
    const running = this.#running.get(operatorId)
    if (running === undefined) return this.#ended(operatorId)
    await new Promise<void>((resolve) => {
      const timer = this.#parts.clock.after(timeoutMs, resolve)
      running.waiters.add(() => {
        timer.cancel()
        resolve()
      })
    })
    if (this.#isClosed) throw new CordilleraError('UNAVAILABLE', { detail: 'another node places ranges now' })
    return running.record
  }

  /** Asks for its end. Rejects with `NOT_FOUND`, and with `CONFLICT` when it has ended. */
  cancel(operatorId: number): OperatorRecord {
    const running = this.#running.get(operatorId)
    if (running === undefined) {
      const { state } = this.#ended(operatorId)
      throw new CordilleraError('CONFLICT', { detail: `operator ${operatorId} has ended: it is ${state}` })
    }
    running.isCancelled = true
    return running.record
  }

  /** Somebody else goes on; the records stay as they are. */
  close(): void {
    this.#isClosed = true
    for (const { waiters } of this.#running.values()) for (const wake of waiters) wake()
  }

  async #begin(task: OperatorTask, reason: string, timeoutMs: number): Promise<OperatorRecord> {
    const { ids, clock, table, logger } = this.#parts
    const startedAtMs = clock.wallMs()
    const record: OperatorRecord = {
      ...{ operatorId: await ids.allocate(1), state: 'running', task, reason, step: 'begun' },
      ...{ startedAtMs, deadlineMs: startedAtMs + timeoutMs, endedAtMs: null },
    }
    const version = await table.put(keyOf(record), record, 0)
    logger.info('operator-started', { operatorId: record.operatorId, ...task, reason })
    this.#run({ record, version, isCancelled: false, waiters: new Set() })
    return record
  }

  #run(running: Running): void {
    this.#running.set(running.record.operatorId, running)
    this.#perform(running).catch((error) => {
      this.#parts.logger.error('operator-failed', { operatorId: running.record.operatorId, error: String(error) })
    })
  }

  async #perform(running: Running): Promise<void> {
    const { clock, actions, logger } = this.#parts
    while (!this.#isClosed) {
      const { task, deadlineMs } = running.record
      if (running.isCancelled || clock.wallMs() >= deadlineMs) {
        await this.#giveUp(running)
        return
      }
      try {
        const result = await actions.perform(task, TRY_MS)
        await this.#end(running, { state: 'done', step: 'done', ...(result && { result }) })
        return
      } catch (error) {
        if (!(error instanceof CordilleraError)) throw error
        const told = { code: error.code, detail: error.message }
        if (FINAL.includes(error.code)) {
          await this.#end(running, { state: 'failed', error: told })
          return
        }
        running.record = { ...running.record, step: error.message }
        logger.debug('operator-retried', { operatorId: running.record.operatorId, ...told })
      }
      await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve))
    }
  }

  async #giveUp(running: Running): Promise<void> {
    const { isCancelled, record } = running
    await this.#parts.actions.abandon(record.task).catch(onlyCoded)
    const error = { code: 'UNAVAILABLE', detail: `not done by its deadline: ${record.step}` }
    await this.#end(running, isCancelled ? { state: 'cancelled', step: 'cancelled' } : { state: 'failed', error })
  }

  /** Whoever waits is told once that is durable; until it is, it is tried again. */
  async #end(running: Running, end: Partial<OperatorRecord>): Promise<void> {
    const { clock, table, logger } = this.#parts
    const ended = { ...running.record, ...end, endedAtMs: clock.wallMs() }
    while (!this.#isClosed) {
      try {
        await table.put(keyOf(ended), ended, running.version)
        break
      } catch (error) {
        onlyCoded(error)
        logger.debug('operator-end-unwritten', { operatorId: ended.operatorId, error: String(error) })
        // Somebody else has ended it, or this very write had arrived.
        if (error instanceof CordilleraError && error.code === 'VERSION_MISMATCH') break
        await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve))
      }
    }
    if (this.#isClosed) return
    const { operatorId, state } = ended
    logger.info('operator-ended', { operatorId, state, error: ended.error?.detail })
    running.record = ended
    this.#running.delete(operatorId)
    this.#recent.push(ended)
    for (const wake of running.waiters) wake()
    await this.#forgetOld()
  }

  async #forgetOld(): Promise<void> {
    this.#recent.sort((a, b) => a.operatorId - b.operatorId)
    const old = this.#recent.splice(0, Math.max(0, this.#recent.length - RECENT_MAX))
    for (const record of old) await this.#parts.table.delete(keyOf(record)).catch(onlyCoded)
  }

  #ended(operatorId: number): OperatorRecord {
    const record = this.#recent.find((one) => one.operatorId === operatorId)
    if (record === undefined) throw new CordilleraError('NOT_FOUND', { detail: `there is no operator ${operatorId}` })
    return record
  }
}

function keyOf({ operatorId }: OperatorRecord): string {
  return systemKey('operator', operatorId)
}

function conflict(subject: Subject, other: OperatorRecord | undefined): CordilleraError {
  const by =
    other === undefined ? 'another operator is being begun' : `operator ${other.operatorId} (${other.task.kind}) runs`
  return new CordilleraError('CONFLICT', { detail: `${subject} is being changed: ${by}` })
}

function onlyCoded(error: unknown): void {
  if (!(error instanceof CordilleraError)) throw error
}
