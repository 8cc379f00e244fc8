import {
  type Clock,
  CordilleraError,
  type Key,
  type LogIndex,
  NO_BYTES,
  type NodeId,
  type ReplicaId,
  type Term,
  type Version,
} from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type Entry, type Message, type RaftGroup, type Ready } from '@cordillera/raft-core'
import type { GroupLog } from '@cordillera/raft-log'
import {
  type AdminCommand,
  type Descriptor,
  decodeWriteBlock,
  encodeAdminCommand,
  encodeReplicaChanges,
  isFrozen,
  meetsLocksAlone,
  OUTCOME_LOCKED,
  type ReplicaChange,
  WriteBlockBuilder,
} from '@cordillera/ranges'
import type { ReplicaState, StateStore } from '@cordillera/state'
import type {
  RangeReply,
  RangeRequest,
  RefusedReply,
  TimestampsRequest,
  VersionedValue,
  WriteRequest,
} from '@cordillera/wire'
import { EntryApplier } from './entry-applier.js'
import { LeaderWrites } from './leader-writes.js'
import { configurationOf, stepsOf } from './membership.js'
import { Proposals, type ReplyTo } from './proposals.js'
import type { ReplicaHost, ReplicaLimits, ReplicaObserver } from './replica-host.js'
import { ReplicaReads } from './replica-reads.js'
import type { RequestSampler } from './request-sampler.js'
import { TimestampOrder } from './timestamp-order.js'
import type { SystemLeadership } from './timestamp-source.js'

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

/** So many right halves a refusal tells of. */
const SPLIT_OFF_MAX = 8
/** More than a range has replicas that come and go at a time. */
const STRANGERS_MAX = 16

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
  readonly #reads: ReplicaReads
  readonly #applier: EntryApplier
  /** The term in which this replica was last said to lead with everything earlier applied. */
  #usableTerm: Term = 0
  #closed = false
  #loading = false
  #isRestoring = false
  /** What was cut off from this range lately, the last first: who comes here for it is told where it is. */
  #splitOff: readonly ReplicaState[] = []
  /** Where replicas are that have spoken to this one and are not in its descriptor (yet, or any more). */
  readonly #strangers = new Map<ReplicaId, NodeId>()
  /** Requests since the last tick: a busy group does not rest. */
  requestsSinceTick = 0
  /** Ticks in a row without a request. */
  idleTicks = 0
  /** Owned by the host: already in its list for this turn. */
  dirty = false
  /** Cumulative, for load figures. */
  readonly counts = { reads: 0, writes: 0, entriesApplied: 0 }
  /** Undefined while nobody wants to know. */
  sampler: RequestSampler | undefined

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
    this.#applier = new EntryApplier({
      ...{ state, store, order: this.#order, proposals: this.#proposals },
      refused: (reason) => this.#refused(reason),
      onReplicasChanged: () => this.#onReplicasChanged(),
      onSplit: (right) => this.#onSplit(right),
      onMerged: (right) => {
        this.#observer?.onMerged(this, right)
        parts.host.onMerged(this, right)
      },
      onAdminApplied: (command) => this.#onAdminApplied(command),
    })
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

    this.#reads = new ReplicaReads({
      ...{ core: parts.core, state, store, order: this.#order },
      askLeader: (request, onReply) => {
        const leader = this.core.role === 'leader' ? 0 : this.nodeOf(this.core.leader)
        return leader !== 0 && parts.host.call(leader, request, onReply)
      },
      issue: (request) => this.#issue(request),
      askOutcome: (lock, at) => parts.host.askOutcome(lock, at),
      wake: () => parts.host.markDirty(this),
      refused: (reason) => this.#refused(reason),
      phase: () => (this.#closed ? 'closed' : this.#isRestoring ? 'restoring' : 'serving'),
      onFatal: (error) => parts.host.onFatal(error),
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
    return this.#strangers.get(replicaId) ?? 0
  }

  /** A replica on the node that can lead; another one where none can; 0 where there is none. */
  replicaOn(nodeId: NodeId): ReplicaId {
    let found: ReplicaId = 0
    for (const { replicaId, nodeId: node, type } of this.descriptor.replicas) {
      if (node === nodeId && (found === 0 || type === 'voter' || type === 'incoming')) found = replicaId
    }
    return found
  }

  /** Whether this replica is in its range, as far as it knows. */
  get isMember(): boolean {
    return this.descriptor.replicas.some(({ replicaId }) => replicaId === this.replicaId)
  }

  /** It takes part no more. */
  get isClosed(): boolean {
    return this.#closed
  }

  /** It leads, and has applied everything that was committed before its term. */
  get isUsable(): boolean {
    return this.core.role === 'leader' && this.#usableTerm === this.core.term
  }

  /** A snapshot is taking the place of the state. */
  get isRestoring(): boolean {
    return this.#isRestoring
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
    this.sampler?.onRequest(request)
    switch (request.kind) {
      case 'write':
        this.counts.writes += request.count
        if (this.#meetsLocksAlone(request)) {
          reply({ kind: 'written', outcomes: new Array<number>(request.count).fill(OUTCOME_LOCKED) })
        } else this.#writes.add({ block: request.block, count: request.count, reply })
        return
      case 'timestamps':
        // The request itself may be the confirmation: it left its node after those it is for had begun to wait.
        if (this.core.isConfirmedBy(request.replicaId, request.term)) reply(this.#issue(request))
        else this.#reads.add(request, reply)
        break
      default:
        if (request.kind === 'read' || request.kind === 'scan')
          this.counts.reads += request.kind === 'read' ? request.keys.length : 1
        this.#reads.add(request, reply)
    }
    this.#host.markDirty(this)
  }

  /** Who waits for a lock asks again and again: that costs no entry. */
  #meetsLocksAlone({ block }: WriteRequest): boolean {
    const { transactions } = this.state.memory
    return transactions.hasLocks && meetsLocksAlone(decodeWriteBlock(block), transactions)
  }

  #decideRefusal(request: RangeRequest): RefusedReply['reason'] | undefined {
    if (this.#closed) return 'closing'
    const mayFollow = (request.kind === 'read' || request.kind === 'scan') && request.byFollower
    if (this.core.role !== 'leader' && !(mayFollow && this.isMember)) return 'not-leader'
    if (isFrozen(this.descriptor) && request.kind !== 'index') return 'merging'
    if (request.kind === 'write') {
      return this.#writes.bytes + request.block.length > this.#limits.pendingBytesMax ? 'overloaded' : undefined
    }
    if (this.#reads.size >= this.#limits.readsMax) return 'overloaded'
    if (request.kind === 'timestamps' || request.kind === 'index') return undefined
    return request.epochVersion === this.descriptor.epoch.version ? undefined : 'epoch-mismatch'
  }

  /** `from`: the node that it came from. */
  step(message: Message, from: NodeId): void {
    if (this.nodeOf(message.from) !== from) this.#meetStranger(message.from, from)
    if (message.kind === 'snapshot-request' && this.core.role !== 'leader') this.#seed(message.from)
    else this.core.step(message)
    this.#host.markDirty(this)
  }

  /**
   * A replica of this range that never was there, and so has promised nothing, may begin with what anyone of the range has applied:
   * that is committed, whoever leads, and nobody may.
   */
  #seed(peer: ReplicaId): void {
    const isMember = this.descriptor.replicas.some(({ replicaId }) => replicaId === peer)
    if (isMember && this.isMember && !this.#closed && !this.#isRestoring) this.#host.sendSnapshot(this, peer)
  }

  /** One turn's work: asks what has gathered, then drains the core once. */
  process(): void {
    if (this.#closed) return
    this.#reads.ask()
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
    for (const readId of ready.readsDropped) this.#reads.onDropped(readId)
    for (const { readId, index } of ready.reads) this.#reads.onConfirmed(readId, index)
    this.#reads.serve()
    if (ready.load !== undefined) this.#load(ready.load)
    for (const peer of ready.snapshots) this.#host.sendSnapshot(this, peer)
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

  /**
   * Proposes a change of the range's replicas; nothing says that it will be committed. Refused for the reasons of
   * `RaftGroup.proposeChange`.
   */
  proposeChanges(changes: readonly ReplicaChange[]): ReturnType<RaftGroup['proposeChange']> {
    if (this.#closed || isFrozen(this.descriptor)) return { kind: 'refused', reason: 'not-leader', leader: 0 }
    const bytes = encodeReplicaChanges(changes, ENTRY_HEADER_BYTES)
    const result = this.core.proposeChange(stepsOf(changes), bytes)
    if (result.kind === 'proposed') this.#host.markDirty(this)
    return result
  }

  /**
   * Proposes a command to the range itself; `reply` is called once: `written` when it has taken effect, with `epoch-mismatch`
   * when it surely has not, because the range is another one by now; otherwise as for a write.
   */
  proposeAdmin(command: AdminCommand, reply: ReplyTo): void {
    const result = this.#closed
      ? undefined
      : this.core.propose(encodeAdminCommand(command, ENTRY_HEADER_BYTES), 'admin')
    if (result?.kind !== 'proposed') {
      reply(this.#refused(result?.reason === 'overloaded' ? 'overloaded' : 'not-leader'))
      return
    }
    this.#proposals.add(result.index, result.term, [{ block: NO_BYTES, count: 0, reply }])
    this.#host.markDirty(this)
  }

  /** The snapshot for the peer arrived, or did not. */
  onSnapshotEnded(peer: ReplicaId): void {
    if (this.#closed) return
    this.core.onSnapshotEnded(peer)
    this.#host.markDirty(this)
  }

  /**
   * A complete snapshot is at hand. False: it is not wanted. Otherwise nothing is applied until {@link finishRestore}, and it
   * may be installed once the log is durable up to here.
   */
  tryBeginRestore(index: LogIndex, term: Term): boolean {
    if (this.#closed || !this.core.tryBeginRestore(index, term)) return false
    this.#isRestoring = true
    this.process()
    this.#host.markDirty(this)
    return true
  }

  /** The state is the snapshot's, durably. */
  finishRestore(): void {
    this.#isRestoring = false
    if (this.#closed) return
    const { appliedIndex: index, appliedTerm: term } = this.state
    const snapshot = { index, term, configuration: configurationOf(this.descriptor) }
    if (this.core.finishRestore(snapshot)) this.log.reset(index, term)
    this.#proposals.onRestored(index)
    this.#observer?.onRestored(this)
    this.#host.onDescriptorChanged(this)
    this.#host.markDirty(this)
  }

  /** Answers "unknown" to what was proposed: its outcome is known elsewhere sooner than here. */
  abandonProposals(): void {
    this.#proposals.abandon()
  }

  /** Refuses what waits and answers "unknown" to what was proposed. Nothing is processed afterwards. */
  close(): void {
    this.#closed = true
    this.#writes.refuseAll('closing')
    this.#reads.refuseAll('closing')
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

  #issue(request: TimestampsRequest): RangeReply {
    const issued = this.#host.issueTimestamps(this, request)
    return issued === undefined ? this.#refused('not-ready') : { kind: 'timestamps', ...issued }
  }

  #apply(committed: readonly Entry[]): void {
    if (committed.length === 0) return
    for (const entry of committed) this.#applier.apply(entry)
    this.core.onApplied(committed[committed.length - 1]!.index)
    this.counts.entriesApplied += committed.length
  }

  #onReplicasChanged(): void {
    this.#strangers.clear()
    this.core.onConfiguration(configurationOf(this.descriptor))
    this.#observer?.onConfiguration(this)
    this.#host.onDescriptorChanged(this)
  }

  /** The others are to apply it soon as well: somebody waits for all of them, or for a leader. */
  #onAdminApplied({ kind }: AdminCommand): void {
    this.core.announceCommit()
    if (kind === 'recover') this.#host.onDescriptorChanged(this)
    else if (kind !== 'split' && kind !== 'merge') this.#host.onMergeStep(this, kind)
  }

  #onSplit(right: ReplicaState): void {
    this.#splitOff = [right, ...this.#splitOff.slice(0, SPLIT_OFF_MAX - 1)]
    this.#observer?.onSplit(this, right)
    this.#host.onSplit(this, right)
  }

  /** Their number is bounded by forgetting all of them. */
  #meetStranger(replicaId: ReplicaId, nodeId: NodeId): void {
    if (this.#strangers.size >= STRANGERS_MAX) this.#strangers.clear()
    this.#strangers.set(replicaId, nodeId)
  }

  /** An entry of its own term behind it, a leader knows all that was committed before (thesis 6.4). */
  #noteUsable(committed: readonly Entry[]): void {
    const { core } = this
    if (this.#usableTerm === core.term || core.role !== 'leader' || committed.length === 0) return
    if (committed[committed.length - 1]!.term !== core.term) return
    this.#usableTerm = core.term
    this.#host.onLeadershipUsable(this)
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
      this.#reads.refuseAll('not-leader')
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
      descriptors: this.#descriptorsFor(reason),
    }
  }

  /** Who asks the wrong node may not know who is in the range by now, nor what of it is another one. */
  #descriptorsFor(reason: RefusedReply['reason']): readonly Descriptor[] {
    if (reason === 'not-leader' || reason === 'merging') return [this.descriptor]
    return reason === 'epoch-mismatch' ? [this.descriptor, ...this.#splitOff.map(({ descriptor }) => descriptor)] : []
  }
}
