import type { Clock, Logger } from '@cordillera/base'
import { idOf, type Lock, type TransactionRecord } from '@cordillera/ranges'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { Router } from '@cordillera/router'

/**
 * Ends transactions whose coordinator does not, at the leaders of the ranges where they have left something: a record that is
 * older than {@link ABANDONED_MS} is aborted if it is pending, and its locks are resolved; a lock of that age asks its
 * transaction's record, which is aborted the same way. Ages count from when the present leader has first seen them, by its own
 * clock: to be wrong about one costs a slow coordinator another try, and nothing else.
 */
export interface AbandonedTransactionsParts {
  readonly replicas: Pick<Replicas, 'replicas'>
  readonly router: Pick<Router, 'transactions'>
  readonly clock: Clock
  readonly logger: Logger
}

export const ABANDONED_MS = 3_000
/** Transactions and locks seen to in one round. */
const ROUND_MAX = 256
const CALL_MS = 5_000

export class AbandonedTransactions {
  /** Cumulative. */
  readonly counts = { ended: 0, locksSettled: 0 }
  readonly #parts: AbandonedTransactionsParts
  /** When what is there now was first seen. */
  #seenAtMs = new Map<string, number>()
  readonly #busy = new Set<string>()

  constructor(parts: AbandonedTransactionsParts) {
    this.#parts = parts
  }

  /** To be called about once a second. */
  onRound(): void {
    const seen = new Map<string, number>()
    for (const replica of this.#parts.replicas.replicas()) {
      if (replica.isUsable && !replica.state.memory.transactions.isEmpty) this.#look(replica, seen)
    }
    this.#seenAtMs = seen
  }

  #look(replica: Replica, seen: Map<string, number>): void {
    const { transactions } = replica.state.memory
    for (const record of transactions.records()) {
      this.#note(`${idOf(record.transaction)} record`, seen, () => this.#end(record))
    }
    for (const lock of transactions.locks()) {
      if (transactions.recordOf(lock.transaction) !== undefined) continue
      this.#note(`${idOf(lock.transaction)} ${lock.mutation.key}`, seen, () => this.#settle(lock))
    }
  }

  #note(name: string, seen: Map<string, number>, act: () => Promise<void>): void {
    const { clock, logger } = this.#parts
    const nowMs = clock.now()
    const sinceMs = this.#seenAtMs.get(name) ?? nowMs
    seen.set(name, sinceMs)
    if (nowMs - sinceMs < ABANDONED_MS || this.#busy.has(name) || this.#busy.size >= ROUND_MAX) return
    this.#busy.add(name)
    act()
      .catch((error) => logger.debug('transaction-not-ended', { name, error: String(error) }))
      .finally(() => this.#busy.delete(name))
  }

  async #end({ transaction, home, participants, state, version: committed }: TransactionRecord): Promise<void> {
    const { router, clock, logger } = this.#parts
    const deadlineMs = clock.now() + CALL_MS
    const version = state === 'pending' ? await router.transactions.abort(transaction, home, deadlineMs) : committed
    if (version === 'over') return
    await router.transactions.end({ transaction, home, participants, version }, deadlineMs)
    this.counts.ended++
    logger.debug('transaction-ended', { transaction: idOf(transaction), version })
  }

  async #settle({ transaction, home, mutation }: Lock): Promise<void> {
    const { router, clock } = this.#parts
    const deadlineMs = clock.now() + CALL_MS
    const known = await router.transactions.abort(transaction, home, deadlineMs)
    const version = known === 'over' ? 0 : known
    await router.transactions.resolve({ transaction, home, participants: [], version }, [mutation.key], deadlineMs)
    this.counts.locksSettled++
  }
}
