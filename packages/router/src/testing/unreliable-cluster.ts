import type { Clock, Key, NodeId, Random, RangeId } from '@cordillera/base'
import { type Descriptor, decodeWriteBlock, type ReplicaPlace, spanContains } from '@cordillera/ranges'
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
    const epochVersion = request.kind === 'write' ? decodeWriteBlock(request.block).epochVersion : request.epochVersion
    if (epochVersion !== descriptor.epoch.version) {
      return { kind: 'refused', reason: 'epoch-mismatch', leader: node, descriptors: this.ranges }
    }
    if (request.kind === 'write') return this.#write(request, descriptor)
    if (request.kind === 'read') return this.#read(request, descriptor)
    return this.#scan(request)
  }

  #write(request: WriteRequest, descriptor: Descriptor): RangeReply {
    const { commands } = decodeWriteBlock(request.block)
    const isUnknown = this.#happens('unknown')
    if (isUnknown && this.#random.below(2) === 0) return { kind: 'unknown' }
    const versions = commands.map((command) => {
      if (!spanContains(descriptor, command.key)) this.misrouted.push(command.key)
      const version = ++this.#version
      if (command.kind === 'delete') this.data.delete(command.key)
      else {
        const text = Buffer.from(command.value).toString()
        this.executed.set(text, (this.executed.get(text) ?? 0) + 1)
        this.data.set(command.key, { version, value: Buffer.from(command.value) })
      }
      return version
    })
    return isUnknown ? { kind: 'unknown' } : { kind: 'written', versions }
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
