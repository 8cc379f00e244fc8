import type { Clock, CordilleraError, Key, Random, Version } from '@cordillera/base'
import { type Command, keysOfStep, OUTCOME_LOCKED, type OutcomeCode } from '@cordillera/ranges'
import type { RouterLimits } from './limits.js'
import type { OutstandingSequences } from './outstanding.js'
import { type Done, type WriteBatch, writeBytes } from './pending-batch.js'
import { outcomeError, scattered } from './refusals.js'
import type { Route } from './route.js'
import type { RouterStats } from './router-stats.js'

/**
 * Writes on their way into the batches of their ranges, the first time and whenever their range turns out to be another one.
 * They keep their numbers.
 */
export interface WriteIntakeParts {
  readonly clock: Clock
  readonly random: Random
  readonly limits: RouterLimits
  readonly stats: RouterStats
  readonly outstanding: OutstandingSequences
  /** The route of the range that holds the key; somebody is told when it is not known. */
  routeOf(key: Key): Route
  /** Of batches, by age. */
  nextSequence(): number
  track(batch: WriteBatch): WriteBatch
  wake(route: Route): void
  /** Ends the book-keeping for a batch; returns the number of its operations that are yet to be answered or moved on. */
  finish(batch: WriteBatch): number
  /** Has what is left of the batch sent again. */
  retry(batch: WriteBatch): void
  /** So many operations that were admitted have been answered here. */
  onAnswered(operations: number): void
}

export class WriteIntake {
  readonly #parts: WriteIntakeParts

  constructor(parts: WriteIntakeParts) {
    this.#parts = parts
  }

  /** The batch that takes a write of so many bytes for the route. */
  open(route: Route, bytes: number): WriteBatch {
    return route.tryOpenWrites(bytes) ?? this.#begin(route)
  }

  /** Takes in a write that has its number. */
  take(command: Command, deadlineMs: number, done: Done<Version>): void {
    const route = this.#parts.routeOf(command.key)
    if (this.#isScattered(command, route)) {
      this.#refuse(command, done, scattered())
      return
    }
    this.#add(this.open(route, writeBytes(command)), command, deadlineMs, done)
    this.#parts.wake(route)
  }

  /** Answers the batch; what met a lock is sent again soon. */
  answer(batch: WriteBatch, outcomes: readonly OutcomeCode[]): void {
    const { finish, onAnswered } = this.#parts
    const errorOf = (outcome: OutcomeCode): CordilleraError => outcomeError(outcome, batch)
    if (!outcomes.includes(OUTCOME_LOCKED)) {
      onAnswered(finish(batch))
      batch.answerOutcomes(outcomes, errorOf)
      return
    }
    const before = batch.live
    batch.answerOutcomes(outcomes, errorOf)
    onAnswered(before - batch.live)
    if (batch.live === 0) finish(batch)
    else this.#park(batch)
  }

  #park(batch: WriteBatch): void {
    const { clock, random, limits, retry, wake } = this.#parts
    batch.state = 'parked'
    batch.route.lastTrouble = 'a transaction that has locked a key'
    clock.after(1 + random.below(limits.lockPauseMs), () => {
      if (batch.state !== 'parked') return
      retry(batch)
      wake(batch.route)
    })
  }

  /** Finds the range of each operation anew. The batch neither waits in a queue nor is in flight. */
  reroute(batch: WriteBatch): void {
    if (batch.mayBeProposed) this.#rerouteDoubted(batch)
    else batch.takeOperations((command, deadlineMs, done) => this.take(command, deadlineMs, done))
  }

  /** What may have been proposed shares no batch with what was not. */
  #rerouteDoubted(doubted: WriteBatch): void {
    const batches = new Map<Route, WriteBatch>()
    doubted.takeOperations((command, deadlineMs, done) => {
      const route = this.#parts.routeOf(command.key)
      if (this.#isScattered(command, route)) {
        this.#refuse(command, done, scattered())
        return
      }
      const known = batches.get(route)
      const batch = known ?? this.#begin(route)
      if (known === undefined) {
        batch.mayBeProposed = true
        batches.set(route, batch)
      }
      this.#add(batch, command, deadlineMs, done)
    })
    for (const route of batches.keys()) {
      route.closeWrites()
      this.#parts.wake(route)
    }
  }

  #begin(route: Route): WriteBatch {
    const { track, nextSequence } = this.#parts
    return track(route.openWrites(nextSequence()))
  }

  #add(batch: WriteBatch, command: Command, deadlineMs: number, done: Done<Version>): void {
    const { sequence, key, guard } = command
    if (command.kind === 'put') batch.put(sequence, key, command.value, guard, deadlineMs, done)
    else if (command.kind === 'delete') batch.delete(sequence, key, guard, deadlineMs, done)
    else batch.transact(sequence, key, command.step, guard, deadlineMs, done)
    this.#parts.stats.operationBytesWaiting += writeBytes(command)
  }

  /** A part of a transaction whose range was cut between its keys. */
  #isScattered(command: Command, route: Route): boolean {
    if (command.kind !== 'transaction') return false
    return keysOfStep(command.step).some((key) => this.#parts.routeOf(key) !== route)
  }

  #refuse({ sequence }: Command, done: Done<Version>, error: CordilleraError): void {
    this.#parts.outstanding.onAnswered(sequence)
    this.#parts.onAnswered(1)
    done(error, 0)
  }
}
