import type { Key, NodeId, Term, Version } from '@cordillera/base'
import type { VersionedValue } from '@cordillera/ranges'

/**
 * Where timestamps come from, and what runs beside the leader of the system range: ports, implemented by `system`.
 */
export interface TimestampSource {
  /** Asks for timestamps on behalf of the waiter. */
  ask(waiter: TimestampWaiter): void
}

export interface TimestampWaiter {
  /** A request leaves now: what is it to bring for this waiter? Undefined: nothing any more. */
  claim(): TimestampClaim | undefined
}

/** What one waiter wants of one request. Ends with `grant` or `release`, or, when its node closes, with neither. */
export interface TimestampClaim {
  /** At least 1. */
  readonly count: number
  /** The answer: so many from `first` on. */
  grant(first: Version): void
  /** The request brings nothing. It is sent anew, and the waiter asked for a new claim. */
  release(): void
}

/** What leads the system range, while it does. */
export interface SystemLeadership {
  readonly term: Term
  /** The newest applied value. */
  get(key: Key): VersionedValue | undefined
  /**
   * Proposes a put with a version that the caller vouches for: above everything in the system range's log. `onEnd` runs
   * at most once: true when it has applied, false when it surely never will.
   */
  propose(version: Version, key: Key, value: Uint8Array, onEnd: (isApplied: boolean) => void): void
}

export interface SystemSeat {
  /** This store's replica of the system range leads, and everything committed in earlier terms is applied. */
  onLeading(leadership: SystemLeadership): void
  /** It does not lead any more. */
  onLeadingEnded(): void
  /** Answers a request for timestamps, after leadership was confirmed; undefined: not ready. */
  issue(request: {
    readonly nodeId: NodeId
    readonly count: number
    readonly oldestSnapshot: Version
  }): { readonly first: Version; readonly safePoint: Version } | undefined
}
