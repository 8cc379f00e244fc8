import { assert, type LogIndex, type Random, type ReplicaId } from '@cordillera/base'
import type { Configuration } from '../configuration.js'
import type { Entry } from '../entry.js'
import type { Message } from '../message.js'
import { defaultRaftLimits, type RaftOptions } from '../options.js'
import { RaftGroup } from '../raft-group.js'
import type { Ready } from '../ready.js'
import type { MemoryLog } from './memory-log.js'

export type Limits = { -readonly [Name in keyof typeof defaultRaftLimits]: number }

/** A host of one replica that does what `Ready` asks of it, with syncs and loads that wait until they are told to. */
export class VirtualReplica {
  readonly id: ReplicaId
  readonly log: MemoryLog
  readonly #options: Omit<RaftOptions, 'hardState' | 'appliedIndex'>
  group: RaftGroup
  isUp = true
  applied: Entry[] = []
  /** What the state would still hold after a crash. */
  flushedIndex: LogIndex = 0
  #unsynced: Ready[] = []
  #loading: Ready['load']

  constructor(
    id: ReplicaId,
    configuration: Configuration,
    log: MemoryLog,
    random: Random,
    limits: Partial<Limits> = {},
  ) {
    this.id = id
    this.log = log
    this.#options = { replicaId: id, configuration, log, random, ...defaultRaftLimits, ...limits }
    this.group = this.#start()
  }

  get unsyncedCount(): number {
    return this.#unsynced.length
  }

  get loading(): Ready['load'] {
    return this.#loading
  }

  /** Takes a ready, writes, applies. Its `messages` may be sent; those after sync come from {@link syncNext}. */
  take(): Ready {
    const ready = this.group.takeReady()
    assert(ready.mustSync === ready.syncToken > 0, 'a token exactly when something waits for a sync')
    assert(ready.mustSync || (ready.entries.length === 0 && ready.hardState === undefined), 'writes are synced')
    assert(ready.mustSync || ready.messagesAfterSync.length === 0, 'what waits for a sync has one')
    if (ready.mustSync) {
      this.log.write(ready.entries, ready.hardState)
      this.#unsynced.push(ready)
    }
    for (const entry of ready.committed) {
      assert(entry.index === this.applied.length + 1, 'committed entries are contiguous')
      this.applied.push(entry)
    }
    if (ready.committed.length > 0) this.group.onApplied(this.applied.length)
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

  crash(): void {
    this.isUp = false
    this.#unsynced = []
    this.#loading = undefined
    this.log.crash()
  }

  restart(): void {
    this.applied.length = this.flushedIndex
    this.isUp = true
    this.group = this.#start()
  }

  #start(): RaftGroup {
    return new RaftGroup({ ...this.#options, hardState: this.log.hardState, appliedIndex: this.flushedIndex })
  }
}
