import {
  type Clock,
  CordilleraError,
  type Key,
  type Logger,
  type Random,
  type RangeId,
  type Version,
} from '@cordillera/base'
import {
  BATCH_BYTES_MAX,
  type Command,
  type Lock,
  type Mutation,
  type Session,
  type TransactionId,
  type TransactionStep,
  type WriteGuard,
} from '@cordillera/ranges'
import type { DecidedReply } from '@cordillera/wire'
import type { RouterLimits } from './limits.js'
import type { OutstandingSequences } from './outstanding.js'
import type { Done, TransactionAsked } from './pending-batch.js'
import { refuseKey, refuseValue } from './refusals.js'

/**
 * Atomic writes over any ranges: their coordinator.
 *
 * What lies in one range is one command. Otherwise every key is locked, with what is to become of it, in parallel; once all
 * locks have applied the transaction's record, beside its first key, is committed, and that is the moment at which all of it takes effect; the
 * locks are resolved afterwards, behind the caller's back. Readers who meet a lock ask the record. A coordinator that dies leaves
 * locks that others abort or resolve ({@link abort}, {@link end}). The argument is in `ranges/decisions/0003-transactions.md`.
 */
export interface TransactionsParts {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly limits: RouterLimits
  readonly session: Session
  readonly outstanding: OutstandingSequences
  /** As far as is known; 0: it is not. */
  rangeOf(key: Key): RangeId
  /** Counts the write in as one operation; or says why not. */
  tryAdmit(key: Key, bytes: number): CordilleraError | undefined
  onAnswered(): void
  send(command: Command, deadlineMs: number, done: Done<Version>): void
  askOutcome(asked: TransactionAsked, deadlineMs: number, done: Done<DecidedReply | undefined>): void
}

/** A transaction whose locks are to be resolved. */
export interface DecidedTransaction {
  readonly transaction: TransactionId
  readonly home: Key
  readonly participants: readonly Key[]
  /** 0: it was aborted. */
  readonly version: Version
}

export class Transactions {
  /** Cumulative. */
  readonly counts = { groups: 0, distributed: 0, conflicts: 0 }
  readonly #parts: TransactionsParts

  constructor(parts: TransactionsParts) {
    this.#parts = parts
  }

  /**
   * All of the mutations, or none, at the version it resolves to. Of several of one key the last counts, and no other has a guard. Values must not change
   * until then. `idempotency`, as in `WriteGuard`, makes it one operation with every other write of that id and these keys. Rejects with BAD_REQUEST (no mutation, or a guard of one that would not count), KEY_TOO_LARGE, VALUE_TOO_LARGE, BATCH_TOO_LARGE, OVERLOADED, CLOSED,
   * IDEMPOTENCY_KEY_REUSED, VERSION_MISMATCH (a guard fails), DISK_FULL and UNAVAILABLE, when surely nothing was, or will be, written; and with
   * OUTCOME_UNKNOWN.
   */
  async write(mutations: readonly Mutation[], deadlineMs: number, idempotency?: Uint8Array): Promise<Version> {
    const { distinct, bytes } = checked(mutations)
    const guard = idempotency === undefined ? undefined : { idempotency }
    const [first] = distinct
    const refusal = this.#parts.tryAdmit(first!.key, bytes)
    if (refusal !== undefined) throw refusal
    try {
      return await this.#write(distinct, deadlineMs, guard)
    } finally {
      this.#parts.onAnswered()
    }
  }

  /**
   * What a transaction has come to, as a read at its home at `at` (0: of the newest) sees it. Not counted as load: reads wait for
   * it, for `outcomeMs` at most; then it rejects with UNAVAILABLE.
   */
  outcomeOf({ transaction, home }: Pick<Lock, 'transaction' | 'home'>, at: Version): Promise<DecidedReply> {
    const { clock, limits, askOutcome } = this.#parts
    return new Promise((resolve, reject) => {
      askOutcome({ transaction, home, at }, clock.now() + limits.outcomeMs, (error, reply) =>
        reply === undefined ? reject(error) : resolve(reply),
      )
    })
  }

  /**
   * Sees to it that a transaction does not commit any more; resolves to the version that it has committed at, 0 when it never
   * will. `over`: it is not there, and surely does not begin; what is still locked for it has not committed.
   */
  async abort(transaction: TransactionId, home: Key, deadlineMs: number): Promise<Version | 'over'> {
    try {
      return await this.#send(home, { step: 'abort', transaction }, deadlineMs)
    } catch (error) {
      if (!(error instanceof CordilleraError)) throw error
      if (error.code === 'CONFLICT') return 0
      // The range does not remember it any more, so that it surely does not begin there.
      if (error.details?.expired === true) return 'over'
      throw error
    }
  }

  /** Resolves what of the transaction is locked at these keys. */
  async resolve(decided: DecidedTransaction, keys: readonly Key[], deadlineMs: number): Promise<void> {
    const { transaction, version } = decided
    const resolved = this.#byRange(keys, (key) => key).map(async (group) => {
      try {
        await this.#send(group[0]!, { step: 'resolve', transaction, version, keys: group }, deadlineMs)
      } catch (error) {
        if (!isScattered(error)) throw error
        await this.resolve(decided, group, deadlineMs)
      }
    })
    await Promise.all(resolved)
  }

  /** Resolves every lock of a transaction that is decided, then has its record forgotten. */
  async end(decided: DecidedTransaction, deadlineMs: number): Promise<void> {
    const { transaction, home, participants } = decided
    await this.resolve(decided, participants, deadlineMs)
    await this.#send(home, { step: 'forget', transaction }, deadlineMs)
  }

  async #write(mutations: readonly Mutation[], deadlineMs: number, guard: WriteGuard | undefined): Promise<Version> {
    const { clock } = this.#parts
    for (let tries = 0; ; tries++) {
      const version = this.#isLocal(mutations)
        ? await this.#writeGroup(mutations, deadlineMs, guard)
        : await this.#writeDistributed(mutations, deadlineMs, guard, tries)
      if (version !== 'again') return version
      this.counts.conflicts++
      if (clock.now() >= deadlineMs) throw conflict()
      await this.#pause(tries)
    }
  }

  #isLocal(mutations: readonly Mutation[]): boolean {
    const { rangeOf } = this.#parts
    const home = rangeOf(mutations[0]!.key)
    return home !== 0 && mutations.every(({ key }) => rangeOf(key) === home)
  }

  /** One command of one range. `again`: the range was cut between its keys, and surely nothing was written. */
  async #writeGroup(
    mutations: readonly Mutation[],
    deadlineMs: number,
    guard: WriteGuard | undefined,
  ): Promise<Version | 'again'> {
    const { outstanding, session } = this.#parts
    const { key } = mutations[0]!
    this.counts.groups++
    // While it is held, no range forgets what the numbers above it came to.
    const hold = outstanding.take()
    const sequence = outstanding.take()
    try {
      return await this.#send(key, { step: 'group', mutations }, deadlineMs, { sequence, guard })
    } catch (error) {
      if (!isScattered(error)) throw error
      // It may have been written before the cut: the range of its first key knows, or makes sure that it never will be.
      const known = await this.abort({ ...session, sequence }, key, deadlineMs).catch((failure) => {
        throw unknownAfter(failure)
      })
      if (known === 'over') throw unknownAfter(undefined)
      return known > 0 ? known : 'again'
    } finally {
      outstanding.onAnswered(hold)
    }
  }

  async #writeDistributed(
    mutations: readonly Mutation[],
    deadlineMs: number,
    guard: WriteGuard | undefined,
    tries: number,
  ): Promise<Version | 'again'> {
    const { outstanding, session } = this.#parts
    this.counts.distributed++
    const home = mutations[0]!.key
    const before = guard === undefined ? undefined : await this.#recall(home, guard, deadlineMs)
    if (before !== undefined) return before
    // While it is held, no range forgets what the numbers above it came to: a lock may be asked for again.
    const hold = outstanding.take()
    const transaction: TransactionId = { ...session, sequence: outstanding.take() }
    const ended = { transaction, home, participants: mutations.slice(1).map(({ key }) => key) }
    const failures = await this.#lockAll(ended, mutations, deadlineMs, tries)
    outstanding.onAnswered(hold)
    if (failures.length > 0) {
      this.#endLater(ended)
      const final = failures.find((error) => !isWorthAnotherTry(error))
      if (final !== undefined) throw final
      return 'again'
    }
    try {
      const version = await this.#send(home, { step: 'commit', transaction }, deadlineMs, { guard })
      // With an id, the version may be that of an earlier try.
      this.#endLater(guard === undefined ? { ...ended, version } : ended)
      return version
    } catch (error) {
      // Whoever has aborted it in the meantime has had reason to think that nobody was there.
      if (error instanceof CordilleraError && error.code === 'CONFLICT') {
        this.#endLater(ended)
        return 'again'
      }
      if (error instanceof CordilleraError && error.code !== 'OUTCOME_UNKNOWN') this.#endLater(ended)
      throw error
    }
  }

  /**
   * Locks all keys, those of one range at once; resolves to why not. The first time all ranges are asked together, and nobody waits
   * for another's lock. A transaction that has met one goes from range to range in the order of keys from then on, and waits: of
   * two that want the same keys, the first to have one has the others sooner or later.
   */
  async #lockAll(
    { transaction, home, participants }: Omit<DecidedTransaction, 'version'>,
    mutations: readonly Mutation[],
    deadlineMs: number,
    tries: number,
  ): Promise<unknown[]> {
    const { clock, random, limits } = this.#parts
    const isOrdered = tries > 0
    const waitsUntilMs = isOrdered ? clock.now() + limits.lockWaitMs + random.below(limits.lockWaitMs) : 0
    const until = { waitsUntilMs, deadlineMs: Math.min(deadlineMs, clock.now() + limits.lockWaitMs + LOCK_ROUND_MS) }
    const groups = this.#byRange(mutations, ({ key }) => key)
    const lock = (group: readonly Mutation[]): Promise<Version> => {
      const isHome = group.some(({ key }) => key === home)
      const step = {
        step: 'lock',
        transaction,
        home,
        mutations: group,
        participants: isHome ? participants : [],
      } as const
      return this.#lock(isHome ? home : group[0]!.key, step, isHome ? transaction.sequence : undefined, until)
    }
    if (!isOrdered) {
      const locked = await Promise.allSettled(groups.map(lock))
      return locked.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    }
    const lowest = (group: readonly Mutation[]): Key =>
      group.reduce((low, { key }) => (key < low ? key : low), group[0]!.key)
    for (const group of groups.sort((a, b) => (lowest(a) < lowest(b) ? -1 : 1))) {
      try {
        await lock(group)
      } catch (error) {
        return [error]
      }
    }
    return []
  }

  /**
   * Sends the lock, again and again while another one is in its way. Its number stays: what met a lock is not remembered, and a copy
   * that arrives late, when the transaction is over, must find what the lock came to.
   */
  async #lock(
    key: Key,
    step: TransactionStep,
    number: number | undefined,
    until: { readonly waitsUntilMs: number; readonly deadlineMs: number },
  ): Promise<Version> {
    const { clock, outstanding } = this.#parts
    const sequence = number ?? outstanding.take()
    for (;;) {
      try {
        return await this.#send(key, step, until.deadlineMs, { sequence })
      } catch (error) {
        const isLocked = error instanceof CordilleraError && error.details?.locked === true
        if (!isLocked || clock.now() >= until.waitsUntilMs) throw error
        await this.#pause(0)
      }
    }
  }

  /** As far as is known. */
  #byRange<Item>(items: readonly Item[], keyOf: (item: Item) => Key): Item[][] {
    const groups = new Map<RangeId, Item[]>()
    for (const item of items) {
      const rangeId = this.#parts.rangeOf(keyOf(item))
      const group = groups.get(rangeId)
      if (group === undefined) groups.set(rangeId, [item])
      else group.push(item)
    }
    return [...groups.values()]
  }

  /** What an earlier try of the same operation came to; undefined: nothing yet. */
  async #recall(home: Key, guard: WriteGuard, deadlineMs: number): Promise<Version | undefined> {
    try {
      return await this.#send(home, { step: 'recall' }, deadlineMs, { guard })
    } catch (error) {
      if (error instanceof CordilleraError && error.code === 'CONFLICT') return undefined
      throw error
    }
  }

  /** Nobody waits for it: what is left undone here, the leaders of the ranges do after a while. */
  #endLater(ended: Omit<DecidedTransaction, 'version'> & { readonly version?: Version }): void {
    const { clock, limits, logger } = this.#parts
    const deadlineMs = clock.now() + limits.transactionEndMs
    const { transaction, home, version } = ended
    const decided = version === undefined ? this.abort(transaction, home, deadlineMs) : Promise.resolve(version)
    decided
      .then((known) => this.end({ ...ended, version: known === 'over' ? 0 : known }, deadlineMs))
      .catch((error) => logger.debug('transaction-left', { error: String(error) }))
  }

  #send(
    key: Key,
    step: TransactionStep,
    deadlineMs: number,
    options: { readonly sequence?: number; readonly guard?: WriteGuard | undefined } = {},
  ): Promise<Version> {
    const { send, outstanding } = this.#parts
    const { sequence = outstanding.take(), guard } = options
    const command: Command = { kind: 'transaction', sequence, key, step, ...(guard === undefined ? {} : { guard }) }
    return new Promise((resolve, reject) => {
      send(command, deadlineMs, (error, version) => (error === undefined ? resolve(version) : reject(error)))
    })
  }

  #pause(tries: number): Promise<void> {
    const { clock, random, limits } = this.#parts
    const mostMs = limits.lockPauseMs * 2 ** Math.min(tries, 5)
    return new Promise((resolve) => clock.after(1 + random.below(mostMs), resolve))
  }
}

/** What locks may take besides waiting for others. */
const LOCK_ROUND_MS = 2_000

function isScattered(error: unknown): boolean {
  return error instanceof CordilleraError && error.details?.scattered === true
}

function conflict(): CordilleraError {
  const detail = 'other transactions had locked what this one was to write; nothing was written. Try again'
  return new CordilleraError('UNAVAILABLE', { detail })
}

function unknownAfter(cause: unknown): CordilleraError {
  const detail =
    'the range was cut while the write was under way, and its outcome did not arrive; read before writing again'
  return new CordilleraError('OUTCOME_UNKNOWN', { detail, cause })
}

/** The lock may have met another one, or nobody who answers; either way the transaction is aborted and tried anew. */
function isWorthAnotherTry(error: unknown): boolean {
  if (!(error instanceof CordilleraError)) return false
  return error.code === 'UNAVAILABLE' || error.code === 'OUTCOME_UNKNOWN' || error.code === 'CONFLICT'
}

/** The last mutation of each key, in the order of first mention. Throws as `write` rejects. */
function checked(mutations: readonly Mutation[]): { readonly distinct: readonly Mutation[]; readonly bytes: number } {
  if (mutations.length === 0) throw new CordilleraError('BAD_REQUEST', { detail: 'a batch of nothing' })
  const distinct = new Map<Key, Mutation>()
  let bytes = 0
  for (const mutation of mutations) {
    const { key } = mutation
    const valueBytes = mutation.kind === 'put' ? mutation.value.length : 0
    const refusal = refuseKey(key.length) ?? refuseValue(valueBytes)
    if (refusal !== undefined) throw refusal
    bytes += key.length + valueBytes
    if (distinct.get(key)?.guard !== undefined) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'a key with a condition is written again in the same batch' })
    }
    distinct.set(key, mutation)
  }
  if (bytes <= BATCH_BYTES_MAX) return { distinct: [...distinct.values()], bytes }
  const detail = `a batch of ${bytes} bytes of keys and values; at most ${BATCH_BYTES_MAX} are taken`
  throw new CordilleraError('BATCH_TOO_LARGE', { detail })
}
