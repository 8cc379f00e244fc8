import {
  type Clock,
  CordilleraError,
  type Incarnation,
  type Logger,
  type LogIndex,
  type NodeId,
  type Random,
  type RangeId,
  type ReplicaId,
  type Timer,
  type Version,
} from '@cordillera/base'
import type { Message, Ready } from '@cordillera/raft-core'
import type { RaftLog } from '@cordillera/raft-log'
import { checkWriteBlock, type Descriptor, SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { ReplicaState, StateStore } from '@cordillera/state'
import type { RangeRequest, TimestampsRequest } from '@cordillera/wire'
import { LogRetention } from './log-retention.js'
import { openRaftGroup } from './open-raft-group.js'
import type { ReplyTo } from './proposals.js'
import { Replica, type ReplicaHost, type ReplicaObserver } from './replica.js'
import { type RangeReport, reportRange } from './report.js'
import type { SystemSeat, TimestampSource, TimestampWaiter } from './timestamp-source.js'

/**
 * All replicas of a store: one ready loop, one tick, one log batch and one state database for thousands of groups.
 *
 * A turn: every replica that has something to do is processed once; what they appended becomes durable with one
 * flush of the shared log; when that resolves, their promises (votes, acknowledgements) are sent, in the order in
 * which they were made. A failed flush, or any broken invariant, stops the store: nothing is processed afterwards and
 * `onFatal` is called once.
 *
 * Groups without work rest (quiescence): they are not ticked. A follower rests only while the link to its leader's
 * node is up; whoever loses a link wakes every group that spans it.
 */

/** The way to other nodes; what `PeerLinks` offers. */
export interface ReplicaLinks {
  sendRaft(to: NodeId, rangeId: RangeId, message: Message): boolean
  isUp(node: NodeId): boolean
}

export interface ReplicasOptions {
  readonly nodeId: NodeId
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly log: RaftLog
  readonly state: StateStore
  readonly links: ReplicaLinks
  readonly limits: ReplicasLimits
  readonly timestamps: TimestampSource
  readonly systemSeat: SystemSeat
  readonly observer?: ReplicaObserver
  /** Called once, when the store has stopped itself. */
  readonly onFatal: (error: unknown) => void
}

export interface ReplicasLimits {
  readonly tickMs: number
  readonly electionTimeoutTicks: number
  readonly heartbeatIntervalTicks: number
  readonly inflightMessagesMax: number
  readonly inflightBytesMax: number
  readonly appendBytesMax: number
  readonly committedBytesMax: number
  readonly uncommittedBytesMax: number
  readonly entryBytesMax: number
  readonly pendingBytesMax: number
  readonly readsMax: number
  /** Ticks without a request after which a group may rest. */
  readonly idleTicksBeforeRest: number
  /** The state database is flushed when its overlay holds so much, … */
  readonly stateFlushBytes: number
  /** … or the oldest unflushed write is so old. */
  readonly stateFlushMs: number
}

export const defaultReplicasLimits: ReplicasLimits = {
  tickMs: 100,
  electionTimeoutTicks: 10,
  heartbeatIntervalTicks: 3,
  inflightMessagesMax: 256,
  inflightBytesMax: 8 << 20,
  appendBytesMax: 1 << 20,
  committedBytesMax: 1 << 20,
  uncommittedBytesMax: 32 << 20,
  entryBytesMax: 1 << 20,
  pendingBytesMax: 16 << 20,
  readsMax: 16_384,
  idleTicksBeforeRest: 10,
  stateFlushBytes: 64 << 20,
  stateFlushMs: 30_000,
}

export interface ReplicasCounts {
  proposals: number
  entriesApplied: number
  raftMessagesSent: number
  raftMessagesReceived: number
  raftMessagesUnsent: number
  leaderChanges: number
  turns: number
}

/** A transfer is given up after an election timeout; then it was tried once more in vain. */
const DRAIN_STUCK_MS = 1_500
/** How long no request must have come before a drain is over. */
const DRAIN_QUIET_MS = 200

export class Replicas implements ReplicaHost {
  readonly counts: ReplicasCounts = {
    proposals: 0,
    entriesApplied: 0,
    raftMessagesSent: 0,
    raftMessagesReceived: 0,
    raftMessagesUnsent: 0,
    leaderChanges: 0,
    turns: 0,
  }
  readonly #options: ReplicasOptions
  readonly #byRange = new Map<RangeId, Replica>()
  readonly #awake = new Set<Replica>()
  readonly #retention: LogRetention
  #dirty: Replica[] = []
  #turnScheduled = false
  #tickTimer: Timer | undefined
  /** Replicas and readies of the turn under way that wait for its flush, pairwise. */
  #syncing: (Replica | Ready)[] = []
  #phase: 'running' | 'draining' | 'closed' = 'running'
  #lastRequestAt = Number.NEGATIVE_INFINITY
  /** Ranges whose replica here must not take part, with the reason. */
  readonly silenced = new Map<RangeId, string>()

  /**
   * Opens every replica of the state database; call once, before any message is delivered. Each has a group in the log
   * from the moment it was made: where that is missing or damaged, the replica stays silent. Throws LOG_DAMAGED where
   * it is the only one of its range, CORRUPT when the state database is older than the log.
   */
  constructor(options: ReplicasOptions) {
    this.#options = options
    this.#retention = new LogRetention({ ...options, onFatal: (error) => this.onFatal(error) }, this.#byRange)
    for (const state of options.state.replicas.values()) this.#openReplica(state)
    this.#scheduleTick()
  }

  // --- what the router and the node ask ---

  replica(rangeId: RangeId): Replica | undefined {
    return this.#byRange.get(rangeId)
  }

  replicas(): Iterable<Replica> {
    return this.#byRange.values()
  }

  *descriptors(): Iterable<Descriptor> {
    for (const replica of this.#byRange.values()) yield replica.descriptor
  }

  report(): RangeReport[] {
    return Array.from(this.#byRange.values(), reportRange)
  }

  /**
   * Executes a request of another process, as {@link execute}. Throws `CORRUPT`, taking nothing, when a write's block is
   * malformed: what is in the log must be applicable everywhere.
   */
  executeForeign(request: RangeRequest, reply: ReplyTo): void {
    if (request.kind === 'write') checkWriteBlock(request.block)
    this.execute(request, reply)
  }

  /** Executes a request at the replica here; `reply` is called exactly once, possibly at once. */
  execute(request: RangeRequest, reply: ReplyTo): void {
    if (this.#phase === 'draining') this.#lastRequestAt = this.#options.clock.now()
    const replica = this.#byRange.get(request.rangeId)
    if (this.#phase === 'closed') reply({ kind: 'refused', reason: 'closing', leader: 0, descriptors: [] })
    else if (replica === undefined) reply({ kind: 'refused', reason: 'no-range', leader: 0, descriptors: [] })
    else replica.execute(request, reply)
  }

  /** Asks the leader here to hand over to the replica on `node`; the attempt may come to nothing. */
  transferLeadership(rangeId: RangeId, node: NodeId): boolean {
    const replica = this.#byRange.get(rangeId)
    if (replica === undefined) return false
    const started = replica.core.transferLeadership(replica.replicaOn(node)) === 'started'
    if (started) this.markDirty(replica)
    return started
  }

  /** Begins an election now, for a group that has no leader yet. */
  campaign(replica: Replica): void {
    replica.core.campaign()
    this.markDirty(replica)
  }

  // --- what arrives from other nodes ---

  onRaft(_from: NodeId, rangeId: RangeId, message: Message): void {
    if (this.#phase === 'closed') return
    this.counts.raftMessagesReceived++
    const replica = this.#byRange.get(rangeId)
    if (replica === undefined || replica.replicaId !== message.to) return
    // Who gives its leaderships away takes none: two nodes that drain would hand them back and forth.
    if (message.kind === 'timeout-now' && this.#phase === 'draining') return
    replica.step(message)
  }

  /** What every replica of these ranges is known to hold, said by their leaders. */
  onReplicated(indexes: Iterable<readonly [RangeId, LogIndex]>): void {
    for (const [rangeId, index] of indexes) this.#retention.onReplicated(rangeId, index)
  }

  /** The indexes to say to the other replicas' nodes, for the ranges led here; again until {@link onReplicatedSaid}. */
  replicatedIndexes(): Map<NodeId, [RangeId, LogIndex][]> {
    return this.#retention.replicatedIndexes()
  }

  onReplicatedSaid(node: NodeId, indexes: readonly (readonly [RangeId, LogIndex])[]): void {
    this.#retention.onSaid(node, indexes)
  }

  onLinkUp(node: NodeId, _incarnation: Incarnation): void {
    this.#retention.onLinkUp(node)
    this.#wakeAll(node)
  }

  onLinkDown(node: NodeId): void {
    for (const replica of this.#byRange.values()) {
      const peer = replica.replicaOn(node)
      if (peer !== 0 && replica.core.role === 'leader') replica.core.onPeerUnreachable(peer)
    }
    this.#wakeAll(node)
  }

  /** The process of `node` is gone: what it led needs a new leader now, not after an election timeout. */
  onNodeGone(node: NodeId): void {
    for (const replica of this.#byRange.values()) {
      if (replica.core.role === 'leader' || replica.nodeOf(replica.core.leader) !== node) continue
      replica.core.onLeaderUnreachable()
      this.markDirty(replica)
    }
  }

  // --- the host's side of a replica ---

  send(to: NodeId, replica: Replica, message: Message): boolean {
    if (this.#options.links.sendRaft(to, replica.descriptor.rangeId, message)) {
      this.counts.raftMessagesSent++
      return true
    }
    this.counts.raftMessagesUnsent++
    return false
  }

  needSync(replica: Replica, ready: Ready): void {
    this.#syncing.push(replica, ready)
  }

  markDirty(replica: Replica): void {
    if (!replica.core.quiescent) this.#awake.add(replica)
    if (replica.dirty) return
    replica.dirty = true
    this.#dirty.push(replica)
    if (this.#turnScheduled) return
    this.#turnScheduled = true
    this.#options.clock.defer(() => this.#turn())
  }

  onRoleChange(replica: Replica): void {
    const { core, descriptor } = replica
    if (core.role === 'leader') this.counts.leaderChanges++
    else if (descriptor.rangeId === SYSTEM_RANGE_ID) this.#options.systemSeat.onLeadingEnded()
    this.#options.logger.debug('role-changed', {
      rangeId: descriptor.rangeId,
      role: core.role,
      term: core.term,
      leader: replica.nodeOf(core.leader),
    })
  }

  askTimestamps(waiter: TimestampWaiter): void {
    this.#options.timestamps.ask(waiter)
  }

  onLeadershipUsable(replica: Replica): void {
    if (replica.descriptor.rangeId === SYSTEM_RANGE_ID) this.#options.systemSeat.onLeading(replica)
  }

  issueTimestamps(
    replica: Replica,
    request: TimestampsRequest,
  ): { readonly first: Version; readonly safePoint: Version } | undefined {
    return replica.descriptor.rangeId === SYSTEM_RANGE_ID ? this.#options.systemSeat.issue(request) : undefined
  }

  /** Silences this replica alone; where it is the only one of its range, the store stops. */
  onLogDamaged(replica: Replica, error: CordilleraError): void {
    const { descriptor } = replica
    if (descriptor.replicas.length === 1) {
      this.onFatal(error)
      return
    }
    this.#byRange.delete(descriptor.rangeId)
    this.#awake.delete(replica)
    replica.close()
    this.#silence(descriptor, 'log-damaged')
  }

  onFatal(error: unknown): void {
    if (this.#phase === 'closed') return
    this.#stop()
    this.#options.onFatal(error)
  }

  // --- lifecycle ---

  /**
   * Hands every leadership to a reachable peer. Resolves when none is left here, when `timeoutMs` have passed, or when
   * no more could be handed over for a while: others may be draining too, and take none; in the first case once every
   * request is answered and none has come for a while, because others still send here until they know better. Requests
   * are served, or redirected, meanwhile. Groups here do not campaign any more.
   */
  drain(timeoutMs: number): Promise<void> {
    if (this.#phase === 'running') this.#phase = 'draining'
    const { clock } = this.#options
    const deadline = clock.now() + timeoutMs
    let [least, leastSince] = [Number.POSITIVE_INFINITY, clock.now()]
    return new Promise((resolve) => {
      const round = (): void => {
        const led = [...this.#byRange.values()].filter((replica) => replica.core.role === 'leader')
        const movable = led.filter((replica) => this.#handOver(replica)).length
        if (movable < least) [least, leastSince] = [movable, clock.now()]
        const isStuck = movable > 0 && clock.now() - leastSince >= DRAIN_STUCK_MS
        const isDone = movable === 0 && this.#isQuiet()
        if (isDone || isStuck || this.#phase === 'closed' || clock.now() >= deadline) resolve()
        else clock.after(20, round)
      }
      round()
    })
  }

  /** Every request is answered, and nobody has asked for anything lately. */
  #isQuiet(): boolean {
    if (this.#options.clock.now() - this.#lastRequestAt < DRAIN_QUIET_MS) return false
    for (const replica of this.#byRange.values()) if (!replica.isIdle) return false
    return true
  }

  /** Answers everything that waits and stops. Does not close the log or the state. */
  close(): void {
    if (this.#phase !== 'closed') this.#stop()
  }

  #stop(): void {
    this.#phase = 'closed'
    this.#tickTimer?.cancel()
    for (const replica of this.#byRange.values()) replica.close()
    this.#dirty = []
  }

  /** True while there is a peer that could take this leadership. */
  #handOver(replica: Replica): boolean {
    let best: ReplicaId = 0
    let bestMatch = -1
    let isBestActive = false
    for (const place of replica.descriptor.replicas) {
      if (place.replicaId === replica.replicaId || !this.#options.links.isUp(place.nodeId)) continue
      const { matchIndex, recentlyActive } = replica.core.progressOf(place.replicaId) ?? NOTHING_KNOWN
      // A node may be there, and its replica silent.
      if (recentlyActive === isBestActive ? matchIndex <= bestMatch : isBestActive) continue
      best = place.replicaId
      bestMatch = matchIndex
      isBestActive = recentlyActive
    }
    if (best === 0) return false
    replica.core.transferLeadership(best)
    this.markDirty(replica)
    return true
  }

  // --- turns and ticks ---

  #turn(): void {
    this.#turnScheduled = false
    if (this.#phase === 'closed') return
    this.counts.turns++
    const dirty = this.#dirty
    this.#dirty = []
    try {
      for (const replica of dirty) {
        replica.dirty = false
        replica.process()
      }
      if (this.#syncing.length > 0) this.#flushTurn()
    } catch (error) {
      this.onFatal(error)
    }
  }

  #flushTurn(): void {
    const syncing = this.#syncing
    this.#syncing = []
    this.#options.log.flush().then(
      () => this.#onFlushed(syncing),
      (error) => this.onFatal(error),
    )
  }

  #onFlushed(syncing: (Replica | Ready)[]): void {
    if (this.#phase === 'closed') return
    try {
      for (let i = 0; i < syncing.length; i += 2) (syncing[i] as Replica).onSynced(syncing[i + 1] as Ready)
    } catch (error) {
      this.onFatal(error)
    }
  }

  #scheduleTick(): void {
    this.#tickTimer = this.#options.clock.after(this.#options.limits.tickMs, () => {
      if (this.#phase === 'closed') return
      try {
        this.#tick()
        this.#scheduleTick()
      } catch (error) {
        this.onFatal(error)
      }
    })
  }

  #tick(): void {
    for (const replica of this.#awake) {
      const { core } = replica
      if (core.quiescent) {
        if (this.#mayRest(replica)) {
          this.#awake.delete(replica)
          continue
        }
        core.wake()
      }
      if (this.#phase === 'running' || core.role === 'leader') core.tick()
      replica.idleTicks = replica.requestsSinceTick === 0 && replica.isIdle ? replica.idleTicks + 1 : 0
      replica.requestsSinceTick = 0
      if (replica.idleTicks >= this.#options.limits.idleTicksBeforeRest) this.#tryRest(replica)
      if (core.hasReady()) this.markDirty(replica)
    }
    this.#retention.onTick()
  }

  #tryRest(replica: Replica): void {
    const { core } = replica
    if (core.role !== 'leader' || !core.canQuiesce() || !this.#mayRest(replica)) return
    core.quiesce()
    this.markDirty(replica)
  }

  /** A leader rests while it hears every voter's node, a follower while it hears its leader's. */
  #mayRest(replica: Replica): boolean {
    if (replica.descriptor.rangeId === SYSTEM_RANGE_ID || this.#phase !== 'running') return false
    const { links, nodeId } = this.#options
    if (replica.core.role === 'leader') {
      return replica.descriptor.replicas.every((place) => place.nodeId === nodeId || links.isUp(place.nodeId))
    }
    const leaderNode = replica.nodeOf(replica.core.leader)
    return leaderNode !== 0 && links.isUp(leaderNode)
  }

  #wakeAll(node: NodeId): void {
    for (const replica of this.#byRange.values()) {
      if (replica.core.quiescent && replica.replicaOn(node) !== 0) {
        replica.core.wake()
        this.markDirty(replica)
      }
    }
  }

  // --- opening ---

  /** Its vote and acknowledgements may be forgotten: it must not take part until it is replaced under a new id. */
  #silence(descriptor: Descriptor, reason: 'log-damaged' | 'log-missing'): void {
    const { rangeId } = descriptor
    if (descriptor.replicas.length === 1) {
      throw new CordilleraError('LOG_DAMAGED', {
        detail: `the log of range ${rangeId} is damaged or gone, and there is no other replica to repair it from`,
      })
    }
    this.silenced.set(rangeId, reason)
    this.#options.logger.error('replica-silenced', { rangeId, reason })
  }

  #openReplica(state: ReplicaState): void {
    const { log, random, limits, clock, observer, state: store } = this.#options
    const { descriptor, replicaId } = state
    const group = log.groups.get(replicaId)
    if (group === undefined || group.damaged) {
      this.#silence(descriptor, group === undefined ? 'log-missing' : 'log-damaged')
      return
    }
    const core = openRaftGroup(state, group, random, limits)
    const replica = new Replica({ core, log: group, state, store, clock, host: this, limits, observer })
    this.#byRange.set(descriptor.rangeId, replica)
    observer?.onOpened(replica)
    this.markDirty(replica)
  }
}

const NOTHING_KNOWN = { matchIndex: -1, recentlyActive: false } as const
