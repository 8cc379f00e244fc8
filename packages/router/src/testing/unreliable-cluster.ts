import type { Clock, Key, NodeId, Random, RangeId } from '@cordillera/base'
import {
  applyEntry,
  type Descriptor,
  joinBlocks,
  OperationMemory,
  type ReplicaPlace,
  spanContains,
} from '@cordillera/ranges'
import type { RangeReply, RangeRequest, ReadRequest, ScannedEntry, ScanRequest, WriteRequest } from '@cordillera/wire'
import type { RangeCall } from '../index.js'

/** What goes wrong, each a chance in 100 for a request or, for the last two, for a step. */
export interface Faults {
  readonly notSent: number
  readonly lostBefore: number
  readonly lostAfter: number
  readonly unknown: number
  readonly refusedByLeader: number
  readonly silent: number
  readonly leaderMoves: number
  readonly splits: number
}

/**
 * Ranges on three nodes that execute, refuse, drop and keep silent at random, and split and change leaders meanwhile.
 * Keeps the truth about what was executed.
 */
export class UnreliableCluster implements RangeCall {
  readonly self = 1
  /** How often each value (they are unique) was written, under which key. */
  readonly executed = new Map<string, number>()
  readonly misrouted: Key[] = []
  readonly data = new Map<Key, { version: number; value: Uint8Array }>()
  ranges: Descriptor[]
  readonly leaders = new Map<RangeId, NodeId>()
  faults: Faults
  readonly #memories = new Map<RangeId, OperationMemory>()
  #version = 0
  #nextRangeId = 10
  readonly #clock: Clock
  readonly #random: Random

  constructor(clock: Clock, random: Random, faults: Faults, ranges: Descriptor[]) {
    this.#clock = clock
    this.#random = random
    this.faults = faults
    this.ranges = ranges
    for (const { rangeId } of ranges) this.leaders.set(rangeId, 1 + random.below(3))
  }

  isUp(): boolean {
    return this.#random.below(10) > 0
  }

  send(node: NodeId, request: RangeRequest, onReply: (reply: RangeReply | undefined) => void): boolean {
    if (this.#happens('notSent')) return false
    const wayMs = this.#random.below(20)
    if (this.#happens('lostBefore')) this.#clock.after(wayMs, () => onReply(undefined))
    else this.#clock.after(wayMs, () => this.#receive(node, request, onReply))
    return true
  }

  /** Something changes, perhaps. */
  step(): void {
    if (this.#happens('leaderMoves')) this.leaders.set(this.#anyRange().rangeId, 1 + this.#random.below(3))
    if (this.#happens('splits') && this.ranges.length < 12) this.#split(this.#anyRange())
  }

  #receive(node: NodeId, request: RangeRequest, onReply: (reply: RangeReply | undefined) => void): void {
    const reply = this.#execute(node, request)
    const backMs = this.#random.below(20)
    if (reply.kind !== 'refused' && this.#happens('silent')) return
    const isLost = this.#happens('lostAfter')
    this.#clock.after(backMs, () => onReply(isLost ? undefined : reply))
  }

  #execute(node: NodeId, request: RangeRequest): RangeReply {
    const leader = this.leaders.get(request.rangeId) ?? 0
    const hint = this.#random.below(3) === 0 ? 0 : this.#random.below(4) === 0 ? 1 + this.#random.below(3) : leader
    if (leader !== node) return { kind: 'refused', reason: 'not-leader', leader: hint, descriptors: [] }
    if (this.#happens('refusedByLeader')) {
      const reasons = ['overloaded', 'lost', 'closing', 'no-range'] as const
      return { kind: 'refused', reason: reasons[this.#random.below(4)]!, leader: hint, descriptors: [] }
    }
    const descriptor = this.ranges.find(({ rangeId }) => rangeId === request.rangeId)!
    const mismatch = { kind: 'refused', reason: 'epoch-mismatch', leader: node, descriptors: this.ranges } as const
    if (request.kind === 'write') return this.#write(request, descriptor) ?? mismatch
    if (request.kind === 'timestamps') return { kind: 'timestamps', first: ++this.#version, safePoint: 0 }
    if (request.kind === 'index') throw new Error('a router asks for no index')
    if (request.epochVersion !== descriptor.epoch.version) return mismatch
    if (request.kind === 'outcome') {
      const record = this.#memoryOf(request.rangeId).transactions.recordOf(request.transaction)
      return { kind: 'decided', state: record?.state ?? 'absent', version: record?.version ?? 0 }
    }
    return request.kind === 'read' ? this.#read(request, descriptor) : this.#scan(request)
  }

  /** As a replica applies it; undefined: the epoch is another one. */
  #write(request: WriteRequest, descriptor: Descriptor): RangeReply | undefined {
    const isUnknown = this.#happens('unknown')
    if (isUnknown && this.#random.below(2) === 0) return { kind: 'unknown' }
    const view = {
      descriptor,
      memory: this.#memoryOf(descriptor.rangeId),
      versionOf: (key: Key) => this.data.get(key)?.version ?? 0,
    }
    const payload = joinBlocks(0, { timestamp: this.#version + 1, ageMs: 0 }, [request.block])
    const { commandCount, writes, results } = applyEntry(view, payload)
    this.#version += commandCount
    for (const { key, value, version } of writes) {
      if (value === undefined) this.data.delete(key)
      else {
        const text = Buffer.from(value).toString()
        this.executed.set(text, (this.executed.get(text) ?? 0) + 1)
        this.data.set(key, { version, value: Buffer.from(value) })
      }
    }
    const [result] = results
    if (result?.kind !== 'applied') return undefined
    return isUnknown ? { kind: 'unknown' } : { kind: 'written', outcomes: result.outcomes }
  }

  #memoryOf(rangeId: RangeId): OperationMemory {
    const memory = this.#memories.get(rangeId) ?? new OperationMemory()
    this.#memories.set(rangeId, memory)
    return memory
  }

  #read(request: ReadRequest, descriptor: Descriptor): RangeReply {
    for (const key of request.keys) if (!spanContains(descriptor, key)) this.misrouted.push(key)
    const count = this.#random.below(4) === 0 ? 1 + this.#random.below(request.keys.length) : request.keys.length
    return { kind: 'values', values: request.keys.slice(0, count).map((key) => this.data.get(key)) }
  }

  #scan({ start, end, reverse, limit, bytesMax, values }: ScanRequest): RangeReply {
    const keys = [...this.data.keys()].filter((key) => key >= start && (end === null || key < end)).sort()
    if (reverse) keys.reverse()
    const entries: ScannedEntry[] = []
    let bytes = 0
    const whim = this.#random.below(4) === 0 ? 1 + this.#random.below(3) : limit
    for (const key of keys) {
      const { version, value } = this.data.get(key)!
      const shown = values ? value : new Uint8Array(0)
      bytes += key.length + shown.length
      if (entries.length >= Math.min(limit, whim) || (entries.length > 0 && bytes > bytesMax)) break
      entries.push({ key, version, value: shown })
    }
    return { kind: 'scanned', entries, more: entries.length < keys.length }
  }

  #split(parent: Descriptor): void {
    const at = String.fromCharCode(97 + this.#random.below(26))
    if (!spanContains(parent, at) || at === parent.start) return
    const epoch = { version: parent.epoch.version + 1, confVersion: 1 }
    const rangeId = this.#nextRangeId++
    const right: Descriptor = { ...parent, rangeId, start: at, epoch }
    this.ranges = this.ranges.flatMap((other) => (other === parent ? [{ ...parent, end: at, epoch }, right] : [other]))
    this.leaders.set(rangeId, this.leaders.get(parent.rangeId)!)
    this.#memories.set(rangeId, this.#memoryOf(parent.rangeId).copyWithin({ start: '', end: null }))
  }

  #anyRange(): Descriptor {
    return this.ranges[this.#random.below(this.ranges.length)]!
  }

  #happens(fault: keyof Faults): boolean {
    return this.#random.below(100) < this.faults[fault]
  }
}

export function threeReplicas(): ReplicaPlace[] {
  return [1, 2, 3].map((nodeId) => ({ replicaId: nodeId, nodeId, type: 'voter' }))
}
