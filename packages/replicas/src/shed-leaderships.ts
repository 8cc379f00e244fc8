import type { Clock, ReplicaId } from '@cordillera/base'
import { chooseSuccessor } from './drain-leaderships.js'
import type { Replica } from './replica.js'
import type { ReplicaLinks } from './replicas-options.js'
import type { StoreWatch } from './store-watch.js'

/**
 * Keeps leaderships away from a store that is not fit to lead, as long as it is not: those it has are handed over, and its
 * replicas campaign late, so that others come first. Both only where the range's fit stores are a quorum without this one;
 * elsewhere it stays, and campaigns, as any other.
 *
 * A store whose log is stalled can hand over: what the successor lacks, and the message that makes it campaign, leave
 * without a sync, and the successor needs nobody's vote but those of the fit.
 */
export interface ShedderParts {
  readonly clock: Clock
  readonly links: Pick<ReplicaLinks, 'isUp'>
  readonly stores: StoreWatch
  /** How long a replica here waits beyond its election timeout while others may take over. */
  readonly campaignDelayTicks: number
  /** Something is left to do for the replica. */
  markDirty(replica: Replica): void
}

/** A transfer is given up after an election timeout. One that failed is not begun again at once: it stops proposals. */
const RETRY_MS = 3_000

export class LeadershipShedder {
  readonly #parts: ShedderParts
  #triedAtMs = new WeakMap<Replica, number>()
  /** Some replica was told to campaign late. */
  #isReluctant = false

  constructor(parts: ShedderParts) {
    this.#parts = parts
  }

  onTick(replicas: Iterable<Replica>): void {
    const { stores, campaignDelayTicks } = this.#parts
    const { isUnfit } = stores
    if (!isUnfit && !this.#isReluctant) return
    if (!isUnfit) this.#triedAtMs = new WeakMap()
    for (const replica of replicas) {
      const mayLeave = isUnfit && stores.canLeave(replica.descriptor)
      replica.core.campaignDelayTicks = mayLeave ? campaignDelayTicks : 0
      if (mayLeave && replica.core.role === 'leader') this.#tryShed(replica)
    }
    this.#isReluctant = isUnfit
  }

  #tryShed(replica: Replica): void {
    const { clock, stores, links, markDirty } = this.#parts
    const nowMs = clock.now()
    if (nowMs - (this.#triedAtMs.get(replica) ?? Number.NEGATIVE_INFINITY) < RETRY_MS) return
    const to: ReplicaId = chooseSuccessor(replica, (node) => links.isUp(node) && stores.isFit(node))
    if (to === 0) return
    this.#triedAtMs.set(replica, nowMs)
    stores.counts.leadershipsShed++
    replica.core.transferLeadership(to)
    markDirty(replica)
  }
}
