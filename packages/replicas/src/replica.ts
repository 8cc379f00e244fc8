import {
  assert,
  type Clock,
  CordilleraError,
  type Key,
  type LogIndex,
  type NodeId,
  type ReplicaId,
  type Term,
  type Version,
} from '@cordillera/base'
import {
  ENTRY_HEADER_BYTES,
  type Entry,
  EntryType,
  type Message,
  type RaftGroup,
  type Ready,
} from '@cordillera/raft-core'
import type { GroupLog } from '@cordillera/raft-log'
import {
  type ApplyView,
  applyEntry,
  type BlockResult,
  type Descriptor,
  spanContains,
  WriteBlockBuilder,
} from '@cordillera/ranges'
import type { ReplicaState, StateStore } from '@cordillera/state'
import type {
  RangeReply,
  RangeRequest,
  ReadRequest,
  RefusedReply,
  ScanRequest,
  TimestampsRequest,
  VersionedValue,
} from '@cordillera/wire'
import { LeaderWrites } from './leader-writes.js'
import { type PendingBlock, Proposals, type ReplyTo } from './proposals.js'
import { TimestampOrder } from './timestamp-order.js'
import type { SystemLeadership, TimestampWaiter } from './timestamp-source.js'
import { type WaitingRead, WaitingReads } from './waiting-reads.js'

/**
 * One replica: a Raft group's core, its log and its part of the state, and the requests that wait for them.
 *
 * Everything here is synchronous; the host (`Replicas`) calls {@link process} once a turn for a replica that has
 * something to do, makes what it appended durable together with all other replicas, and comes back with
 * {@link onSynced}. Writes wait for their timestamps first: those that share a request for them become one entry. Reads
 * of one turn share one round of confirmation. Every request is answered exactly once. Nothing is served to a reader, and
 * no timestamp is given out, before leadership was confirmed by a round begun after the request. Which timestamps may
 * be used is `TimestampOrder`'s to say.
 */

/** Values in one reply to a read; well below the limit of a frame. */
const VALUES_BYTES_MAX = 4 << 20

/** What a replica asks of its host. */
/** Sees what replicas do, as they do it: for checkers. It must not change anything, nor throw. */
export interface ReplicaObserver {
  /** The replica was opened, on what its log and its state hold. */
  onOpened(replica: Replica): void
  /** What `ready` appends is in the log, not yet durable; nothing else of it was done. */
  onReady(replica: Replica, ready: Ready): void
  /** What `ready` appended, and everything before, is said to be durable; nothing was said to others yet. */
  onSynced(replica: Replica, ready: Ready): void
}

export interface ReplicaHost {
  /** False when the message is surely lost. */
  send(to: NodeId, replica: Replica, message: Message): boolean
  /** The replica has appended: it wants {@link Replica.onSynced} once the log is durable up to here. */
  needSync(replica: Replica, ready: Ready): void
  /** Something is left to do in a later turn. */
  markDirty(replica: Replica): void
  onRoleChange(replica: Replica): void
  /** Entries of its log are rotten: it must not take part any more. */
  onLogDamaged(replica: Replica, error: CordilleraError): void
  /** The store must stop. */
  onFatal(error: unknown): void
  /** The replica wants timestamps for its writes. */
  askTimestamps(waiter: TimestampWaiter): void
  /** It leads, and has applied everything that was committed before its term. Once a term. */
  onLeadershipUsable(replica: Replica): void
  /** Undefined: timestamps cannot be given out yet. */
  issueTimestamps(
    replica: Replica,
    request: TimestampsRequest,
  ): { readonly first: Version; readonly safePoint: Version } | undefined
}

export interface ReplicaLimits {
  /** Payload of one entry made of the blocks of several requests. */
  readonly entryBytesMax: number
  /** Blocks waiting to be proposed. */
  readonly pendingBytesMax: number
  readonly readsMax: number
}

export class Replica implements SystemLeadership {
  readonly core: RaftGroup
  readonly log: GroupLog
  readonly state: ReplicaState
  readonly #store: StateStore
  readonly #host: ReplicaHost
  readonly #limits: ReplicaLimits
  readonly #observer: ReplicaObserver | undefined
  readonly #order = new TimestampOrder()
  readonly #writes: LeaderWrites
  readonly #proposals = new Proposals()
  readonly #reads = new WaitingReads()
  readonly #applyView: ApplyView
  /** The term in which this replica was last said to lead with everything earlier applied. */
  #usableTerm: Term = 0
  #closed = false
  #loading = false
  /** Requests since the last tick: a busy group does not rest. */
  requestsSinceTick = 0
  /** Ticks in a row without a request. */
  idleTicks = 0
  /** Owned by the host: already in its list for this turn. */
  dirty = false
  /** Cumulative, for load figures. */
  readonly counts = { reads: 0, writes: 0, entriesApplied: 0 }

  constructor(parts: {
    readonly core: RaftGroup
    readonly log: GroupLog
    readonly state: ReplicaState
    readonly store: StateStore
    readonly clock: Clock
    readonly host: ReplicaHost
    readonly limits: ReplicaLimits
    readonly observer: ReplicaObserver | undefined
  }) {
    this.core = parts.core
    this.log = parts.log
    this.state = parts.state
    this.#store = parts.store
    this.#host = parts.host
    this.#limits = parts.limits
    this.#observer = parts.observer
    const { state, store } = parts
    this.#applyView = {
      get descriptor() {
        return state.descriptor
      },
      memory: state.memory,
      versionOf: (key) => store.versionOf(key),
    }
    this.#writes = new LeaderWrites({
      core: parts.core,
      order: this.#order,
      proposals: this.#proposals,
      clock: parts.clock,
      entryBytesMax: parts.limits.entryBytesMax,
      appliedAgeMs: () => state.memory.ageMs,
      ask: (waiter) => parts.host.askTimestamps(waiter),
      onProposed: () => parts.host.markDirty(this),
      refused: (reason) => this.#refused(reason),
    })
  }

  get descriptor(): Descriptor {
    return this.state.descriptor
  }

  get replicaId(): ReplicaId {
    return this.state.replicaId
  }

  /** The node of a replica of this range; 0 when it is unknown. */
  nodeOf(replicaId: ReplicaId): NodeId {
    for (const place of this.descriptor.replicas) if (place.replicaId === replicaId) return place.nodeId
    return 0
  }

  replicaOn(nodeId: NodeId): ReplicaId {
    for (const place of this.descriptor.replicas) if (place.nodeId === nodeId) return place.replicaId
    return 0
  }

  /** True while nothing of a request waits here. */
  get isIdle(): boolean {
    return this.#writes.isEmpty && this.#proposals.size === 0 && this.#reads.size === 0
  }

  /** Takes a request; its reply comes on a later turn, or at once when it is refused. A write's block is well-formed. */
  execute(request: RangeRequest, reply: ReplyTo): void {
    const refusal = this.#decideRefusal(request)
    if (refusal !== undefined) {
      reply(this.#refused(refusal))
      return
    }
    this.requestsSinceTick++
    switch (request.kind) {
      case 'write':
        this.#writes.add({ block: request.block, count: request.count, reply })
        this.counts.writes += request.count
        return
      case 'timestamps':
        // The request itself may be the confirmation: it left its node after those it is for had begun to wait.
        if (this.core.isConfirmedBy(this.replicaOn(request.nodeId), request.term)) this.#issue(request, reply)
        else this.#reads.add({ request, reply, indexMin: 0 })
        break
      default:
        this.#beginRead(request, reply)
        this.counts.reads += request.kind === 'read' ? request.keys.length : 1
    }
    this.#host.markDirty(this)
  }

  #beginRead(request: ReadRequest | ScanRequest, reply: ReplyTo): void {
    if (request.at > 0) this.#order.raiseFloor(request.at)
    this.#reads.add({ request, reply, indexMin: request.at > 0 ? this.core.lastIndex : 0 })
  }

  #decideRefusal(request: RangeRequest): RefusedReply['reason'] | undefined {
    if (this.#closed) return 'closing'
    if (this.core.role !== 'leader') return 'not-leader'
    if (request.kind === 'write') {
      return this.#writes.bytes + request.block.length > this.#limits.pendingBytesMax ? 'overloaded' : undefined
    }
    if (this.#reads.size >= this.#limits.readsMax) return 'overloaded'
    if (request.kind === 'timestamps') return undefined
    return request.epochVersion === this.descriptor.epoch.version ? undefined : 'epoch-mismatch'
  }

  step(message: Message): void {
    this.core.step(message)
    this.#host.markDirty(this)
  }

  /** One turn's work: asks what has gathered, then drains the core once. */
  process(): void {
    if (this.#closed) return
    if (this.#reads.hasGathered) this.#askRead()
    if (!this.core.hasReady()) return
    const ready = this.core.takeReady()
    if (ready.entries.length > 0 || ready.hardState !== undefined) this.log.append(ready.entries, ready.hardState)
    this.#observer?.onReady(this, ready)
    this.#send(ready.messages)
    if (ready.syncToken !== 0) this.#host.needSync(this, ready)
    else this.#send(ready.messagesAfterSync)
    if (ready.roleChange !== undefined) this.#onRoleChange()
    this.#apply(ready.committed)
    this.#noteUsable(ready.committed)
    for (const readId of ready.readsDropped) this.#refuseReads(this.#reads.takeDropped(readId))
    for (const { readId, index } of ready.reads) this.#reads.onConfirmed(readId, index)
    this.#serveReads()
    if (ready.load !== undefined) this.#load(ready.load)
    if (this.core.hasReady()) this.#host.markDirty(this)
  }

  /** The log is durable up to and including what `ready` appended. */
  onSynced(ready: Ready): void {
    if (this.#closed) return
    this.#observer?.onSynced(this, ready)
    this.#send(ready.messagesAfterSync)
    this.core.onSynced(ready.syncToken)
    if (this.core.hasReady()) this.#host.markDirty(this)
  }

  /** Refuses what waits and answers "unknown" to what was proposed. Nothing is processed afterwards. */
  close(): void {
    this.#closed = true
    this.#writes.refuseAll('closing')
    for (const read of this.#reads.takeAll()) read.reply(this.#refused('closing'))
    this.#proposals.abandon()
  }

  // --- for what runs beside the leader of the system range ---

  get term(): Term {
    return this.core.term
  }

  get(key: Key): VersionedValue | undefined {
    return this.#store.get(key)
  }

  propose(version: Version, key: Key, value: Uint8Array, onEnd: (isApplied: boolean) => void): void {
    const block = new WriteBlockBuilder(this.descriptor.epoch.version).put(0, key, value).take()
    const reply: ReplyTo = ({ kind }) => {
      if (kind !== 'unknown') onEnd(kind === 'written')
    }
    this.#writes.propose(version, 1, [{ block, count: 1, reply }])
  }

  #issue(request: TimestampsRequest, reply: ReplyTo): void {
    const issued = this.#host.issueTimestamps(this, request)
    reply(issued === undefined ? this.#refused('not-ready') : { kind: 'timestamps', ...issued })
  }

  #askRead(): void {
    const result = this.core.requestRead()
    if (result.kind === 'asked') this.#reads.onAsked(result.readId)
    else this.#refuseReads(this.#reads.takeDropped(undefined))
  }

  #refuseReads(reads: readonly WaitingRead[]): void {
    if (reads.length === 0) return
    const refusal = this.#refused('not-leader')
    for (const read of reads) read.reply(refusal)
  }

  #apply(committed: readonly Entry[]): void {
    if (committed.length === 0) return
    for (const entry of committed) this.#applyOne(entry)
    this.core.onApplied(committed[committed.length - 1]!.index)
    this.counts.entriesApplied += committed.length
  }

  #applyOne(entry: Entry): void {
    if (entry.type === EntryType.command) {
      // Only a proposer needs results: a leader, or one that was.
      const wantResults = this.#proposals.size > 0
      const applied = applyEntry(this.#applyView, entry.bytes, ENTRY_HEADER_BYTES, wantResults)
      const { timestamp, commandCount, writes, results } = applied
      this.#order.onApplied(timestamp, timestamp + commandCount - 1)
      this.#store.apply(this.state, entry.index, entry.term, writes)
      const waiting = this.#proposals.takeApplied(entry.index, entry.term)
      if (waiting !== undefined) this.#answer(waiting, results)
    } else {
      this.#store.apply(this.state, entry.index, entry.term, [])
      this.#proposals.takeApplied(entry.index, entry.term)
    }
  }

  /** An entry of its own term behind it, a leader knows all that was committed before (thesis 6.4). */
  #noteUsable(committed: readonly Entry[]): void {
    const { core } = this
    if (this.#usableTerm === core.term || core.role !== 'leader' || committed.length === 0) return
    if (committed[committed.length - 1]!.term !== core.term) return
    this.#usableTerm = core.term
    this.#host.onLeadershipUsable(this)
  }

  #answer(waiting: readonly PendingBlock[], results: readonly BlockResult[]): void {
    assert(waiting.length === results.length, 'an entry has a result for every block')
    for (let i = 0; i < waiting.length; i++) {
      const result = results[i]!
      const reply: RangeReply =
        result.kind === 'applied' ? { kind: 'written', outcomes: result.outcomes } : this.#refused('epoch-mismatch')
      waiting[i]!.reply(reply)
    }
  }

  #serveReads(): void {
    for (;;) {
      const reads = this.#reads.tryTake(this.state.appliedIndex)
      if (reads === undefined) return
      for (const { request, reply } of reads) {
        if (request.kind === 'timestamps') this.#issue(request, reply)
        else if (request.epochVersion !== this.descriptor.epoch.version) reply(this.#refused('epoch-mismatch'))
        else if (request.at > 0 && request.at < this.#store.safePoint) reply(this.#refused('snapshot-expired'))
        else if (request.kind === 'scan') this.#scan(request, reply)
        else if (request.at > 0) void this.#readValuesAt(request, reply)
        else reply(this.#readValues(request))
      }
    }
  }

  /** At least one value; then as many as fit in a reply. The reader asks again for the rest. */
  #readValues(request: ReadRequest): RangeReply {
    const values: (VersionedValue | undefined)[] = []
    let bytes = 0
    for (const key of request.keys) {
      if (!spanContains(this.descriptor, key)) return this.#refused('epoch-mismatch')
      const value = this.#store.get(key)
      bytes += value?.value.length ?? 0
      if (bytes > VALUES_BYTES_MAX && values.length > 0) break
      values.push(value)
    }
    return { kind: 'values', values }
  }

  /** As {@link #readValues}, at a timestamp. What lies in the past may have to be looked for. */
  async #readValuesAt({ keys, at }: ReadRequest, reply: ReplyTo): Promise<void> {
    try {
      for (const key of keys) {
        if (spanContains(this.descriptor, key)) continue
        reply(this.#refused('epoch-mismatch'))
        return
      }
      // All look-ups begin now, at one moment.
      const found = await Promise.all(keys.map((key) => this.#store.getAt(key, at)))
      const values: (VersionedValue | undefined)[] = []
      let bytes = 0
      for (const value of found) {
        bytes += value?.value.length ?? 0
        if (bytes > VALUES_BYTES_MAX && values.length > 0) break
        values.push(value)
      }
      reply({ kind: 'values', values })
    } catch (error) {
      reply(this.#refused('closing'))
      if (!this.#closed) this.#host.onFatal(error)
    }
  }

  #scan(request: ScanRequest, reply: ReplyTo): void {
    const { start, end } = this.descriptor
    const inside = request.start >= start && (end === null || (request.end !== null && request.end <= end))
    if (!inside) {
      reply(this.#refused('epoch-mismatch'))
      return
    }
    this.#store.scan(request).then(
      ({ entries, more }) => reply({ kind: 'scanned', entries, more }),
      (error) => {
        reply(this.#refused('closing'))
        if (!this.#closed) this.#host.onFatal(error)
      },
    )
  }

  #load(load: { readonly from: LogIndex; readonly to: LogIndex; readonly bytesMax: number }): void {
    if (this.#loading) return
    this.#loading = true
    this.log.load(load.from, load.to, load.bytesMax).then(
      () => {
        this.#loading = false
        if (this.#closed) return
        this.core.onLoaded()
        this.#host.markDirty(this)
      },
      (error) => {
        const isDamage = error instanceof CordilleraError && error.code === 'LOG_DAMAGED'
        if (!isDamage) this.#host.onFatal(error)
        else if (!this.#closed) this.#host.onLogDamaged(this, error)
      },
    )
  }

  #onRoleChange(): void {
    // What had gathered for a proposal was not proposed; the new leader may take it.
    if (this.core.role !== 'leader') {
      this.#writes.refuseAll('not-leader')
      this.#refuseReads(this.#reads.takeAll())
    }
    this.#host.onRoleChange(this)
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      const node = this.nodeOf(message.to)
      const sent = node !== 0 && this.#host.send(node, this, message)
      if (!sent && message.kind === 'append-request') this.core.onPeerUnreachable(message.to)
    }
  }

  #refused(reason: RefusedReply['reason']): RefusedReply {
    return {
      kind: 'refused',
      reason,
      leader: this.core.role === 'leader' ? this.nodeOf(this.replicaId) : this.nodeOf(this.core.leader),
      descriptors: reason === 'epoch-mismatch' ? [this.descriptor] : [],
    }
  }
}
