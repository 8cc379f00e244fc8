// @ts-check

/**
 * Of batches over several ranges: locks, records, and what becomes of both.
 *
 * @type {readonly import('./mutants.mjs').Mutant[]}
 */
export const transactionMutants = [
  {
    name: 'write-passes-over-a-lock',
    row: 'rule: a key that a transaction has locked is nobody else’s',
    file: 'packages/ranges/src/apply-entry.ts',
    find: 'if (this.#view.memory.transactions.lockOf(write.key) !== undefined) return OUTCOME_LOCKED',
    put: 'if (this.#view.memory.transactions.lockOf(write.key) === null) return OUTCOME_LOCKED',
    profile: 'swarm',
  },
  {
    name: 'read-passes-over-locks',
    row: 'rule: a reader who meets a lock asks the record',
    file: 'packages/replicas/src/lock-decisions.ts',
    find: "return lock.mutation.kind !== 'check' && (this.#at === 0 || lock.since < this.#at)",
    put: "return lock.mutation.kind !== 'check' && lock.since < 0",
    profile: 'swarm',
  },
  {
    name: 'lock-without-a-record-is-aborted',
    row: 'rule: who finds no record looks again whether the lock is still there',
    file: 'packages/replicas/src/lock-decisions.ts',
    find: "return state === 'absent'\n",
    put: "return state === 'absent' && version > 0\n",
    test: 'packages/replicas',
  },
  {
    name: 'record-read-without-raising-the-floor',
    row: 'rule: a transaction that a reader was told is pending commits above his timestamp',
    file: 'packages/replicas/src/replica-reads.ts',
    find: 'if (request.at > 0) order.raiseFloor(request.at)',
    put: "if (request.at > 0 && request.kind !== 'outcome') order.raiseFloor(request.at)",
    test: 'packages/replicas',
  },
  {
    name: 'record-forgotten-before-its-locks',
    row: 'rule: a record stays until every lock of its transaction is resolved',
    file: 'packages/router/src/transactions.ts',
    find: 'await this.resolve(decided, participants, deadlineMs)\n',
    put: 'void this.resolve(decided, participants, deadlineMs).catch(() => {})\n',
    profile: 'swarm',
  },
  {
    name: 'committed-before-all-is-locked',
    row: 'rule: a transaction commits once all of its locks have applied',
    file: 'packages/router/src/transactions.ts',
    find: 'if (failures.length > 0) {',
    put: 'if (failures.length === mutations.length) {',
    profile: 'swarm',
  },
  {
    name: 'aborted-transaction-commits',
    row: 'rule: a transaction is committed or aborted, once',
    file: 'packages/ranges/src/apply-transaction.ts',
    find: "if (record?.state !== 'pending') return OUTCOME_ABORTED",
    put: 'if (record === undefined) return OUTCOME_ABORTED',
    test: 'packages/ranges',
  },
  {
    name: 'abort-is-not-remembered',
    row: 'rule: a transaction that was aborted before it began does not begin',
    file: 'packages/ranges/src/apply-transaction.ts',
    find: 'if (outcome === undefined) session.add(transaction.sequence, OUTCOME_ABORTED)',
    put: 'if (outcome === undefined) session.raiseFloor(0)',
    test: 'packages/ranges',
  },
  {
    name: 'half-a-group',
    row: 'rule: a batch is written whole or not at all',
    file: 'packages/ranges/src/apply-transaction.ts',
    find: 'if (refusal !== undefined) return refusal\n  for (const mutation of mutations) takeEffect(view, mutation, version)',
    put: 'if (refusal === undefined || mutations.length > 1) takeEffect(view, mutations[0]!, version)\n  if (refusal !== undefined) return refusal\n  for (const mutation of mutations) takeEffect(view, mutation, version)',
    test: 'packages/ranges',
  },
  {
    name: 'abort-unlearned-at-a-merge',
    row: 'rule: what became of a transaction outlives a split and a merge',
    file: 'packages/ranges/src/operation-memory.ts',
    find: 'return a === OUTCOME_ABORTED || b === OUTCOME_ABORTED ? OUTCOME_ABORTED : Math.max(a, b)',
    put: 'return Math.max(a, b)',
    test: 'packages/ranges',
  },
  {
    name: 'locks-stay-behind-at-a-split',
    row: 'rule: locks and records are where their keys are',
    file: 'packages/ranges/src/operation-memory.ts',
    find: 'copy.#transactions = this.#transactions.within(span)',
    put: 'copy.#transactions = this.#transactions.within({ ...span, end: null })',
    test: 'packages/ranges',
  },
  {
    name: 'dead-coordinator-left-alone',
    row: 'rule: what a dead coordinator has locked is free again within a bound',
    file: 'packages/node/src/abandoned-transactions.ts',
    find: 'if (nowMs - sinceMs < ABANDONED_MS ||',
    put: 'if (nowMs - sinceMs < 1_000 * ABANDONED_MS ||',
    profile: 'swarm',
  },
]
