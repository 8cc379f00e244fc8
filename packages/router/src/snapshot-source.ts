import type { Version } from '@cordillera/base'
import type { Done } from './pending-batch.js'

/** Where scans get their timestamps; implemented by `system`, which asks through `Router.askTimestamps`. */
export interface SnapshotSource {
  /**
   * Opens the snapshot at `at`, a timestamp that was given out (BAD_REQUEST otherwise), or, for 0, a new one: above
   * everything acknowledged before the call.
   */
  open(at: Version, deadlineMs: number, done: Done<Version>): void
  /** A use of the snapshot has ended; `mayGoOn`: it may be opened again for a while. */
  close(at: Version, mayGoOn: boolean): void
}
