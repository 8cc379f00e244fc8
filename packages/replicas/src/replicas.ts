import type { CordilleraError, Incarnation, NodeId, RangeId, ReplicaId, Timer, Version } from '@cordillera/base'
import type { Message, Ready } from '@cordillera/raft-core'
import { checkWriteBlock, type Descriptor, type Lock, type RangeRecovery, SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { ReplicaState } from '@cordillera/state'
import type { DecidedReply, RangeReply, RangeRequest, SnapshotMessage, TimestampsRequest } from '@cordillera/wire'
import { AbsorbedRanges } from './absorbed-ranges.js'
import { destroyReplica } from './destroy-replica.js'
import { drainLeaderships } from './drain-leaderships.js'
import { EarlyVotes } from './early-votes.js'
import { LogRetention } from './log-retention.js'
import { beginSplitLog, forgetOrphans, isAlone, isRightHalf, openRaftGroup } from './open-raft-group.js'
import type { ReplyTo } from './proposals.js'
import { mayRest } from './quiescence.js'
import { ReadyLoop } from './ready-loop.js'
import { Replica } from './replica.js'
import type { ReplicaHost } from './replica-host.js'
import { newReplicasCounts, type ReplicasOptions } from './replicas-options.js'
import { LeadershipShedder } from './shed-leaderships.js'
import { type SilencedReplica, SilencedReplicas } from './silenced-replicas.js'
import { SnapshotReceiver } from './snapshot-receiver.js'
import { SnapshotSender } from './snapshot-sender.js'
import { mayCreate, type SnapshotsHost } from './snapshots-host.js'
import { type StoreWatch, watchStores } from './store-watch.js'
import { succeed } from './succession.js'
import type { TimestampWaiter } from './timestamp-source.js'
import { TokenBucket } from './token-bucket.js'

/**
 * All replicas of a store: one ready loop, one tick, one log batch and one state database for thousands of groups.
 *
 * They are processed in turns (`ReadyLoop`): one flush of the shared log serves all of a turn, and their promises (votes,
 * acknowledgements) are sent behind it, in the order in which they were made. A failed flush, or any broken invariant, stops
 * the store: nothing is processed afterwards and `onFatal` is called once.
 *
 * Groups without work rest (quiescence): they are not ticked. A follower rests only while the link to its leader's
 * node is up; whoever loses a link wakes every group that spans it.
 */

export class Replicas implements ReplicaHost {
  readonly counts = newReplicasCounts()
  readonly #options: ReplicasOptions
  readonly #byRange = new Map<RangeId, Replica>()
  readonly #awake = new Set<Replica>()
  /** How much of the logs is kept, and what nodes tell each other for it. */
  readonly retention: LogRetention
  /** How fast snapshots are sent, to all nodes together; a default before the cluster's setting is known. */
  readonly snapshotRate = new TokenBucket(32 << 20)
  readonly #host: SnapshotsHost
  readonly #sender: SnapshotSender
  readonly #receiver: SnapshotReceiver
  readonly #early = new EarlyVotes()
  readonly absorbed: AbsorbedRanges
  readonly #loop: ReadyLoop
  /** How fit this store and the others are. */
  readonly stores: StoreWatch
  readonly #shedder: LeadershipShedder
  #tickTimer: Timer | undefined
  #phase: 'running' | 'draining' | 'closed' = 'running'
  #lastRequestAt = Number.NEGATIVE_INFINITY
  readonly #silenced: SilencedReplicas

  /**
   * Opens every replica of the state database; call once, before any message is delivered. Each has a group in the log
   * from the moment it was made: where that is missing or damaged, the replica stays silent. Throws LOG_DAMAGED where
   * it is the only one of its range, CORRUPT when the state database is older than the log.
   */
  constructor(options: ReplicasOptions) {
    this.#options = options
    const { clock, log } = options
    this.#silenced = new SilencedReplicas(options.logger)
    this.absorbed = new AbsorbedRanges((rangeId) => this.#byRange.get(rangeId))
    this.#loop = new ReadyLoop({ clock, log, counts: this.counts, onFatal: (error) => this.onFatal(error) })
    this.#host = this.#snapshotsHost()
    this.#sender = new SnapshotSender(this.#host)
    this.#receiver = new SnapshotReceiver(this.#host)
    this.stores = watchStores(options, {
      onShort: (groups) => this.retention.onLogBytesMax(groups),
      onDead: (error) => this.onFatal(error),
    })
    this.#shedder = new LeadershipShedder({
      ...{ clock: options.clock, links: options.links, stores: this.stores },
      campaignDelayTicks: 2 * options.limits.electionTimeoutTicks,
      markDirty: (replica) => this.markDirty(replica),
    })
    const pinnedIndex = (replica: Replica) => this.#sender.pinnedIndex(replica)
    this.retention = new LogRetention(
      { ...options, pinnedIndex, mayFlush: () => !this.stores.isOut, onFatal: (error) => this.onFatal(error) },
      this.#byRange,
    )
    forgetOrphans(options.log, options.state)
    for (const state of options.state.replicas.values()) this.#openReplica(state)
    // Nobody else votes there: there is nobody to wait for.
    for (const replica of this.#byRange.values()) if (isAlone(replica.state)) this.campaign(replica)
    this.#scheduleTick()
  }

  /** Replicas here that must not take part, by range. */
  get silenced(): ReadonlyMap<RangeId, SilencedReplica> {
    return this.#silenced.byRange
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
    for (const { state } of this.silenced.values()) yield state.descriptor
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
    else if (replica === undefined) reply(this.absorbed.refusal(request.rangeId))
    else if (!this.stores.hasRoomFor(replica, request)) reply(this.stores.fullReply)
    else replica.execute(request, reply)
  }

  /** Whether the replica here led its range after this was called, and has applied what was committed then (thesis 6.4). */
  confirm(rangeId: RangeId): Promise<boolean> {
    return new Promise((resolve) => {
      this.execute({ kind: 'index', rangeId, at: 0 }, (reply) => resolve(reply.kind === 'indexed'))
    })
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

  onRaft(from: NodeId, rangeId: RangeId, message: Message): void {
    if (this.#phase === 'closed') return
    this.counts.raftMessagesReceived++
    const replica = this.#byRange.get(rangeId)
    if (replica === undefined || replica.replicaId !== message.to) {
      this.#onStranger(from, rangeId, message)
      return
    }
    // Who gives its leaderships away takes none: two nodes that drain would hand them back and forth.
    if (message.kind === 'timeout-now' && this.#phase === 'draining') return
    if (!this.stores.takes(replica, message)) return
    replica.step(message, from)
  }

  onSnapshot(from: NodeId, message: SnapshotMessage): void {
    if (this.#phase === 'closed') return
    if (message.kind === 'snapshot-credit' || message.kind === 'snapshot-ended') this.#sender.onMessage(from, message)
    else this.#receiver.onMessage(from, message)
  }

  onLinkUp(node: NodeId, _incarnation: Incarnation): void {
    this.retention.onLinkUp(node)
    this.#wakeAll(node)
  }

  onLinkDown(node: NodeId): void {
    for (const replica of this.#byRange.values()) {
      if (replica.core.role !== 'leader') continue
      for (const { nodeId, replicaId } of replica.descriptor.replicas) {
        if (nodeId === node) replica.core.onPeerUnreachable(replicaId)
      }
    }
    this.#sender.onLinkDown(node)
    this.#receiver.onLinkDown(node)
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
    this.#loop.needSync(replica, ready)
  }

  markDirty(replica: Replica): void {
    if (replica.isClosed) return
    if (!replica.core.quiescent) this.#awake.add(replica)
    this.#loop.add(replica)
  }

  onRoleChange(replica: Replica): void {
    const { core, descriptor } = replica
    // Nothing is applied here before it is on the disk, which does not answer.
    if (core.role !== 'leader' && this.stores.report.condition === 'stalled') replica.abandonProposals()
    if (core.role === 'leader') this.counts.leaderChanges++
    else if (descriptor.rangeId === SYSTEM_RANGE_ID) this.#options.systemSeat.onLeadingEnded()
    this.#options.logger.debug('role-changed', {
      rangeId: descriptor.rangeId,
      role: core.role,
      term: core.term,
      leader: replica.nodeOf(core.leader),
    })
  }

  call(to: NodeId, request: RangeRequest, onReply: (reply: RangeReply | undefined) => void): boolean {
    return this.#options.links.call(to, request, onReply)
  }

  sendSnapshot(replica: Replica, peer: ReplicaId): void {
    this.#sender.send(replica, peer)
  }

  onDescriptorChanged(replica: Replica): void {
    const { descriptor, replicaId } = replica
    const replicas = descriptor.replicas.map((place) => `${place.replicaId}@${place.nodeId} ${place.type}`)
    const { rangeId, epoch } = descriptor
    this.#options.logger.info('replicas-changed', { rangeId, replicaId, confVersion: epoch.confVersion, replicas })
    this.#options.onDescriptors([descriptor])
  }

  /**
   * The right half's group begins, or goes on where its log was before a crash. Where the left half is led, the right one is
   * campaigned for at once.
   */
  onSplit(left: Replica, right: ReplicaState): void {
    const { logger, onDescriptors } = this.#options
    const { descriptor, replicaId } = right
    this.#openReplica(right)
    this.#receiver.onCreated(replicaId)
    onDescriptors([left.descriptor, descriptor])
    logger.info('range-split', { rangeId: left.descriptor.rangeId, right: descriptor.rangeId, replicaId })
    const early = this.#early.take(replicaId)
    const replica = this.#byRange.get(descriptor.rangeId)
    if (replica === undefined) return
    if (left.core.role === 'leader') this.campaign(replica)
    else if (early !== undefined) replica.step(early.message, early.from)
  }

  onMerged(left: Replica, right: ReplicaState): void {
    const { rangeId } = left.descriptor
    this.#absorb(rangeId, [right])
    this.#options.logger.info('range-merged', { rangeId, right: right.descriptor.rangeId, replicaId: right.replicaId })
    this.#options.onDescriptors([left.descriptor])
    // Its log may go once its tombstone is durable; after a crash it goes at the next opening.
    this.#options.state
      .flush()
      .then(() => this.#options.log.removeGroup(right.replicaId))
      .catch((error) => this.onFatal(error))
  }

  onMergeStep({ descriptor }: Replica, step: string): void {
    const { rangeId, epoch, merge } = descriptor
    this.#options.logger.info('merge-step', { rangeId, step, version: epoch.version, attempt: merge?.attempt })
    this.#options.onDescriptors([descriptor])
  }

  askOutcome(lock: Lock, at: Version): Promise<DecidedReply> {
    return this.#options.askOutcome(lock, at)
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
    if (isAlone(replica.state)) {
      this.onFatal(error)
      return
    }
    this.#leave(replica)
    this.#silenced.addDamaged(replica.state, 'log-damaged')
  }

  /**
   * Silences a replica that was found to hold something else than a majority of its range, durably: its log counts as damaged
   * from now on. Without effect when it does not take part here.
   */
  async quarantine(rangeId: RangeId, replicaId: ReplicaId): Promise<void> {
    const replica = this.#byRange.get(rangeId)
    if (replica?.replicaId !== replicaId || replica.isRestoring || isAlone(replica.state)) return
    replica.log.markDamaged()
    this.#leave(replica)
    this.#silenced.addDamaged(replica.state, 'diverged')
    await this.#options.log.flush()
  }

  /**
   * Destroys a replica of this store that is in its range no more, or that is silenced: its state and its log, durably. Its id
   * is not used again. Rejects as the state does; without effect when it is being replaced by a snapshot, or gone already.
   */
  destroy(state: ReplicaState): Promise<void> {
    return destroyReplica(this.#host, state)
  }

  /**
   * Has the survivor of a recovery go on as another group, of which it is all (see `succeed`), and lead it. False: it is not
   * here, is another one by now, or cannot yet; nothing has changed.
   */
  async recover(state: ReplicaState, recovery: RangeRecovery): Promise<boolean> {
    const successor = await succeed(this.#host, state, recovery)
    if (successor === undefined || this.#phase === 'closed') return successor !== undefined
    this.#openReplica(successor)
    const replica = this.#byRange.get(recovery.rangeId)!
    this.onDescriptorChanged(replica)
    this.campaign(replica)
    return true
  }

  /** Silences a replica of what was given up by a recovery; without effect while a snapshot is being installed. */
  giveUp(replica: Replica): void {
    if (replica.isRestoring) return
    this.#leave(replica)
    this.#silenced.addGivenUp(replica.state, replica.log)
  }

  onFatal(error: unknown): void {
    if (this.#phase === 'closed') return
    this.#stop()
    this.#options.onFatal(error)
  }

  // --- lifecycle ---

  /** As {@link drainLeaderships}; groups here do not campaign any more. */
  drain(timeoutMs: number): Promise<void> {
    if (this.#phase === 'running') this.#phase = 'draining'
    const { clock, links } = this.#options
    return drainLeaderships(timeoutMs, {
      ...{ clock, links },
      replicas: () => this.#byRange.values(),
      isClosed: () => this.#phase === 'closed',
      lastRequestAt: () => this.#lastRequestAt,
      isFit: (node) => this.stores.isFit(node),
      markDirty: (replica) => this.markDirty(replica),
    })
  }

  /** Answers everything that waits and stops. Does not close the log or the state. */
  close(): void {
    if (this.#phase !== 'closed') this.#stop()
  }

  #stop(): void {
    this.#phase = 'closed'
    this.#tickTimer?.cancel()
    this.#sender.close()
    this.#receiver.close()
    for (const replica of this.#byRange.values()) replica.close()
    this.#loop.close()
  }

  // --- ticks ---

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
    this.stores.onTick()
    this.#shedder.onTick(this.#byRange.values())
    this.retention.onTick()
    this.#sender.onTick()
    this.#receiver.onTick()
  }

  #tryRest(replica: Replica): void {
    const { core } = replica
    if (core.role !== 'leader' || !core.canQuiesce() || !this.#mayRest(replica)) return
    core.quiesce()
    this.markDirty(replica)
  }

  #mayRest(replica: Replica): boolean {
    const { links, nodeId } = this.#options
    return this.#phase === 'running' && mayRest(replica, nodeId, (node) => links.isUp(node))
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

  /** These ranges are part of another one from now on: their replicas here take no part any more. */
  #absorb(by: RangeId, going: readonly ReplicaState[]): void {
    for (const state of going) {
      const { rangeId } = state.descriptor
      const replica = this.#byRange.get(rangeId)
      if (replica?.state === state) this.#leave(replica)
      this.#silenced.forget(state)
      this.absorbed.add(rangeId, by)
    }
  }

  /** It takes no part any more. */
  #leave(replica: Replica): void {
    this.#byRange.delete(replica.descriptor.rangeId)
    this.#awake.delete(replica)
    this.#sender.forget(replica)
    replica.close()
    if (replica.descriptor.rangeId === SYSTEM_RANGE_ID) this.#options.systemSeat.onLeadingEnded()
  }

  #openReplica(state: ReplicaState): void {
    const { log, random, limits, clock, observer, state: store } = this.#options
    const { descriptor, replicaId } = state
    // What was lost of the log may have been this group's.
    if (isRightHalf(state) && !log.groups.has(replicaId) && !log.hasUnattributedDamage) beginSplitLog(log, replicaId)
    const group = log.groups.get(replicaId)
    if (group === undefined || group.damaged) {
      this.#silenced.addDamaged(state, group === undefined ? 'log-missing' : 'log-damaged')
      return
    }
    const core = openRaftGroup(state, group, { random, clock, limits })
    const replica = new Replica({ core, log: group, state, store, clock, host: this, limits, observer })
    this.#byRange.set(descriptor.rangeId, replica)
    observer?.onOpened(replica)
    this.markDirty(replica)
  }

  /**
   * A message for a replica that is not here. If it may be, it comes to be when its range is cut out of another one here, or by
   * a snapshot, which waits while a range here has any of its keys. A leader is asked for one; so is whoever would lead and
   * does not get there: the vote of a right half that its store has leapt over may be the one that is missing.
   */
  #onStranger(from: NodeId, rangeId: RangeId, message: Message): void {
    const { to, from: leader, term, kind } = message
    if (!mayCreate(this.#host, rangeId, to)) return
    const isAgain = kind === 'vote-request' && this.#early.add({ from, rangeId, message })
    const isHere = isAgain || kind === 'heartbeat' || kind === 'append-request'
    if (!isHere || this.#receiver.expects(to)) return
    this.#options.links.sendRaft(from, rangeId, { kind: 'snapshot-request', from: to, to: leader, term })
  }

  #snapshotsHost(): SnapshotsHost {
    const { nodeId, clock, logger, log, state, links } = this.#options
    return {
      ...{ nodeId, clock, logger, log, state, links, counts: this.counts, snapshotRate: this.snapshotRate },
      replica: (rangeId) => this.#byRange.get(rangeId),
      silencedState: (rangeId) => this.silenced.get(rangeId)?.state,
      destroy: (former) => this.destroy(former),
      leave: (replica) => this.#leave(replica),
      onGone: (state) => this.#silenced.forget(state),
      absorb: (by, going) => this.#absorb(by, going),
      hasRoom: () => !this.stores.isShort,
      onCreated: (created) => {
        if (this.#phase === 'closed') return
        this.#openReplica(created)
        this.#early.take(created.replicaId)
        const replica = this.#byRange.get(created.descriptor.rangeId)
        if (replica !== undefined) this.onDescriptorChanged(replica)
      },
      onFatal: (error) => this.onFatal(error),
    }
  }
}
