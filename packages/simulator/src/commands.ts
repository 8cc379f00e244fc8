import { CordilleraError, type NodeId, type Random, type RangeId } from '@cordillera/base'
import type { CordilleraNode } from '@cordillera/node'
import { type Descriptor, keyspacePrefix, SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { COMMANDS } from './seed-options.js'
import type { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'
import { hexFraction } from './workload.js'

/**
 * What an operator would have done to a cluster: replicas moved, ranges cut and merged, nodes emptied. One thing a range at a
 * time; it is asked for again and again, of whoever is there, until it is done or cannot be done any more, also after everything
 * was healed.
 */
type Command = (typeof COMMANDS)[number]

/** Resolves when it is done, rejects as the node does. */
type Attempt = (node: CordilleraNode) => Promise<void>

const ATTEMPT_MS = 1_000
/** A node is decommissioned, or on its way there, for so long at most. */
const RECOMMISSION_MS_MAX = 8_000
/** More make a run slower, and no more likely to find anything. */
const RANGES_MAX = 16

export class Commands {
  readonly #cluster: SimulatedCluster
  /** Its disk may go bad: nothing is moved from or to it. */
  readonly #victim: SimulatedNode
  readonly #underWay = new Map<string, Attempt>()

  constructor(cluster: SimulatedCluster, victim: SimulatedNode) {
    this.#cluster = cluster
    this.#victim = victim
  }

  /** Begins something with a range of the machine; returns what, or undefined when there is nothing to do. */
  begin(kind: Command, machine: SimulatedNode, random: Random): string | undefined {
    if (kind === 'decommission') return this.#decommission(machine, random)
    const replica = machine.replicas.at(random.below(Math.max(1, machine.replicas.length)))
    if (replica === undefined || this.#underWay.has(ofRange(replica.descriptor.rangeId))) return undefined
    const { descriptor } = replica
    if (kind === 'merge') return this.#merge(descriptor, random)
    return kind === 'move' ? this.#move(descriptor, random) : this.#split(descriptor, random)
  }

  /** Given up in the middle now and then, or forgotten. */
  #merge({ rangeId: leftId, end: key }: Descriptor, random: Random): string | undefined {
    const right = this.#cluster.machines.flatMap(({ replicas }) => replicas).find((one) => one.descriptor.start === key)
    if (key === null || leftId === SYSTEM_RANGE_ID || right === undefined) return undefined
    const { rangeId: rightId } = right.descriptor
    const [attemptsMax, gives] = [1 + random.below(8), random.below(3)]
    let attempt: number | undefined
    let attempts = 0
    this.#attempt(ofRange(leftId), async (node) => {
      attempt ??= await node.upkeep.allocateMergeAttempt()
      const goal = { leftId, rightId, key, attempt }
      if (gives === 0 || ++attempts <= attemptsMax) return node.upkeep.merge(goal, ATTEMPT_MS)
      if (gives === 1) await node.upkeep.abortMerge(goal, ATTEMPT_MS)
    })
    return `range ${leftId} with ${rightId}`
  }

  #move({ rangeId, replicas }: Descriptor, random: Random): string | undefined {
    const isFree = (nodeId: number): boolean => replicas.every((place) => place.nodeId !== nodeId)
    const goodNodes = this.#cluster.machines.flatMap((each) => {
      const { node } = each
      return each === this.#victim || node === undefined ? [] : [node.identity.nodeId]
    })
    const places = replicas.filter(({ nodeId, type }) => type === 'voter' && goodNodes.includes(nodeId))
    const targets = goodNodes.filter(isFree)
    if (places.length === 0 || targets.length === 0) return undefined
    const { replicaId } = oneOf(random, places)
    const nodeId = oneOf(random, targets)
    this.#attempt(ofRange(rangeId), (node) => node.upkeep.replace(rangeId, replicaId, nodeId, ATTEMPT_MS))
    return `replica ${replicaId} of range ${rangeId} to node ${nodeId}`
  }

  #split({ rangeId, epoch }: Descriptor, random: Random): string | undefined {
    const ranges = new Set(
      this.#cluster.machines.flatMap(({ replicas }) => replicas.map((one) => one.descriptor.rangeId)),
    )
    if (rangeId === SYSTEM_RANGE_ID || ranges.size >= RANGES_MAX) return undefined
    const key = keyspacePrefix('default') + hexFraction(random.below(1_000) / 1_000)
    let rightId: RangeId | undefined
    this.#attempt(ofRange(rangeId), async (node) => {
      rightId ??= await node.upkeep.allocateRangeId()
      await node.upkeep.split({ rangeId, version: epoch.version, key, rightId }, ATTEMPT_MS)
    })
    return `range ${rangeId} at ${key}`
  }

  #decommission(machine: SimulatedNode, random: Random): string | undefined {
    const nodeId = machine.node?.identity.nodeId
    const backMs = 500 + random.below(RECOMMISSION_MS_MAX)
    const name = `node ${nodeId}`
    if (nodeId === undefined || this.#underWay.has(name)) return undefined
    this.#attempt(name, async ({ placement }) => {
      await placement.startOperator({ kind: 'decommission', nodeId })
    })
    this.#cluster.clock.after(backMs, () => this.#recommission(name, machine, nodeId))
    return name
  }

  /** To the end: a decommission that was asked of a driver before may come to its ears afterwards. */
  #recommission(name: string, machine: SimulatedNode, nodeId: NodeId): void {
    let isTold = false
    const again = new CordilleraError('UNAVAILABLE', { detail: `${name} may still be decommissioned` })
    this.#attempt(name, async ({ placement }) => {
      if (isTold && machine.node?.isReady()) throw again
      await placement.startOperator({ kind: 'recommission', nodeId }).catch(() => Promise.reject(again))
      isTold = true
      throw again
    })
  }

  #attempt(name: string, attempt: Attempt): void {
    this.#underWay.set(name, attempt)
    this.#continue(name, attempt)
  }

  /** Whom it was asked of may have died before it could answer. */
  #continue(name: string, attempt: Attempt): void {
    if (this.#underWay.get(name) !== attempt) return
    const { clock, machines } = this.#cluster
    const node = machines.find((machine) => machine.node !== undefined)?.node
    clock.after(ATTEMPT_MS, () => this.#continue(name, attempt))
    if (node === undefined) return
    attempt(node).then(
      () => this.#end(name, attempt),
      (error) => {
        // The range is another one by now, or has a replica there.
        const isOver = error instanceof CordilleraError && (error.code === 'CONFLICT' || error.code === 'BAD_REQUEST')
        if (isOver) this.#end(name, attempt)
      },
    )
  }

  /** What has taken its place goes on. */
  #end(name: string, attempt: Attempt): void {
    if (this.#underWay.get(name) === attempt) this.#underWay.delete(name)
  }
}

function ofRange(rangeId: RangeId): string {
  return `range ${rangeId}`
}

function oneOf<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)]!
}
