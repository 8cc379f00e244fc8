import type { NodeId, RangeId, ReplicaId } from '@cordillera/base'
import type { Descriptor, ReplicaPlace } from '@cordillera/ranges'
import {
  type ClusterPicture,
  defaultPlacementSettings,
  type Membership,
  type PlacementSettings,
  type RangePicture,
} from '../cluster-picture.js'
import { decide } from '../decide.js'
import { parseLocality } from '../locality.js'
import type { Decision, Operator } from '../operator.js'

/**
 * A cluster made of figures alone, in virtual time: what is decided takes as long as its bytes take, and then happens.
 *
 * A step is a second: operators that are due end, leaders move off nodes that went down, a picture is taken, decisions
 * are made and begun. Operators whose nodes go down before they end fail and change nothing.
 */
export interface VirtualNode {
  readonly nodeId: NodeId
  readonly locality: string
  membership: Membership
  isUp: boolean
  sinceMs: number
}

export interface VirtualRange {
  descriptor: Descriptor
  leader: NodeId
  bytes: number
  load: number
  loadMaxPerSec: number
  lastChangedMs: number
}

export interface Running {
  readonly operator: Operator
  readonly doneAtMs: number
}

export const STEP_MS = 1000
const LATENCY_MS = 200

export class VirtualCluster {
  readonly nodes: VirtualNode[]
  ranges: VirtualRange[]
  readonly settings: PlacementSettings
  /** A snapshot's speed. */
  bytesPerSec = 32 << 20
  /** What a range's load is reported to be, by its true one. */
  observed: (load: number, rangeId: RangeId) => number = (load) => load
  nowMs = 1_000_000
  running: Running[] = []
  readonly done = new Map<Operator['kind'], number>()
  failed = 0
  #lastId = 1_000_000

  constructor(localities: readonly string[], settings: Partial<PlacementSettings> = {}) {
    this.nodes = localities.map((locality, i) => ({
      nodeId: i + 1,
      locality,
      membership: 'member',
      isUp: true,
      sinceMs: 0,
    }))
    this.ranges = []
    this.settings = { ...defaultPlacementSettings, rangesMin: 1, mergeCooldownMs: Number.MAX_SAFE_INTEGER, ...settings }
  }

  /** The last in the order of keys; the first node leads. */
  addRange(nodes: readonly NodeId[], { bytes = 32 << 20, load = 0 } = {}): VirtualRange {
    const rangeId = this.ranges.length + 2
    const replicas = nodes.map((nodeId): ReplicaPlace => ({ nodeId, replicaId: this.#newId(), type: 'voter' }))
    const start = keyOf(rangeId)
    const descriptor = { rangeId, start, end: null, epoch: { version: 1, confVersion: 1 }, replicas }
    const last = this.ranges.at(-1)
    if (last !== undefined) last.descriptor = { ...last.descriptor, end: start }
    const range = { descriptor, leader: nodes[0]!, bytes, load, loadMaxPerSec: load, lastChangedMs: 0 }
    this.ranges.push(range)
    return range
  }

  node(nodeId: NodeId): VirtualNode {
    return this.nodes[nodeId - 1]!
  }

  addNode(locality: string): VirtualNode {
    const node: VirtualNode = {
      nodeId: this.nodes.length + 1,
      locality,
      membership: 'member',
      isUp: true,
      sinceMs: this.nowMs,
    }
    this.nodes.push(node)
    return node
  }

  /** Takes nodes down or up; their leaderships go to the first voter that is up. */
  setUp(nodeIds: readonly NodeId[], isUp: boolean): void {
    for (const nodeId of nodeIds) Object.assign(this.node(nodeId), { isUp, sinceMs: this.nowMs })
    this.#elect()
  }

  picture(): ClusterPicture {
    return {
      nowMs: this.nowMs,
      settings: this.settings,
      nodes: this.nodes.map(({ nodeId, locality, membership, isUp, sinceMs }) => ({
        nodeId,
        locality: parseLocality(locality)!,
        membership,
        contact: { kind: isUp ? 'up' : 'down', sinceMs },
      })),
      ranges: this.ranges.map((range) => this.#pictureOf(range)),
      underWay: this.running.map(({ operator }) => operator),
    }
  }

  /** One second: what was decided in it. */
  step(decideFor: (picture: ClusterPicture) => Decision[] = decide): Decision[] {
    this.nowMs += STEP_MS
    this.#finish()
    this.#elect()
    const decisions = decideFor(this.picture())
    for (const { operator } of decisions)
      this.running.push({ operator, doneAtMs: this.nowMs + this.durationMs(operator) })
    return decisions
  }

  /** Steps until nothing is decided and nothing runs; the number of decisions. Throws after `stepsMax`. */
  settle(stepsMax = 2000): number {
    let decided = 0
    for (let steps = 0; ; steps++) {
      const made = this.step().length
      decided += made
      if (made === 0 && this.running.length === 0) return decided
      if (steps >= stepsMax) throw new Error(`not at rest after ${stepsMax} s`)
    }
  }

  durationMs(operator: Operator): number {
    const bytes = this.#range(operator.rangeId)?.bytes ?? 0
    const isSnapshot = operator.kind === 'add-replica' || operator.kind === 'replace-replica'
    return LATENCY_MS + (isSnapshot ? (bytes / this.bytesPerSec) * 1000 : 0)
  }

  replicasOf(nodeId: NodeId): number {
    return this.ranges.filter(({ descriptor }) => descriptor.replicas.some((place) => place.nodeId === nodeId)).length
  }

  leadersOf(nodeId: NodeId): number {
    return this.ranges.filter(({ leader }) => leader === nodeId).length
  }

  loadOf(nodeId: NodeId): number {
    let load = 0
    for (const range of this.ranges) if (range.leader === nodeId) load += range.load
    return load
  }

  #pictureOf(range: VirtualRange): RangePicture {
    const load = this.observed(range.load, range.descriptor.rangeId)
    const { descriptor, leader, bytes, loadMaxPerSec, lastChangedMs } = range
    return { descriptor, leader, bytes, readsPerSec: load, writesPerSec: 0, loadMaxPerSec, lastChangedMs }
  }

  #elect(): void {
    for (const range of this.ranges) {
      if (range.leader !== 0 && this.node(range.leader).isUp) continue
      const { replicas } = range.descriptor
      const up = replicas.filter(({ nodeId }) => this.node(nodeId).isUp)
      range.leader = up.length * 2 > replicas.length ? up[0]!.nodeId : 0
    }
  }

  #finish(): void {
    const due = this.running.filter(({ doneAtMs }) => doneAtMs <= this.nowMs)
    this.running = this.running.filter(({ doneAtMs }) => doneAtMs > this.nowMs)
    for (const { operator } of due) {
      if (!this.#canEnd(operator)) {
        this.failed++
        continue
      }
      this.#apply(operator)
      this.done.set(operator.kind, (this.done.get(operator.kind) ?? 0) + 1)
    }
  }

  #canEnd(operator: Operator): boolean {
    const range = this.#range(operator.rangeId)
    if (range === undefined || range.leader === 0 || !this.node(range.leader).isUp) return false
    if (operator.kind === 'transfer-leader') return range.leader === operator.from && this.node(operator.to).isUp
    if (operator.kind === 'remove-replica') return range.leader !== operator.from
    return !('to' in operator) || this.node(operator.to).isUp
  }

  #range(rangeId: RangeId): VirtualRange | undefined {
    return this.ranges.find(({ descriptor }) => descriptor.rangeId === rangeId)
  }

  #apply(operator: Operator): void {
    const range = this.#range(operator.rangeId)!
    switch (operator.kind) {
      case 'split':
        this.#split(range, operator.key)
        break
      case 'merge':
        this.#merge(range)
        break
      case 'transfer-leader':
        range.leader = operator.to
        break
      case 'add-replica':
        this.#change(range, undefined, operator.to)
        break
      case 'remove-replica':
        this.#change(range, operator.replicaId, undefined)
        break
      case 'replace-replica':
        this.#change(range, operator.replicaId, operator.to)
        if (operator.leads) range.leader = operator.to
    }
  }

  #change(range: VirtualRange, removed: ReplicaId | undefined, to: NodeId | undefined): void {
    const { descriptor } = range
    const replicas = descriptor.replicas.filter(({ replicaId }) => replicaId !== removed)
    if (to !== undefined) replicas.push({ nodeId: to, replicaId: this.#newId(), type: 'voter' })
    range.descriptor = { ...descriptor, replicas }
  }

  #split(range: VirtualRange, key: string | undefined): void {
    const at = this.ranges.indexOf(range)
    const rangeId = this.#newId()
    const start = key ?? `${range.descriptor.start}m`
    const right = { ...range, bytes: range.bytes / 2, load: range.load / 2, lastChangedMs: this.nowMs }
    right.descriptor = { ...range.descriptor, rangeId, start }
    Object.assign(range, { bytes: range.bytes / 2, load: range.load / 2, lastChangedMs: this.nowMs })
    range.descriptor = { ...range.descriptor, end: start }
    this.ranges.splice(at + 1, 0, right)
  }

  #merge(left: VirtualRange): void {
    const at = this.ranges.indexOf(left)
    const right = this.ranges[at + 1]!
    left.bytes += right.bytes
    left.load += right.load
    left.loadMaxPerSec += right.loadMaxPerSec
    left.lastChangedMs = this.nowMs
    left.descriptor = { ...left.descriptor, end: right.descriptor.end }
    this.ranges.splice(at + 1, 1)
  }

  #newId(): number {
    return ++this.#lastId
  }
}

function keyOf(n: number): string {
  return `default\x00${String(n).padStart(8, '0')}`
}
