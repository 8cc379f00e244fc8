/**
 * Every bound and delay of a router, with its default. All are required here: configuration is parsed at the edge.
 */
export interface RouterLimits {
  /** Operations accepted and not yet answered; one more is refused with OVERLOADED at once. A scan counts as one. */
  readonly operationsMax: number
  /** Bytes of keys and values of these operations. */
  readonly operationBytesMax: number
  /** Operations in one request. */
  readonly requestOperationsMax: number
  /** Bytes of keys and values in one request. One operation may exceed it alone. */
  readonly requestBytesMax: number
  /**
   * Requests of one kind (write, read, scan) under way to one range's leader. What arrives beyond it gathers into the
   * next request: more means less waiting under light load, fewer means larger batches under heavy load.
   */
  readonly requestsInFlightMax: number
  /** How often deadlines are looked at: an answer may be this much later than its deadline. */
  readonly sweepMs: number
  /** The first pause after a refusal; it doubles up to the maximum until a request succeeds. Half of it is jitter. */
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** For so long after a range's disks were found to be full, values for it are refused without asking again. */
  readonly diskFullMs: number
  /** A write, or lock, that met a lock is sent again after a random pause of up to so long. */
  readonly lockPauseMs: number
  /**
   * A transaction gives up behind another one's lock after so long, and up to as long again, at random: below the time after which
   * one that is left alone is aborted.
   */
  readonly lockWaitMs: number
  /** A reader behind a lock waits so long for what the lock's transaction has come to, and is asked to come again then. */
  readonly outcomeMs: number
  /** What is left to do for a transaction once its caller has an answer is tried for so long; then others see to it. */
  readonly transactionEndMs: number
  /**
   * A leader that leaves a request unanswered for so long is asked nothing further before another replica was asked
   * who leads. Above the longest fsync that one wants to sit out, below the time that a client waits.
   */
  readonly silentLeaderMs: number
}

export const defaultRouterLimits: RouterLimits = {
  operationsMax: 20_000,
  operationBytesMax: 64 * 1024 * 1024,
  requestOperationsMax: 512,
  requestBytesMax: 1024 * 1024,
  requestsInFlightMax: 2,
  sweepMs: 50,
  backoffMinMs: 10,
  backoffMaxMs: 250,
  diskFullMs: 250,
  lockPauseMs: 10,
  lockWaitMs: 1_000,
  outcomeMs: 2_000,
  transactionEndMs: 2_000,
  silentLeaderMs: 1000,
}
