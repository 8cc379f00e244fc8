import type { Version } from '@cordillera/base'

/**
 * What a command came to, as one number: a version (> 0), when it wrote; otherwise it did not, and the number is 0 or
 * negative: one of the constants here, or the key's newest version, negated (0: the key was absent), against which a
 * condition failed.
 */
export type OutcomeCode = number

/** The session has moved on: whether the operation took effect earlier is not known any more. */
export const OUTCOME_EXPIRED: OutcomeCode = Number.MIN_SAFE_INTEGER
/** The idempotency id was used for another request. */
export const OUTCOME_REUSED: OutcomeCode = Number.MIN_SAFE_INTEGER + 1
/** The range remembers as many operations as it may; nothing was written. */
export const OUTCOME_MEMORY_FULL: OutcomeCode = Number.MIN_SAFE_INTEGER + 2
/** A transaction that is not decided has locked a key of the command; nothing was written, nor is it remembered. */
export const OUTCOME_LOCKED: OutcomeCode = Number.MIN_SAFE_INTEGER + 3
/** The transaction was aborted: it never takes effect. */
export const OUTCOME_ABORTED: OutcomeCode = Number.MIN_SAFE_INTEGER + 4

export type OutcomeKind = 'written' | 'mismatch' | 'expired' | 'reused' | 'memory-full' | 'locked' | 'aborted'

export function outcomeKind(outcome: OutcomeCode): OutcomeKind {
  if (outcome > 0) return 'written'
  if (outcome === OUTCOME_EXPIRED) return 'expired'
  if (outcome === OUTCOME_REUSED) return 'reused'
  if (outcome === OUTCOME_MEMORY_FULL) return 'memory-full'
  if (outcome === OUTCOME_LOCKED) return 'locked'
  return outcome === OUTCOME_ABORTED ? 'aborted' : 'mismatch'
}

/** A condition failed against this version of the key; 0 for "absent". */
export function mismatchOutcome(newest: Version): OutcomeCode {
  return 0 - newest
}
