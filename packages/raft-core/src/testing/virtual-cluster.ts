import { type LogIndex, type Random, type ReplicaId, SeededRandom } from '@cordillera/base'
import type { ChangeRefusal } from '../changes.js'
import { type ChangeStep, type Configuration, peersOf } from '../configuration.js'
import { ENTRY_HEADER_BYTES } from '../entry.js'
import type { Message } from '../message.js'
import type { ProposeResult } from '../raft-group.js'
import type { Ready } from '../ready.js'
import { Invariants } from './invariants.js'
import { MemoryLog } from './memory-log.js'
import { type Choices, VirtualReplica, type VirtualSnapshot } from './virtual-replica.js'

/** A group of replicas and the messages between them. Every step checks the {@link Invariants}. */
export class VirtualCluster {
  readonly replicas: VirtualReplica[]
  readonly invariants = new Invariants()
  /** Under way, oldest first. */
  network: Message[] = []
  snapshots: VirtualSnapshot[] = []
  /** Links, `from>to`, on which messages are lost as they are sent. */
  readonly cutLinks = new Set<string>()
  /** Replicas whose processes stand still: nothing reaches them and they do nothing, while their clocks go on. */
  readonly paused = new Set<ReplicaId>()
  /** Reads asked and not answered: what was known to be committed when each was asked. */
  readonly #readFloors = new Map<string, LogIndex>()
  confirmedReadCount = 0
  /** How often a read was asked of a leader with a lease. */
  leaseReadCount = 0
  /** How many appends each replica has refused. */
  readonly refusals = new Map<ReplicaId, number>()
  /** How often entries replaced others in some log. */
  replacementCount = 0

  constructor(
    options: Choices & {
      readonly configuration: Configuration
      readonly random?: Random
      readonly logs?: ReadonlyMap<ReplicaId, MemoryLog>
      /** Replicas that hold nothing yet. */
      readonly empty?: readonly ReplicaId[]
    },
  ) {
    const { configuration, random = new SeededRandom(1), logs, empty = [] } = options
    const ids = [...peersOf(configuration, 0), ...empty]
    this.replicas = ids.map(
      (id) => new VirtualReplica(id, configuration, logs?.get(id) ?? new MemoryLog(), random, options),
    )
  }

  get running(): VirtualReplica[] {
    return this.replicas.filter((replica) => this.isRunning(replica))
  }

  isRunning({ isUp, isEmpty, id }: VirtualReplica): boolean {
    return isUp && !isEmpty && !this.paused.has(id)
  }

  replica(id: ReplicaId): VirtualReplica {
    const found = this.replicas.find((replica) => replica.id === id)
    if (found === undefined) throw new Error(`no replica ${id}`)
    return found
  }

  /** Time passes, for everyone. */
  pass(ms: number): void {
    for (const { clock } of this.replicas) clock.pass(ms)
  }

  /** Runs a step of a running replica and checks what it now knows to be committed. */
  step(replica: VirtualReplica, run: (replica: VirtualReplica) => void): void {
    if (!replica.isUp || replica.isEmpty) return
    const { role, commitIndex, term } = replica.group
    run(replica)
    const { group } = replica
    const hasLed = role === 'leader' && group.role === 'leader' && term === group.term
    if (hasLed && group.commitIndex > commitIndex) this.invariants.onLeaderCommit(replica)
    this.invariants.onCommit(replica, this.replicas)
    this.invariants.onLease(replica)
  }

  take(replica: VirtualReplica): Ready {
    const lastIndexBefore = replica.log.lastIndex
    const ready = replica.take()
    if (ready.entries.length > 0 && ready.entries[0]!.index <= lastIndexBefore) this.replacementCount++
    this.invariants.onCommit(replica, this.replicas)
    this.invariants.onReady(replica, ready, lastIndexBefore)
    if (ready.roleChange?.role === 'leader') this.#onElected()
    for (const message of ready.messages) this.#send(replica, message)
    for (const to of ready.snapshots) {
      if (this.cutLinks.has(`${replica.id}>${to}`)) replica.group.onSnapshotEnded(to)
      else this.snapshots.push(replica.snapshotFor(to))
    }
    for (const { readId, index } of ready.reads) {
      const key = this.#readKey(replica, readId)
      const floor = this.#readFloors.get(key)
      if (floor === undefined) throw new Error('broken: a read that nobody waits for')
      if (index < floor) throw new Error(`broken: linearizable reads (index ${index}, known ${floor})`)
      this.#readFloors.delete(key)
      this.confirmedReadCount++
    }
    for (const readId of ready.readsDropped) {
      if (!this.#readFloors.delete(this.#readKey(replica, readId))) throw new Error('broken: a read dropped twice')
    }
    return ready
  }

  /** Also those that stand still are looked at. */
  #onElected(): void {
    for (const replica of this.replicas) if (replica.isUp && !replica.isEmpty) this.invariants.onLease(replica)
  }

  sync(replica: VirtualReplica): void {
    let released: readonly Message[] = []
    this.step(replica, () => {
      released = replica.syncNext()
    })
    for (const message of released) this.#send(replica, message)
  }

  /** Takes the message at `position` out of the network and hands it to its receiver, if that is up. */
  deliver(position: number): Message {
    const [message] = this.network.splice(position, 1)
    const receiver = this.replica(message!.to)
    if (receiver.isEmpty) this.#answerEmpty(receiver, message!)
    this.step(receiver, () => receiver.group.step(message!))
    return message!
  }

  /** A host without the replica asks whoever seems to lead for everything. */
  #answerEmpty({ id, isUp }: VirtualReplica, { kind, from: to, term }: Message): void {
    if (!isUp || (kind !== 'append-request' && kind !== 'heartbeat')) return
    if (!this.cutLinks.has(`${id}>${to}`)) this.network.push({ kind: 'snapshot-request', from: id, to, term })
  }

  /**
   * Takes the snapshot at `position` out of the network. Returns whether its receiver is up and wants it; otherwise it is lost.
   */
  deliverSnapshot(position: number): boolean {
    const snapshot = this.#takeSnapshot(position)
    const receiver = this.replica(snapshot.to)
    let isWanted = false
    if (receiver.isEmpty && receiver.isUp) isWanted = receiver.beginRestore(snapshot)
    else {
      this.step(receiver, () => {
        isWanted = receiver.beginRestore(snapshot)
      })
    }
    this.#endSnapshot(snapshot)
    return isWanted
  }

  loseSnapshot(position: number): void {
    this.#endSnapshot(this.#takeSnapshot(position))
  }

  #takeSnapshot(position: number): VirtualSnapshot {
    return this.snapshots.splice(position, 1)[0]!
  }

  #endSnapshot({ from, to, senderTerm }: VirtualSnapshot): void {
    const sender = this.replica(from)
    this.step(sender, ({ group }) => {
      if (group.term === senderTerm) group.onSnapshotEnded(to)
    })
  }

  propose(replica: VirtualReplica, payload: string): ProposeResult {
    return replica.group.propose(entryRoom(payload))
  }

  proposeChange(replica: VirtualReplica, steps: readonly ChangeStep[]): ProposeResult<ChangeRefusal> {
    return replica.group.proposeChange(steps, entryRoom(JSON.stringify(steps)))
  }

  /** Returns the read's id, or the reason of the refusal. */
  read(replica: VirtualReplica): number | string {
    const { hasLease } = replica.group
    const result = replica.group.requestRead()
    if (result.kind === 'refused') return result.reason
    if (hasLease) this.leaseReadCount++
    this.#readFloors.set(this.#readKey(replica, result.readId), this.invariants.committedIndex)
    return result.readId
  }

  crash(replica: VirtualReplica): void {
    this.paused.delete(replica.id)
    replica.crash()
    for (const key of this.#readFloors.keys()) if (key.startsWith(`${replica.id}:`)) this.#readFloors.delete(key)
  }

  /** Takes, syncs, loads and delivers, oldest first, until these replicas have nothing left to do. */
  settle(
    onReady: (replica: VirtualReplica, ready: Ready) => void = () => {},
    ids: readonly ReplicaId[] = this.replicas.map(({ id }) => id),
  ): void {
    for (let round = 0; round < 10_000; round++) {
      let isQuiet = true
      for (const replica of this.running) {
        if (ids.includes(replica.id) && this.#work(replica, onReady)) isQuiet = false
      }
      for (const snapshot of this.snapshots.filter(({ to }) => ids.includes(to))) {
        isQuiet = false
        this.deliverSnapshot(this.snapshots.indexOf(snapshot))
      }
      for (const message of this.network.filter(({ to }) => ids.includes(to))) {
        isQuiet = false
        this.deliver(this.network.indexOf(message))
      }
      if (isQuiet) return
    }
    throw new Error('broken: the cluster does not come to rest')
  }

  /** Returns whether there was anything to do. */
  #work(replica: VirtualReplica, onReady: (replica: VirtualReplica, ready: Ready) => void): boolean {
    const isWaiting = replica.unsyncedCount > 0 || replica.loading !== undefined || replica.isRestoring
    const hasWork = replica.group.hasReady() || isWaiting
    if (replica.group.hasReady()) onReady(replica, this.take(replica))
    while (replica.unsyncedCount > 0) this.sync(replica)
    if (replica.loading !== undefined) this.step(replica, () => replica.finishLoad())
    if (replica.mayInstall) this.step(replica, () => replica.finishRestore())
    return hasWork
  }

  #send(from: VirtualReplica, message: Message): void {
    this.invariants.onSend(from, message)
    if (message.kind === 'append-reply' && !message.accepted) {
      this.refusals.set(from.id, (this.refusals.get(from.id) ?? 0) + 1)
    }
    if (!this.cutLinks.has(`${message.from}>${message.to}`)) this.network.push(message)
  }

  #readKey(replica: VirtualReplica, readId: number): string {
    return `${replica.id}:${readId}`
  }
}

function entryRoom(payload: string): Buffer {
  const bytes = Buffer.alloc(ENTRY_HEADER_BYTES + payload.length)
  bytes.write(payload, ENTRY_HEADER_BYTES, 'latin1')
  return bytes
}
