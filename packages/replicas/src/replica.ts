import { assert, CordilleraError, type LogIndex, type NodeId, type ReplicaId, type Version } from '@cordillera/base'
import {
  ENTRY_HEADER_BYTES,
  type Entry,
  EntryType,
  entryPayload,
  type Message,
  type RaftGroup,
  type Ready,
} from '@cordillera/raft-core'
import type { GroupLog } from '@cordillera/raft-log'
import {
  applyEntry,
  type BlockResult,
  checkWriteBlock,
  type Descriptor,
  joinBlocks,
  spanContains,
} from '@cordillera/ranges'
import type { ReplicaState, StateStore } from '@cordillera/state'
import type { RangeReply, RangeRequest, ReadRequest, RefusedReply, ScanRequest, VersionedValue } from '@cordillera/wire'
import { type PendingBlock, Proposals, type ReplyTo, writtenReply } from './proposals.js'
import { type WaitingRead, WaitingReads } from './waiting-reads.js'

/**
 * One replica: a Raft group's core, its log and its part of the state, and the requests that wait for them.
 *
 * Everything here is synchronous; the host (`Replicas`) calls {@link process} once a turn for a replica that has
 * something to do, makes what it appended durable together with all other replicas, and comes back with
 * {@link onSynced}. Requests of one turn become one entry and one round of confirmation. Every request is answered
 * exactly once. Nothing is served to a reader before leadership was confirmed by a round begun after the request.
 */

/** Values in one reply to a read; well below the limit of a frame. */
const VALUES_BYTES_MAX = 4 << 20

/** What a replica asks of its host. */
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
}

export interface ReplicaLimits {
  /** Payload of one entry made of the blocks of several requests. */
  readonly entryBytesMax: number
  /** Blocks waiting to be proposed. */
  readonly pendingBytesMax: number
  readonly readsMax: number
}

export class Replica {
  readonly core: RaftGroup
  readonly log: GroupLog
  readonly state: ReplicaState
  readonly #store: StateStore
  readonly #host: ReplicaHost
  readonly #limits: ReplicaLimits
  readonly #proposals = new Proposals()
  readonly #reads = new WaitingReads()
  #pending: PendingBlock[] = []
  #pendingBytes = 0
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
    readonly host: ReplicaHost
    readonly limits: ReplicaLimits
  }) {
    this.core = parts.core
    this.log = parts.log
    this.state = parts.state
    this.#store = parts.store
    this.#host = parts.host
    this.#limits = parts.limits
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
    return this.#pending.length === 0 && this.#proposals.size === 0 && this.#reads.size === 0
  }

  /**
   * Takes a request; its reply comes on a later turn, or at once when it is refused. Throws `CORRUPT`, taking nothing,
   * when a write's block is malformed: what is in the log must be applicable everywhere.
   */
  execute(request: RangeRequest, reply: ReplyTo): void {
    const refusal = this.#decideRefusal(request)
    if (refusal !== undefined) {
      reply(this.#refused(refusal))
      return
    }
    this.requestsSinceTick++
    if (request.kind === 'write') {
      checkWriteBlock(request.block)
      this.#pending.push({ block: request.block, count: request.count, reply })
      this.#pendingBytes += request.block.length
      this.counts.writes += request.count
    } else {
      this.#reads.add({ request, reply })
      this.counts.reads += request.kind === 'read' ? request.keys.length : 1
    }
    this.#host.markDirty(this)
  }

  #decideRefusal(request: RangeRequest): RefusedReply['reason'] | undefined {
    if (this.#closed) return 'closing'
    if (this.core.role !== 'leader') return 'not-leader'
    if (request.kind === 'write') {
      return this.#pendingBytes + request.block.length > this.#limits.pendingBytesMax ? 'overloaded' : undefined
    }
    if (this.#reads.size >= this.#limits.readsMax) return 'overloaded'
    return request.epochVersion === this.descriptor.epoch.version ? undefined : 'epoch-mismatch'
  }

  step(message: Message): void {
    this.core.step(message)
    this.#host.markDirty(this)
  }

  /** One turn's work: proposes and asks what has gathered, then drains the core once. */
  process(): void {
    if (this.#closed) return
    if (this.#pending.length > 0) this.#proposePending()
    if (this.#reads.hasGathered) this.#askRead()
    if (!this.core.hasReady()) return
    const ready = this.core.takeReady()
    if (ready.entries.length > 0 || ready.hardState !== undefined) this.log.append(ready.entries, ready.hardState)
    this.#send(ready.messages)
    if (ready.syncToken !== 0) this.#host.needSync(this, ready)
    else this.#send(ready.messagesAfterSync)
    if (ready.roleChange !== undefined) this.#onRoleChange()
    this.#apply(ready.committed)
    for (const readId of ready.readsDropped) this.#refuseReads(this.#reads.takeDropped(readId))
    for (const { readId, index } of ready.reads) this.#reads.onConfirmed(readId, index)
    this.#serveReads()
    if (ready.load !== undefined) this.#load(ready.load)
    if (this.core.hasReady()) this.#host.markDirty(this)
  }

  /** The log is durable up to and including what `ready` appended. */
  onSynced(ready: Ready): void {
    if (this.#closed) return
    this.#send(ready.messagesAfterSync)
    this.core.onSynced(ready.syncToken)
    if (this.core.hasReady()) this.#host.markDirty(this)
  }

  /** Refuses what waits and answers "unknown" to what was proposed. Nothing is processed afterwards. */
  close(): void {
    this.#closed = true
    for (const waiting of this.#pending.splice(0)) waiting.reply(this.#refused('closing'))
    for (const read of this.#reads.takeAll()) read.reply(this.#refused('closing'))
    this.#proposals.abandon()
  }

  #proposePending(): void {
    const pending = this.#pending
    this.#pending = []
    this.#pendingBytes = 0
    let from = 0
    while (from < pending.length) {
      let to = from
      let bytes = 0
      while (to < pending.length && (to === from || bytes + pending[to]!.block.length <= this.#limits.entryBytesMax)) {
        bytes += pending[to++]!.block.length
      }
      const blocks = from === 0 && to === pending.length ? pending : pending.slice(from, to)
      this.#propose(blocks)
      from = to
    }
  }

  #propose(blocks: readonly PendingBlock[]): void {
    const bytes = joinBlocks(
      ENTRY_HEADER_BYTES,
      blocks.map((waiting) => waiting.block),
    )
    const result = this.core.propose(EntryType.command, bytes)
    if (result.kind === 'proposed') {
      this.#proposals.add(result.index, result.term, blocks)
      return
    }
    const refusal = this.#refused(result.reason === 'overloaded' ? 'overloaded' : 'not-leader')
    for (const waiting of blocks) waiting.reply(refusal)
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
    // Until there is an oracle, a value's version is the index of the entry that wrote it.
    const version: Version = entry.index as number
    if (entry.type === EntryType.command) {
      const applied = applyEntry({ descriptor: this.descriptor }, entryPayload(entry), version)
      this.#store.apply(this.state, entry.index, entry.term, applied.writes, version)
      const waiting = this.#proposals.takeApplied(entry.index, entry.term)
      if (waiting !== undefined) this.#answer(waiting, applied.results)
    } else {
      this.#store.apply(this.state, entry.index, entry.term, [], version)
      this.#proposals.takeApplied(entry.index, entry.term)
    }
  }

  #answer(waiting: readonly PendingBlock[], results: readonly BlockResult[]): void {
    assert(waiting.length === results.length, 'an entry has a result for every block')
    for (let i = 0; i < waiting.length; i++) {
      const result = results[i]!
      waiting[i]!.reply(result.kind === 'written' ? writtenReply(result.versions) : this.#refused('epoch-mismatch'))
    }
  }

  #serveReads(): void {
    for (;;) {
      const reads = this.#reads.tryTake(this.state.appliedIndex)
      if (reads === undefined) return
      for (const { request, reply } of reads) {
        if (request.epochVersion !== this.descriptor.epoch.version) reply(this.#refused('epoch-mismatch'))
        else if (request.kind === 'read') reply(this.#readValues(request))
        else this.#scan(request, reply)
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
      const refusal = this.#refused('not-leader')
      for (const waiting of this.#pending.splice(0)) waiting.reply(refusal)
      this.#pendingBytes = 0
      this.#refuseReads(this.#reads.takeDropped(undefined))
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
