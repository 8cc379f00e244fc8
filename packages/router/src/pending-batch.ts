import { assert, type CordilleraError, type Key, type NodeId, type Version } from '@cordillera/base'
import { type Command, decodeWriteBlock, WriteBlockBuilder } from '@cordillera/ranges'
import type { RangeRequest, ScannedReply, VersionedValue } from '@cordillera/wire'
import type { Route } from './route.js'

/**
 * Operations that travel together: those of one kind that came for one range in one turn.
 *
 * A batch answers each of its operations exactly once, in order. An operation costs two array slots here, no object.
 * One that was answered before its batch (its deadline passed) leaves a gap; a batch with gaps is rebuilt by
 * {@link PendingBatch.takeRequest} before it is sent, so that what was given up is never sent afterwards.
 */
export type Done<Result> = (error: CordilleraError | undefined, result: Result) => void

/** `waiting` in its route's queue; `in-flight` with a node; `finished`: every operation was answered or moved on. */
export type BatchState = 'waiting' | 'in-flight' | 'finished'

export abstract class PendingBatch<Result> {
  abstract readonly kind: 'write' | 'read' | 'scan'
  state: BatchState = 'waiting'
  /** Bytes of keys and values, answered operations included until the batch is finished. */
  bytes = 0
  /** Operations not yet answered. */
  live = 0
  /** No operation is due before; may be too early. */
  deadlineMinMs = Number.POSITIVE_INFINITY
  /** The sending under way, or the last one: who has it, under which of the route's tenures, since when, the how-manieth. */
  node: NodeId = 0
  tenure = 0
  sentAtMs = 0
  attempts = 0
  protected dones: (Done<Result> | undefined)[] = []
  protected deadlinesMs: number[] = []

  /** `sequence` orders batches by age. */
  constructor(
    readonly route: Route,
    readonly epochVersion: number,
    readonly sequence: number,
  ) {}

  /** Operations, answered ones included. */
  get count(): number {
    return this.dones.length
  }

  /** The request that carries the operations not yet answered; the batch takes no more from now on. */
  abstract takeRequest(): RangeRequest

  /** Answers the first `results.length` operations; returns how many of them had not been answered. */
  answer(results: readonly Result[]): number {
    const before = this.live
    for (let i = 0; i < results.length; i++) {
      const done = this.#settle(i)
      if (done !== undefined) done(undefined, results[i]!)
    }
    return before - this.live
  }

  /** Answers every operation whose deadline is not after `nowMs` with `error`; returns how many. */
  fail(error: CordilleraError, nowMs = Number.POSITIVE_INFINITY): number {
    const before = this.live
    let next = Number.POSITIVE_INFINITY
    for (let i = 0; i < this.dones.length; i++) {
      if (this.dones[i] === undefined) continue
      const deadlineMs = this.deadlinesMs[i]!
      if (deadlineMs <= nowMs) this.#settle(i)!(error, this.absent)
      else if (deadlineMs < next) next = deadlineMs
    }
    this.deadlineMinMs = next
    return before - this.live
  }

  /** What an operation's callback gets beside an error. */
  protected abstract readonly absent: Result

  protected append(bytes: number, deadlineMs: number, done: Done<Result>): void {
    this.dones.push(done)
    this.deadlinesMs.push(deadlineMs)
    if (deadlineMs < this.deadlineMinMs) this.deadlineMinMs = deadlineMs
    this.bytes += bytes
    this.live++
  }

  /** Forgets answered operations; `keep` is called with the place of each one kept, in order. */
  protected closeGaps(keep: (at: number) => void): void {
    const dones: (Done<Result> | undefined)[] = []
    const deadlinesMs: number[] = []
    for (let i = 0; i < this.dones.length; i++) {
      if (this.dones[i] === undefined) continue
      dones.push(this.dones[i])
      deadlinesMs.push(this.deadlinesMs[i]!)
      keep(i)
    }
    this.dones = dones
    this.deadlinesMs = deadlinesMs
  }

  #settle(at: number): Done<Result> | undefined {
    const done = this.dones[at]
    if (done === undefined) return undefined
    this.dones[at] = undefined
    this.live--
    return done
  }
}

/**
 * Writes, encoded into one block as they come: keys and values are copied once, at {@link put}.
 *
 * The builder is its route's, and this batch's alone until it is sealed.
 */
export class WriteBatch extends PendingBatch<Version> {
  readonly kind = 'write'
  protected readonly absent = 0
  readonly #builder: WriteBlockBuilder
  #block: Uint8Array | undefined

  constructor(route: Route, epochVersion: number, sequence: number, builder: WriteBlockBuilder) {
    super(route, epochVersion, sequence)
    assert(builder.count === 0, 'a write batch begins with an empty block')
    this.#builder = builder
  }

  put(key: Key, value: Uint8Array, deadlineMs: number, done: Done<Version>): void {
    this.#builder.put(key, value)
    this.append(key.length + value.length, deadlineMs, done)
  }

  delete(key: Key, deadlineMs: number, done: Done<Version>): void {
    this.#builder.delete(key)
    this.append(key.length, deadlineMs, done)
  }

  /** Ends the block; the route's builder is free again. Idempotent. */
  seal(): Uint8Array {
    this.#block ??= this.#builder.take()
    return this.#block
  }

  takeRequest(): RangeRequest {
    let block = this.seal()
    if (this.live < this.count) {
      const { commands } = decodeWriteBlock(block)
      const rebuilt = new WriteBlockBuilder(this.epochVersion, block.length)
      this.closeGaps((at) => addCommand(rebuilt, commands[at]!))
      block = rebuilt.take()
      this.#block = block
    }
    return { kind: 'write', rangeId: this.route.rangeId, count: this.count, block }
  }

  /** Hands over every operation not yet answered, in order; values are views of the block. The batch is empty then. */
  takeOperations(take: (command: Command, deadlineMs: number, done: Done<Version>) => void): void {
    const { commands } = decodeWriteBlock(this.seal())
    const { dones, deadlinesMs } = this
    this.dones = []
    this.live = 0
    for (let i = 0; i < dones.length; i++) if (dones[i] !== undefined) take(commands[i]!, deadlinesMs[i]!, dones[i]!)
  }
}

/** Reads of single keys. */
export class ReadBatch extends PendingBatch<VersionedValue | undefined> {
  readonly kind = 'read'
  protected readonly absent = undefined
  #keys: Key[] = []

  get(key: Key, deadlineMs: number, done: Done<VersionedValue | undefined>): void {
    this.#keys.push(key)
    this.append(key.length, deadlineMs, done)
  }

  takeRequest(): RangeRequest {
    if (this.live < this.count) {
      const keys: Key[] = []
      this.closeGaps((at) => keys.push(this.#keys[at]!))
      this.#keys = keys
    }
    return { kind: 'read', rangeId: this.route.rangeId, epochVersion: this.epochVersion, keys: this.#keys }
  }

  /** As {@link WriteBatch.takeOperations}. */
  takeOperations(take: (key: Key, deadlineMs: number, done: Done<VersionedValue | undefined>) => void): void {
    const { dones, deadlinesMs } = this
    this.dones = []
    this.live = 0
    for (let i = 0; i < dones.length; i++) if (dones[i] !== undefined) take(this.#keys[i]!, deadlinesMs[i]!, dones[i]!)
  }
}

/** A page of a scan, within one range. */
export interface PageSpan {
  readonly start: Key
  readonly end: Key | null
  readonly reverse: boolean
  readonly limit: number
  readonly bytesMax: number
  readonly values: boolean
}

/** The page, with the part of the asked span that it covered; `moved`: the range has changed, ask again. */
export type PageResult = { readonly kind: 'page'; readonly span: PageSpan; readonly page: ScannedReply } | 'moved'

/** One page: a scan shares no request. */
export class ScanBatch extends PendingBatch<PageResult> {
  readonly kind = 'scan'
  protected readonly absent = 'moved'
  #span: PageSpan | undefined

  begin(span: PageSpan, deadlineMs: number, done: Done<PageResult>): void {
    this.#span = span
    this.append(0, deadlineMs, done)
  }

  get span(): PageSpan {
    return this.#span!
  }

  takeRequest(): RangeRequest {
    const { start, end, reverse, limit, bytesMax, values } = this.span
    const { epochVersion } = this
    return { kind: 'scan', rangeId: this.route.rangeId, epochVersion, start, end, reverse, limit, bytesMax, values }
  }
}

export type AnyBatch = WriteBatch | ReadBatch | ScanBatch

function addCommand(builder: WriteBlockBuilder, command: Command): void {
  if (command.kind === 'put') builder.put(command.key, command.value)
  else builder.delete(command.key)
}
