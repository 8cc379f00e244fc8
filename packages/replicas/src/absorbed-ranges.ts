import type { RangeId } from '@cordillera/base'
import type { RefusedReply } from '@cordillera/wire'
import type { Replica } from './replica.js'

/**
 * Ranges that have lately become part of others here: who comes for them is told where their keys are. After a restart nobody
 * is, and finds it out by a key.
 */
const ABSORBED_MAX = 1_024

export class AbsorbedRanges {
  readonly #by = new Map<RangeId, RangeId>()
  readonly #replica: (rangeId: RangeId) => Replica | undefined

  constructor(replica: (rangeId: RangeId) => Replica | undefined) {
    this.#replica = replica
  }

  add(rangeId: RangeId, by: RangeId): void {
    this.#by.set(rangeId, by)
    if (this.#by.size <= ABSORBED_MAX) return
    for (const oldest of this.#by.keys()) {
      this.#by.delete(oldest)
      return
    }
  }

  /** The range that it is part of here, or was last; undefined: none that is known. */
  by(rangeId: RangeId): RangeId | undefined {
    return this.#by.get(rangeId)
  }

  /** For a request to a range that has no replica here. */
  refusal(rangeId: RangeId): RefusedReply {
    let by = this.#by.get(rangeId)
    while (by !== undefined && this.#replica(by) === undefined) by = this.#by.get(by)
    const whole = by === undefined ? undefined : this.#replica(by)
    if (whole === undefined) return { kind: 'refused', reason: 'no-range', leader: 0, descriptors: [] }
    const leader = whole.nodeOf(whole.core.leader)
    return { kind: 'refused', reason: 'epoch-mismatch', leader, descriptors: [whole.descriptor] }
  }
}
