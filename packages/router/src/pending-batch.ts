import {
  assert,
  type CordilleraError,
  type Key,
  type NodeId,
  type ReplicaId,
  type Term,
  type Version,
} from '@cordillera/base'
import {
  bringsValue,
  type Command,
  decodeWriteBlock,
  type Mutation,
  OUTCOME_LOCKED,
  type OutcomeCode,
  type Session,
  type TransactionId,
  type TransactionStep,
  WriteBlockBuilder,
  type WriteGuard,
} from '@cordillera/ranges'
import type { DecidedReply, RangeRequest, ScannedReply, TimestampsReply, VersionedValue } from '@cordillera/wire'
import type { OutstandingSequences } from './outstanding.js'
import type { Route } from './route.js'

/**
 * Operations that travel together: those of one kind that came for one range in one turn.
 *
 * A batch answers each of its operations exactly once, in order. An operation costs two array slots here, no object.
 * One that was answered before its batch (its deadline passed) leaves a gap; a batch with gaps is rebuilt by
 * {@link PendingBatch.takeRequest} before it is sent, so that what was given up is never sent afterwards.
 */
export type Done<Result> = (error: CordilleraError | undefined, result: Result) => void

/**
 * `waiting` in its route's queue; `in-flight` with a node; `parked` for a while, behind a lock; `finished`: every operation was
 * answered or moved on.
 */
export type BatchState = 'waiting' | 'in-flight' | 'parked' | 'finished'

export abstract class PendingBatch<Result> {
  abstract readonly kind: 'write' | 'read' | 'scan' | 'timestamps' | 'outcome'
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
  /** Writes: an earlier sending may have been proposed. It stays true, whatever later sendings come to. */
  mayBeProposed = false

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
      const done = this.settle(i)
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
      if (deadlineMs <= nowMs) this.settle(i)!(error, this.absent)
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

  /** Takes the callback of an operation that is answered now; undefined when it was before. */
  protected settle(at: number): Done<Result> | undefined {
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
  readonly #numbering: Numbering
  #sequences: number[] = []
  #block: Uint8Array | undefined

  constructor(
    route: Route,
    epochVersion: number,
    sequence: number,
    parts: { readonly builder: WriteBlockBuilder; readonly numbering: Numbering },
  ) {
    super(route, epochVersion, sequence)
    assert(parts.builder.count === 0, 'a write batch begins with an empty block')
    this.#builder = parts.builder
    this.#numbering = parts.numbering
  }

  /** `sequence` is the operation's number: outstanding until the operation is answered. */
  put(
    sequence: number,
    key: Key,
    value: Uint8Array,
    guard: WriteGuard | undefined,
    deadlineMs: number,
    done: Done<Version>,
  ): void {
    this.#builder.put(sequence, key, value, guard)
    this.#sequences.push(sequence)
    this.append(key.length + value.length, deadlineMs, done)
  }

  transact(
    sequence: number,
    key: Key,
    step: TransactionStep,
    guard: WriteGuard | undefined,
    deadlineMs: number,
    done: Done<Version>,
  ): void {
    this.#builder.transact(sequence, key, step, guard)
    this.#sequences.push(sequence)
    this.append(stepBytes(key, step), deadlineMs, done)
  }

  delete(sequence: number, key: Key, guard: WriteGuard | undefined, deadlineMs: number, done: Done<Version>): void {
    this.#builder.delete(sequence, key, guard)
    this.#sequences.push(sequence)
    this.append(key.length, deadlineMs, done)
  }

  /**
   * Answers every operation with its outcome, as `errorOf` words it, but for those that met a lock; a lock that met one is answered:
   * its coordinator holds others, and decides how long it waits.
   */
  answerOutcomes(outcomes: readonly OutcomeCode[], errorOf: (outcome: OutcomeCode) => CordilleraError): void {
    const waits = outcomes.includes(OUTCOME_LOCKED) ? this.#waitsForLocks() : undefined
    for (let i = 0; i < outcomes.length; i++) {
      const outcome = outcomes[i]!
      const done = outcome === OUTCOME_LOCKED && waits?.[i] ? undefined : this.settle(i)
      if (done === undefined) continue
      if (outcome > 0) done(undefined, outcome)
      else done(errorOf(outcome), 0)
    }
  }

  #waitsForLocks(): boolean[] {
    const { commands } = decodeWriteBlock(this.seal())
    return commands.map((command) => !(command.kind === 'transaction' && command.step.step === 'lock'))
  }

  /** Answers the puts among its commands with `error`, or everything when there are none; returns how many that are. */
  refusePuts(error: CordilleraError): number {
    const { commands } = decodeWriteBlock(this.seal())
    const isLive = (_: Command, at: number): boolean => this.dones[at] !== undefined
    const isAll = !commands.some((command, at) => isValue(command) && isLive(command, at))
    let refused = 0
    for (const [at, command] of commands.entries()) {
      const done = isAll || isValue(command) ? this.settle(at) : undefined
      if (done === undefined) continue
      refused++
      done(error, this.absent)
    }
    return refused
  }

  /** Ends the block; the route's builder is free again. Idempotent. */
  seal(): Uint8Array {
    this.#block ??= this.#builder.take(this.#numbering.outstanding.lowest)
    return this.#block
  }

  takeRequest(): RangeRequest {
    let block = this.seal()
    if (this.live < this.count) {
      const { commands } = decodeWriteBlock(block)
      const { session, outstanding } = this.#numbering
      const rebuilt = new WriteBlockBuilder(this.epochVersion, session, block.length)
      const sequences: number[] = []
      this.closeGaps((at) => {
        addCommand(rebuilt, commands[at]!)
        sequences.push(this.#sequences[at]!)
      })
      this.#sequences = sequences
      block = rebuilt.take(outstanding.lowest)
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

  protected override settle(at: number): Done<Version> | undefined {
    const done = super.settle(at)
    if (done !== undefined) this.#numbering.outstanding.onAnswered(this.#sequences[at]!)
    return done
  }
}

/** How a router numbers its writes. */
export interface Numbering {
  readonly session: Session
  readonly outstanding: OutstandingSequences
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
    const { epochVersion } = this
    return { kind: 'read', rangeId: this.route.rangeId, epochVersion, at: 0, byFollower: false, keys: this.#keys }
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
  /** The snapshot. */
  readonly at: Version
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
    const { rangeId } = this.route
    return { kind: 'scan', rangeId, epochVersion: this.epochVersion, byFollower: false, ...this.span }
  }
}

/** A transaction, and where its record is. */
export interface TransactionAsked {
  readonly transaction: TransactionId
  readonly home: Key
  /** As of this timestamp; 0: now. */
  readonly at: Version
}

/** One question; it shares no request. */
export class OutcomeBatch extends PendingBatch<DecidedReply | undefined> {
  readonly kind = 'outcome'
  protected readonly absent = undefined
  #asked: TransactionAsked | undefined

  begin(asked: TransactionAsked, deadlineMs: number, done: Done<DecidedReply | undefined>): void {
    this.#asked = asked
    this.append(0, deadlineMs, done)
  }

  takeRequest(): RangeRequest {
    const { rangeId } = this.route
    return { kind: 'outcome', rangeId, epochVersion: this.epochVersion, ...this.#asked! }
  }

  /** The other half of a new batch for the same question. */
  takeOperations(
    take: (asked: TransactionAsked, deadlineMs: number, done: Done<DecidedReply | undefined>) => void,
  ): void {
    const [done] = this.dones
    this.dones = []
    this.live = 0
    if (done !== undefined) take(this.#asked!, this.deadlinesMs[0]!, done)
  }
}

/** What a request for timestamps says, determined when it leaves. */
export interface TimestampsNeeded {
  /** See `TimestampsRequest` of wire. */
  readonly replicaId: ReplicaId
  readonly term: Term
  readonly count: number
  readonly oldestSnapshot: Version
}

/** A request for timestamps; it shares no request, and is prepared anew for each sending. */
export class TimestampsBatch extends PendingBatch<TimestampsReply | undefined> {
  readonly kind = 'timestamps'
  protected readonly absent = undefined
  #prepare: (() => TimestampsNeeded) | undefined

  begin(prepare: () => TimestampsNeeded, deadlineMs: number, done: Done<TimestampsReply | undefined>): void {
    this.#prepare = prepare
    this.append(0, deadlineMs, done)
  }

  /** Called once for every sending: only its own answer counts. */
  takeRequest(): RangeRequest {
    const { self, rangeId } = this.route
    return { kind: 'timestamps', rangeId, nodeId: self, ...this.#prepare!() }
  }

  /** The other half of a new batch for the same request. */
  takeOperations(
    take: (prepare: () => TimestampsNeeded, deadlineMs: number, done: Done<TimestampsReply | undefined>) => void,
  ): void {
    const [done] = this.dones
    this.dones = []
    this.live = 0
    if (done !== undefined) take(this.#prepare!, this.deadlinesMs[0]!, done)
  }
}

export type AnyBatch = WriteBatch | ReadBatch | ScanBatch | TimestampsBatch | OutcomeBatch

function addCommand(builder: WriteBlockBuilder, command: Command): void {
  const { sequence, key, guard } = command
  if (command.kind === 'put') builder.put(sequence, key, command.value, guard)
  else if (command.kind === 'transaction') builder.transact(sequence, key, command.step, guard)
  else builder.delete(sequence, key, guard)
}

function isValue(command: Command): boolean {
  return command.kind === 'put' || (command.kind === 'transaction' && bringsValue(command.step))
}

/** Bytes of key and value. */
export function writeBytes(command: Command): number {
  if (command.kind === 'transaction') return stepBytes(command.key, command.step)
  return command.key.length + (command.kind === 'put' ? command.value.length : 0)
}

function stepBytes(key: Key, step: TransactionStep): number {
  let bytes = key.length
  if (step.step === 'group' || step.step === 'lock')
    for (const mutation of step.mutations) bytes += mutationBytes(mutation)
  if (step.step === 'lock') for (const participant of step.participants) bytes += participant.length
  if (step.step === 'resolve') for (const resolved of step.keys) bytes += resolved.length
  return bytes
}

function mutationBytes(mutation: Mutation): number {
  return mutation.key.length + (mutation.kind === 'put' ? mutation.value.length : 0)
}
