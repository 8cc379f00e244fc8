import type { Clock } from '@cordillera/base'
import type { Ready } from '@cordillera/raft-core'
import type { RaftLog } from '@cordillera/raft-log'
import type { Replica } from './replica.js'

/**
 * A turn: every replica that has something to do is processed once; what they appended becomes durable with one flush of the
 * shared log; when that resolves, their promises are sent, in the order in which they were made. What throws, and a flush that
 * fails, is told, and ends in {@link close}.
 */
export interface ReadyLoopParts {
  readonly clock: Clock
  readonly log: RaftLog
  readonly counts: { turns: number }
  onFatal(error: unknown): void
}

export class ReadyLoop {
  readonly #parts: ReadyLoopParts
  #dirty: Replica[] = []
  /** Replicas and readies of the turn under way that wait for its flush, pairwise. */
  #syncing: (Replica | Ready)[] = []
  #isScheduled = false
  #isClosed = false

  constructor(parts: ReadyLoopParts) {
    this.#parts = parts
  }

  /** Has the replica processed with the next turn. */
  add(replica: Replica): void {
    if (replica.dirty) return
    replica.dirty = true
    this.#dirty.push(replica)
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#parts.clock.defer(() => this.#turn())
  }

  /** From within {@link Replica.process}: it has appended what the ready says. */
  needSync(replica: Replica, ready: Ready): void {
    this.#syncing.push(replica, ready)
  }

  /** Nothing is processed any more. */
  close(): void {
    this.#isClosed = true
    this.#dirty = []
  }

  #turn(): void {
    this.#isScheduled = false
    if (this.#isClosed) return
    this.#parts.counts.turns++
    const dirty = this.#dirty
    this.#dirty = []
    try {
      for (const replica of dirty) {
        replica.dirty = false
        replica.process()
      }
      if (this.#syncing.length > 0) this.#flush()
    } catch (error) {
      this.#parts.onFatal(error)
    }
  }

  #flush(): void {
    const syncing = this.#syncing
    this.#syncing = []
    this.#parts.log.flush().then(
      () => this.#onFlushed(syncing),
      (error) => this.#parts.onFatal(error),
    )
  }

  #onFlushed(syncing: (Replica | Ready)[]): void {
    if (this.#isClosed) return
    try {
      for (let i = 0; i < syncing.length; i += 2) (syncing[i] as Replica).onSynced(syncing[i + 1] as Ready)
    } catch (error) {
      this.#parts.onFatal(error)
    }
  }
}
