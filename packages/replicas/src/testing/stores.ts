import { ManualClock, type NodeId, type RangeId, SeededRandom, silentLogger, type Version } from '@cordillera/base'
import type { Message } from '@cordillera/raft-core'
import { MemoryDisk, RaftLog } from '@cordillera/raft-log'
import {
  type Descriptor,
  initialSpans,
  type Lock,
  SYSTEM_RANGE_ID,
  SYSTEM_SPAN,
  type TransactionStep,
  WriteBlockBuilder,
} from '@cordillera/ranges'
import { MemoryEngine, StateStore } from '@cordillera/state'
import type { DecidedReply, RangeReply, RangeRequest, SnapshotMessage } from '@cordillera/wire'
import { Replicas } from '../replicas.js'
import { defaultReplicasLimits, type ReplicasLimits } from '../replicas-options.js'
import { ManualOracle, RecordedSeat } from './manual-oracle.js'

/** Stores of a few nodes in one process, on a clock that the test drives; messages arrive a turn later. */
export interface Store {
  readonly nodeId: NodeId
  readonly disk: MemoryDisk
  readonly engine: MemoryEngine
  readonly log: RaftLog
  readonly state: StateStore
  readonly replicas: Replicas
  readonly fatal: unknown[]
  readonly seat: RecordedSeat
}

/** What a process leaves behind. */
type Durable = Pick<Store, 'disk' | 'engine'>

export class Stores {
  readonly clock = new ManualClock()
  readonly oracle = new ManualOracle(this.clock)
  /** Messages that are lost. */
  loses: (message: Message) => boolean = () => false
  readonly stores = new Map<NodeId, Store>()
  readonly descriptors: readonly Descriptor[]
  /** Nodes that nobody reaches. */
  readonly cutOff = new Set<NodeId>()
  messages = 0
  /** Who asks for transactions' records. */
  askOutcome: (lock: Lock, at: Version) => Promise<DecidedReply> = () =>
    Promise.reject(new Error('there is nobody to ask'))
  readonly snapshotMessages: SnapshotMessage[] = []
  /** For which the connection has no room. */
  refusesSnapshot: (message: SnapshotMessage) => boolean = () => false

  /** `spares`: further nodes, which have no replica yet. */
  static async open(nodes: number, ranges: number, limits: Partial<ReplicasLimits> = {}, spares = 0): Promise<Stores> {
    const stores = new Stores(nodes, ranges)
    for (let nodeId = 1; nodeId <= nodes + spares; nodeId++) await stores.#open(nodeId, limits)
    return stores
  }

  private constructor(nodes: number, ranges: number) {
    let replicaId = 0
    this.descriptors = [SYSTEM_SPAN, ...initialSpans(ranges)].map((span, i) => ({
      ...span,
      rangeId: SYSTEM_RANGE_ID + i,
      epoch: { version: 1, confVersion: 1 },
      replicas: Array.from({ length: nodes }, (_, n) => ({
        replicaId: ++replicaId,
        nodeId: n + 1,
        type: 'voter' as const,
      })),
    }))
  }

  /** Lets time pass until the condition holds; fails when it does not within a virtual minute. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const deadline = this.clock.now() + 60_000
    while (!condition()) {
      if (this.clock.now() > deadline) throw new Error(`a minute has passed without: ${what}`)
      if (!(await this.clock.next()) && !condition()) throw new Error(`nothing is left to happen, and yet not: ${what}`)
    }
  }

  /** Lets so much time pass. */
  async pass(ms: number): Promise<void> {
    const end = this.clock.now() + ms
    let isOver = false
    this.clock.after(ms, () => {
      isOver = true
    })
    while (!isOver && this.clock.now() <= end) await this.clock.next()
  }

  /** Nobody reaches the node, and everybody knows. */
  isolate(nodeId: NodeId): void {
    this.cutOff.add(nodeId)
    for (const [other, { replicas }] of this.stores) {
      if (other !== nodeId) replicas.onLinkDown(nodeId)
      else for (const peer of this.stores.keys()) if (peer !== nodeId) replicas.onLinkDown(peer)
    }
  }

  /** The opposite. */
  rejoin(nodeId: NodeId): void {
    this.cutOff.delete(nodeId)
    for (const [other, { replicas }] of this.stores) {
      if (other !== nodeId) replicas.onLinkUp(nodeId, 1)
      else for (const peer of this.stores.keys()) if (peer !== nodeId) replicas.onLinkUp(peer, 1)
    }
  }

  leaderOf(rangeId: RangeId): Store | undefined {
    return [...this.stores.values()].find((store) => {
      return !this.cutOff.has(store.nodeId) && store.replicas.replica(rangeId)?.core.role === 'leader'
    })
  }

  async untilLed(): Promise<void> {
    await this.until(() => this.descriptors.every(({ rangeId }) => this.leaderOf(rangeId)), 'a leader for every range')
  }

  /** Executes at the range's leader and lets time pass until it is answered. */
  async execute(request: RangeRequest): Promise<RangeReply> {
    const replies: RangeReply[] = []
    this.leaderOf(request.rangeId)!.replicas.execute(request, (reply) => replies.push(reply))
    await this.until(() => replies.length > 0, `an answer to ${request.kind}`)
    return replies[0]!
  }

  /** The machine of the node loses power, and begins again from what its disks hold durably. */
  async restart(nodeId: NodeId, limits: Partial<ReplicasLimits> = {}): Promise<void> {
    const { replicas, disk, engine } = this.stores.get(nodeId)!
    this.isolate(nodeId)
    replicas.close()
    disk.crash({ keep: 'none' })
    await this.#open(nodeId, limits, { disk, engine: engine.crash() })
    this.rejoin(nodeId)
  }

  async #open(nodeId: NodeId, limits: Partial<ReplicasLimits>, durable?: Durable): Promise<void> {
    const { clock } = this
    const disk = durable?.disk ?? new MemoryDisk({ clock, latencyMs: (operation) => (operation === 'sync' ? 1 : 0) })
    const engine = durable?.engine ?? new MemoryEngine({ clock })
    const opening = async (): Promise<void> => {
      const log = await RaftLog.open({ disk, clock, logger: silentLogger, segmentBytes: 1 << 20 })
      const state = await StateStore.open({ engine, clock, logger: silentLogger })
      if (durable === undefined)
        await state.createReplicas(
          this.descriptors.flatMap((descriptor) => {
            const replicaId = descriptor.replicas[nodeId - 1]?.replicaId
            if (replicaId === undefined) return []
            log.createGroup(replicaId).append([], { term: 0, vote: 0, commitIndex: 0 })
            return [{ descriptor, replicaId, applied: { index: 0, term: 0 } }]
          }),
        )
      const fatal: unknown[] = []
      const seat = new RecordedSeat()
      const replicas = new Replicas({
        nodeId,
        clock,
        random: new SeededRandom(nodeId),
        logger: silentLogger,
        log,
        state,
        links: {
          isUp: (node) => this.#reaches(nodeId, node),
          sendRaft: (to, rangeId, message) => this.#send(nodeId, to, rangeId, message),
          sendSnapshot: (to, message) => this.#sendSnapshot(nodeId, to, message),
          call: (to, request, onReply) => this.#call(nodeId, to, request, onReply),
        },
        limits: { ...defaultReplicasLimits, ...limits },
        timestamps: this.oracle.source(),
        systemSeat: seat,
        askOutcome: (lock, at) => this.askOutcome(lock, at),
        onDescriptors: () => {},
        onStoreChanged: () => {},
        onFatal: (error) => fatal.push(error),
      })
      this.stores.set(nodeId, { nodeId, disk, engine, log, state, replicas, fatal, seat })
    }
    await clock.run(opening())
  }

  #sendSnapshot(from: NodeId, to: NodeId, message: SnapshotMessage): boolean {
    if (!this.#reaches(from, to) || this.refusesSnapshot(message)) return false
    this.snapshotMessages.push(message)
    this.clock.defer(() => {
      if (this.#reaches(from, to)) this.stores.get(to)!.replicas.onSnapshot(from, message)
    })
    return true
  }

  #call(from: NodeId, to: NodeId, request: RangeRequest, onReply: (reply?: RangeReply) => void): boolean {
    if (!this.#reaches(from, to)) return false
    this.clock.defer(() => {
      if (!this.#reaches(from, to)) onReply(undefined)
      else this.stores.get(to)!.replicas.execute(request, (reply) => this.clock.defer(() => onReply(reply)))
    })
    return true
  }

  #reaches(from: NodeId, to: NodeId): boolean {
    return this.stores.has(to) && !this.cutOff.has(from) && !this.cutOff.has(to)
  }

  #send(from: NodeId, to: NodeId, rangeId: RangeId, message: Message): boolean {
    if (!this.#reaches(from, to)) return false
    this.messages++
    this.clock.defer(() => {
      if (this.#reaches(from, to) && !this.loses(message)) this.stores.get(to)!.replicas.onRaft(from, rangeId, message)
    })
    return true
  }
}

export function writeOf(descriptor: Descriptor, key: string, value: string): RangeRequest {
  const builder = new WriteBlockBuilder(descriptor.epoch.version)
  builder.put(0, key, new TextEncoder().encode(value))
  return { kind: 'write', rangeId: descriptor.rangeId, count: 1, block: builder.take() }
}

/** A part of a transaction. */
export function stepOf(descriptor: Descriptor, key: string, step: TransactionStep): RangeRequest {
  const block = new WriteBlockBuilder(descriptor.epoch.version).transact(0, key, step).take()
  return { kind: 'write', rangeId: descriptor.rangeId, count: 1, block }
}

/** `at` 0: the newest version. */
export function readOf(descriptor: Descriptor, key: string, at = 0): RangeRequest {
  return {
    kind: 'read',
    rangeId: descriptor.rangeId,
    epochVersion: descriptor.epoch.version,
    at,
    byFollower: false,
    keys: [key],
  }
}

/** A key within the range's span. */
export function keyIn(descriptor: Descriptor, suffix: string): string {
  return `${descriptor.start === '' ? '\x00' : descriptor.start}${suffix}`
}
