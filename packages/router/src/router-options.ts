import type { Clock, Incarnation, Key, Logger, Random, RangeId } from '@cordillera/base'
import type { RouterLimits } from './limits.js'
import type { RangeCall } from './range-call.js'
import type { SnapshotSource } from './snapshot-source.js'

export interface RouterOptions {
  readonly rangeCall: RangeCall
  /** Of this node: with it, the numbers of writes are never used again. */
  readonly incarnation: Incarnation
  readonly snapshots: SnapshotSource
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly limits: RouterLimits
  /**
   * Told, once a sweep, of a key that operations wait for and no known range holds. Whoever knows better answers with
   * `Router.learn`.
   */
  readonly onRouteMissing?: (key: Key) => void
  /**
   * Told, again and again while it is so, that a range is not where it was believed to be, or that nobody there can be
   * reached. As above.
   */
  readonly onRouteLost?: (rangeId: RangeId) => void
}
