import type { LogIndex, Version } from '@cordillera/base'
import type { RaftGroup } from '@cordillera/raft-core'
import { isFrozen, type Lock, spanContains } from '@cordillera/ranges'
import type { ReplicaState, StateStore } from '@cordillera/state'
import type {
  DecidedReply,
  IndexRequest,
  OutcomeRequest,
  RangeReply,
  ReadRequest,
  RefusedReply,
  ScanRequest,
  TimestampsRequest,
  VersionedValue,
} from '@cordillera/wire'
import { FollowerReads } from './follower-reads.js'
import { LockDecisions, locksAt, locksWithin, type SeenThrough, scanThrough, seenThrough } from './lock-decisions.js'
import type { ReplyTo } from './proposals.js'
import type { TimestampOrder } from './timestamp-order.js'
import { type WaitingRead, WaitingReads } from './waiting-reads.js'

/**
 * What is asked of one replica and changes nothing: it waits for the confirmation that somebody leads, here or elsewhere, in a
 * round begun after it arrived, then for the state to have applied as much as that says, and is answered. What the range is
 * may have changed by then: the epoch and the span are looked at last.
 */
export interface ReplicaReadsParts {
  readonly core: RaftGroup
  readonly state: ReplicaState
  readonly store: StateStore
  readonly order: TimestampOrder
  /** Asks the leader, elsewhere; false: nobody is known to lead, or it cannot be reached. */
  askLeader(request: IndexRequest, onReply: (reply: RangeReply | undefined) => void): boolean
  /** Gives out timestamps; leadership was confirmed. */
  issue(request: TimestampsRequest): RangeReply
  /** Asks a transaction's record, wherever it is, what it has come to as a reader at `at` (0: of the newest) sees it. */
  askOutcome(lock: Lock, at: Version): Promise<DecidedReply>
  /** {@link ReplicaReads.ask} is to be called. */
  wake(): void
  refused(reason: RefusedReply['reason']): RefusedReply
  /** `restoring`: the state is being replaced, and is nothing at the moment. */
  phase(): 'serving' | 'restoring' | 'closed'
  /** The store must stop. */
  onFatal(error: unknown): void
}

/** Values in one reply to a read; well below the limit of a frame. */
const VALUES_BYTES_MAX = 4 << 20

export class ReplicaReads {
  readonly #parts: ReplicaReadsParts
  readonly #waiting = new WaitingReads()
  readonly #byFollower: FollowerReads

  constructor(parts: ReplicaReadsParts) {
    this.#parts = parts
    this.#byFollower = new FollowerReads({
      rangeId: () => parts.state.descriptor.rangeId,
      ask: (request, onReply) => parts.askLeader(request, onReply),
      onIndexed: (index, reads) => {
        this.#waiting.addConfirmed(index, reads)
        if (parts.phase() === 'closed') this.refuseAll('closing')
        else this.serve()
      },
      onRefused: (reads) => this.#refuse(reads, 'not-leader'),
    })
  }

  /** Not yet answered. */
  get size(): number {
    return this.#waiting.size + this.#byFollower.size
  }

  /** Takes a request of a leader; as a follower, a read or scan that may be served by one. */
  add(request: WaitingRead['request'], reply: ReplyTo, decisions?: LockDecisions): void {
    const { core, order } = this.#parts
    const isFollowed = (request.kind === 'read' || request.kind === 'scan') && core.role !== 'leader'
    if (request.kind === 'timestamps') this.#waiting.add({ request, reply, indexMin: 0 })
    else if (isFollowed) this.#byFollower.add(request, reply, decisions)
    else {
      if (request.at > 0) order.raiseFloor(request.at)
      const indexMin = request.at > 0 ? core.lastIndex : 0
      this.#waiting.add({ request, reply, indexMin, ...(decisions === undefined ? {} : { decisions }) })
    }
  }

  /** Asks for the confirmation of all that has gathered. */
  ask(): void {
    this.#byFollower.flush()
    if (!this.#waiting.hasGathered) return
    const result = this.#parts.core.requestRead()
    if (result.kind === 'asked') this.#waiting.onAsked(result.readId)
    else this.#refuse(this.#waiting.takeDropped(undefined), 'not-leader')
  }

  onConfirmed(readId: number, index: LogIndex): void {
    this.#waiting.onConfirmed(readId, index)
  }

  onDropped(readId: number): void {
    this.#refuse(this.#waiting.takeDropped(readId), 'not-leader')
  }

  /** Answers what has been confirmed and applied. */
  serve(): void {
    const { state, phase } = this.#parts
    if (phase() !== 'serving') return
    for (;;) {
      const reads = this.#waiting.tryTake(state.appliedIndex)
      if (reads === undefined) return
      for (const read of reads) this.#answer(read)
    }
  }

  /** What somebody else was asked about ends with that answer. */
  refuseAll(reason: RefusedReply['reason']): void {
    this.#refuse([...this.#waiting.takeAll(), ...this.#byFollower.takeGathered()], reason)
  }

  #refuse(reads: readonly WaitingRead[], reason: RefusedReply['reason']): void {
    if (reads.length === 0) return
    const refusal = this.#parts.refused(reason)
    for (const read of reads) read.reply(refusal)
  }

  #answer({ request, reply, decisions }: WaitingRead): void {
    const { state, issue } = this.#parts
    if (request.kind === 'timestamps') reply(issue(request))
    else if (request.kind === 'index') reply({ kind: 'indexed', index: state.appliedIndex })
    else {
      const refusal = this.#refusalOf(request)
      if (refusal !== undefined) reply(refusal)
      else if (request.kind === 'outcome') reply(this.#outcomeOf(request))
      else this.#readPast(request, reply, decisions)
    }
  }

  /** The range may have changed since the request came. */
  #refusalOf(request: ReadRequest | ScanRequest | OutcomeRequest): RefusedReply | undefined {
    const { state, store, refused } = this.#parts
    if (request.epochVersion !== state.descriptor.epoch.version) return refused('epoch-mismatch')
    if (isFrozen(state.descriptor)) return refused('merging')
    const isLate = request.kind !== 'outcome' && request.at > 0 && request.at < store.safePoint
    return isLate ? refused('snapshot-expired') : undefined
  }

  #outcomeOf({ transaction }: OutcomeRequest): RangeReply {
    const record = this.#parts.state.memory.transactions.recordOf(transaction)
    return { kind: 'decided', state: record?.state ?? 'absent', version: record?.version ?? 0 }
  }

  /** Serves the read, once it is known what the locks in its way have come to. */
  #readPast(request: ReadRequest | ScanRequest, reply: ReplyTo, earlier: LockDecisions | undefined): void {
    const { transactions } = this.#parts.state.memory
    if (!transactions.hasLocks) {
      if (request.kind === 'scan') this.#scan(request, reply)
      else if (request.at > 0) void this.#readValuesAt(request, reply)
      else reply(this.#readValues(request))
      return
    }
    const decisions = earlier ?? new LockDecisions(request.at)
    const locks =
      request.kind === 'read'
        ? locksAt(transactions, request.keys, decisions)
        : locksWithin(transactions, request, decisions)
    const unknown = decisions.unknown(locks)
    if (unknown.length > 0) {
      this.#askDecisions(unknown, request, reply, decisions)
      return
    }
    const seen = seenThrough(locks, decisions)
    if (request.kind === 'scan') this.#scan(request, reply, seen)
    else if (request.at > 0) void this.#readValuesAt(request, reply, seen)
    else reply(this.#readValues(request, seen))
  }

  #askDecisions(
    locks: readonly Lock[],
    request: ReadRequest | ScanRequest,
    reply: ReplyTo,
    decisions: LockDecisions,
  ): void {
    const { askOutcome, refused, phase, wake } = this.#parts
    Promise.all(locks.map((lock) => askOutcome(lock, request.at))).then(
      (outcomes) => {
        let isStale = false
        for (const [i, outcome] of outcomes.entries())
          isStale = decisions.add(locks[i]!.transaction, outcome) || isStale
        if (phase() !== 'serving') reply(refused(phase() === 'closed' ? 'closing' : 'not-ready'))
        else if (isStale) {
          this.add(request, reply, decisions)
          wake()
        } else this.#answer({ request, reply, indexMin: 0, decisions })
      },
      () => reply(refused('overloaded')),
    )
  }

  /** At least one value; then as many as fit in a reply. The reader asks again for the rest. */
  #readValues(request: ReadRequest, seen?: SeenThrough): RangeReply {
    const { state, store, refused } = this.#parts
    const values: (VersionedValue | undefined)[] = []
    let bytes = 0
    for (const key of request.keys) {
      if (!spanContains(state.descriptor, key)) return refused('epoch-mismatch')
      const value = seen?.has(key) ? seen.get(key) : store.get(key)
      bytes += value?.value.length ?? 0
      if (bytes > VALUES_BYTES_MAX && values.length > 0) break
      values.push(value)
    }
    return { kind: 'values', values }
  }

  /** As {@link #readValues}, at a timestamp. What lies in the past may have to be looked for. */
  async #readValuesAt({ keys, at }: ReadRequest, reply: ReplyTo, seen?: SeenThrough): Promise<void> {
    const { state, store, refused } = this.#parts
    try {
      for (const key of keys) {
        if (spanContains(state.descriptor, key)) continue
        reply(refused('epoch-mismatch'))
        return
      }
      // All look-ups begin now, at one moment.
      const found = await Promise.all(keys.map((key) => (seen?.has(key) ? seen.get(key) : store.getAt(key, at))))
      const values: (VersionedValue | undefined)[] = []
      let bytes = 0
      for (const value of found) {
        bytes += value?.value.length ?? 0
        if (bytes > VALUES_BYTES_MAX && values.length > 0) break
        values.push(value)
      }
      reply({ kind: 'values', values })
    } catch (error) {
      this.#onReadFailed(error, reply)
    }
  }

  #scan(request: ScanRequest, reply: ReplyTo, seen?: SeenThrough): void {
    const { state, store, refused } = this.#parts
    const { start, end } = state.descriptor
    const inside = request.start >= start && (end === null || (request.end !== null && request.end <= end))
    if (!inside) {
      reply(refused('epoch-mismatch'))
      return
    }
    const scan = (part: Parameters<StateStore['scan']>[0]): ReturnType<StateStore['scan']> => store.scan(part)
    const scanned = seen === undefined || seen.size === 0 ? scan(request) : scanThrough(scan, request, seen)
    scanned.then(
      ({ entries, more }) => reply({ kind: 'scanned', entries, more }),
      (error) => this.#onReadFailed(error, reply),
    )
  }

  #onReadFailed(error: unknown, reply: ReplyTo): void {
    const { refused, phase, onFatal } = this.#parts
    reply(refused('closing'))
    if (phase() !== 'closed') onFatal(error)
  }
}
