import { assert, type LogIndex, type Random, type ReplicaId, type Term } from '@cordillera/base'
import { type ChangeStep, type Configuration, changeConfiguration, leaveJoint } from '../configuration.js'
import { type Entry, EntryType, entryPayload } from '../entry.js'
import type { LeaseOptions } from '../lease.js'
import type { Message } from '../message.js'
import { defaultRaftLimits, type RaftOptions } from '../options.js'
import { RaftGroup } from '../raft-group.js'
import type { Ready } from '../ready.js'
import type { MemoryLog } from './memory-log.js'
import { VirtualClock } from './virtual-clock.js'

export type Limits = { -readonly [Name in keyof typeof defaultRaftLimits]: number }

/** What a test chooses besides the limits. With `lease` the group reads the replica's own clock. */
export interface Choices {
  readonly limits?: Partial<Limits>
  readonly checkQuorum?: boolean
  readonly lease?: Omit<LeaseOptions, 'now'> | undefined
}

/** What a leader sends to one that its log cannot serve: everything that it has applied. */
export interface VirtualSnapshot {
  readonly from: ReplicaId
  readonly to: ReplicaId
  /** The sender's. */
  readonly senderTerm: Term
  readonly applied: readonly Entry[]
  readonly configuration: Configuration
}

/**
 * A host of one replica that does what `Ready` asks of it, with syncs and loads that wait until they are told to. One that is
 * not in the first configuration holds nothing, and has no group, until it gets a snapshot.
 */
export class VirtualReplica {
  readonly id: ReplicaId
  readonly log: MemoryLog
  readonly clock = new VirtualClock()
  readonly #first: Configuration
  readonly #options: Omit<RaftOptions, 'hardState' | 'appliedIndex' | 'configuration'>
  #group: RaftGroup | undefined
  isUp = true
  applied: Entry[] = []
  /** What the state would still hold after a crash. */
  flushedIndex: LogIndex = 0
  /** The last snapshot that was installed. */
  restoredIndex: LogIndex = 0
  #restoring: VirtualSnapshot | undefined
  #unsynced: Ready[] = []
  #loading: Ready['load']

  constructor(
    id: ReplicaId,
    configuration: Configuration,
    log: MemoryLog,
    random: Random,
    { limits = {}, checkQuorum = true, lease }: Choices = {},
  ) {
    this.id = id
    this.log = log
    this.#first = configuration
    const now = () => this.clock.nowMs
    this.#options = {
      ...{ replicaId: id, log, random, ...defaultRaftLimits, ...limits, checkQuorum },
      ...(lease === undefined ? {} : { lease: { ...lease, now } }),
    }
    const { voters, outgoing, learners } = configuration
    if ([...voters, ...outgoing, ...learners].includes(id)) this.#group = this.#start()
  }

  get group(): RaftGroup {
    assert(this.#group !== undefined, 'the replica holds something')
    return this.#group
  }

  get isEmpty(): boolean {
    return this.#group === undefined
  }

  get isRestoring(): boolean {
    return this.#restoring !== undefined
  }

  get unsyncedCount(): number {
    return this.#unsynced.length
  }

  get loading(): Ready['load'] {
    return this.#loading
  }

  tick(): void {
    if (!this.group.quiescent) this.group.tick()
  }

  /** Takes a ready, writes, applies. Its `messages` may be sent; those after sync come from {@link syncNext}. */
  take(): Ready {
    const { group } = this
    const ready = group.takeReady()
    assert(ready.mustSync === ready.syncToken > 0, 'a token exactly when something waits for a sync')
    assert(ready.mustSync || (ready.entries.length === 0 && ready.hardState === undefined), 'writes are synced')
    assert(ready.mustSync || ready.messagesAfterSync.length === 0, 'what waits for a sync has one')
    assert(!this.isRestoring || ready.committed.length === 0, 'nothing is applied beside a snapshot')
    if (ready.mustSync) {
      this.log.write(ready.entries, ready.hardState)
      this.#unsynced.push(ready)
    }
    for (const entry of ready.committed) {
      assert(entry.index === this.applied.length + 1, 'committed entries are contiguous')
      this.applied.push(entry)
      const next = configurationAfter(group.configuration, entry)
      if (next !== group.configuration) group.onConfiguration(next)
    }
    if (ready.committed.length > 0) group.onApplied(this.applied.length)
    if (ready.load !== undefined) {
      assert(this.#loading === undefined, 'one load at a time')
      this.#loading = ready.load
    }
    return ready
  }

  /** The oldest write is durable; returns what may be sent now. */
  syncNext(): readonly Message[] {
    const ready = this.#unsynced.shift()
    assert(ready !== undefined, 'there is something to sync')
    this.log.syncNext()
    this.group.onSynced(ready.syncToken)
    return ready.messagesAfterSync
  }

  finishLoad(): void {
    assert(this.#loading !== undefined, 'there is something to load')
    this.log.load(this.#loading.from, this.#loading.to)
    this.#loading = undefined
    this.group.onLoaded()
  }

  /** Of what is applied, up to `index`. */
  snapshotFor(to: ReplicaId, index = this.applied.length): VirtualSnapshot {
    const applied = this.applied.slice(0, index)
    return { from: this.id, to, senderTerm: this.group.term, applied, configuration: this.#configurationAt(index) }
  }

  /** A snapshot is at hand. False: it was not wanted. Once it may be installed, it will be, also by a crash. */
  beginRestore(snapshot: VirtualSnapshot): boolean {
    const { index, term } = snapshot.applied.at(-1)!
    if (this.#group === undefined) {
      this.log.hardState = this.log.durableHardState = { term: snapshot.senderTerm, vote: 0, commitIndex: 0 }
    } else if (!this.#group.tryBeginRestore(index, term)) return false
    this.#restoring = snapshot
    if (this.#group === undefined) this.finishRestore()
    return true
  }

  /** The term of the snapshot is on the disk: its installation may begin. */
  get mayInstall(): boolean {
    return this.isRestoring && this.log.durableHardState.term >= this.#restoring!.applied.at(-1)!.term
  }

  finishRestore(): void {
    assert(this.mayInstall, 'a snapshot is installed once its term is durable')
    const { applied, configuration } = this.#install()
    const last = applied.at(-1)!
    if (this.#group === undefined) {
      this.log.restart(last.index, last.term)
      this.#group = this.#start()
    } else if (this.#group.finishRestore({ index: last.index, term: last.term, configuration })) {
      this.log.restart(last.index, last.term)
    }
  }

  crash(): void {
    this.isUp = false
    this.#unsynced = []
    this.#loading = undefined
    this.log.crash()
    const mayInstall = this.mayInstall
    if (!mayInstall) {
      this.#restoring = undefined
      return
    }
    // It was all there: it is installed when the replica comes back.
    const last = this.#install().applied.at(-1)!
    if (this.log.termAt(last.index) !== last.term) this.log.restart(last.index, last.term)
  }

  restart(): void {
    this.applied.length = this.flushedIndex
    this.isUp = true
    this.clock.restart()
    if (this.#group !== undefined) this.#group = this.#start()
  }

  #configurationAt(index: LogIndex): Configuration {
    return this.applied.slice(0, index).reduce(configurationAfter, this.#first)
  }

  #install(): VirtualSnapshot {
    const snapshot = this.#restoring
    assert(snapshot !== undefined, 'there is a snapshot to install')
    this.#restoring = undefined
    this.applied = [...snapshot.applied]
    this.flushedIndex = this.restoredIndex = this.applied.length
    return snapshot
  }

  #start(): RaftGroup {
    const configuration = this.#configurationAt(this.flushedIndex)
    const { term, vote, commitIndex } = this.log.hardState
    const hardState = { term, vote, commitIndex: Math.max(commitIndex, this.flushedIndex) }
    return new RaftGroup({ ...this.#options, configuration, hardState, appliedIndex: this.flushedIndex })
  }
}

/** The payload of a change is its steps. */
function configurationAfter(configuration: Configuration, entry: Entry): Configuration {
  if (entry.type === EntryType.leave) return leaveJoint(configuration)
  if (entry.type !== EntryType.change) return configuration
  const steps = JSON.parse(Buffer.from(entryPayload(entry)).toString('latin1')) as ChangeStep[]
  const next = changeConfiguration(configuration, steps)
  assert(typeof next !== 'string', 'a change that was proposed can be applied')
  return next
}
