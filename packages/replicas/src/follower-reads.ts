import type { RangeId, Version } from '@cordillera/base'
import type { IndexRequest, RangeReply, ReadRequest, ScanRequest } from '@cordillera/wire'
import type { LockDecisions } from './lock-decisions.js'
import type { ReplyTo } from './proposals.js'
import type { WaitingRead } from './waiting-reads.js'

/**
 * Reads that a follower serves, on their way to the leader and back (thesis 6.4): the reads of a turn share one question,
 * which leaves after they have come, and are served once as much has applied here as the leader says. It confirms its
 * leadership for the question as for a read of its own. A read at a timestamp raises the leader's floor with it, so that no
 * write comes below it any more.
 */
export interface FollowerReadsParts {
  readonly rangeId: () => RangeId
  /** Asks the leader; false: nobody is known to lead, or it cannot be reached. */
  ask(request: IndexRequest, onReply: (reply: RangeReply | undefined) => void): boolean
  onIndexed(index: number, reads: readonly WaitingRead[]): void
  onRefused(reads: readonly WaitingRead[]): void
}

export class FollowerReads {
  readonly #parts: FollowerReadsParts
  #gathering: WaitingRead[] = []
  #at: Version = 0
  #asked = 0

  constructor(parts: FollowerReadsParts) {
    this.#parts = parts
  }

  /** Reads that wait for the leader's word. */
  get size(): number {
    return this.#gathering.length + this.#asked
  }

  add(request: ReadRequest | ScanRequest, reply: ReplyTo, decisions?: LockDecisions): void {
    this.#gathering.push({ request, reply, indexMin: 0, ...(decisions === undefined ? {} : { decisions }) })
    if (request.at > this.#at) this.#at = request.at
  }

  /** Those that nobody has been asked about. */
  takeGathered(): readonly WaitingRead[] {
    return this.#gathering.splice(0)
  }

  /** Asks for everything that has gathered. */
  flush(): void {
    const reads = this.#gathering
    if (reads.length === 0) return
    const at = this.#at
    this.#gathering = []
    this.#at = 0
    this.#asked += reads.length
    const { ask, rangeId, onIndexed, onRefused } = this.#parts
    const isAsked = ask({ kind: 'index', rangeId: rangeId(), at }, (reply) => {
      this.#asked -= reads.length
      if (reply?.kind === 'indexed') onIndexed(reply.index, reads)
      else onRefused(reads)
    })
    if (isAsked) return
    this.#asked -= reads.length
    onRefused(reads)
  }
}
