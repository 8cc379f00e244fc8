import { assert, type NodeId, type RangeId } from '@cordillera/base'
import type { ReplicaPlace } from '@cordillera/ranges'
import { type ClusterPicture, isDead, type NodePicture, type RangePicture } from './cluster-picture.js'
import { effectiveReplicas } from './initial-placement.js'
import { pairDiversity } from './locality.js'
import type { Operator } from './operator.js'

/**
 * Where everything stands once all that is under way has happened: the working state of one round of decisions, built
 * from a picture in one pass. What the round decides is taken in at once, so that later decisions see it.
 */
export interface NodeStanding {
  readonly nodeId: NodeId
  /** Its place in `Standing.nodes`; -1 of a stranger, which is not in the picture. */
  readonly at: number
  readonly isUp: boolean
  readonly isDead: boolean
  /** It is to hold nothing. */
  readonly isLeaving: boolean
  /** It may be given replicas. */
  readonly receives: boolean
  /** It may be given leaderships. */
  readonly mayLead: boolean
  replicas: number
  leaders: number
  /** Requests a second of the ranges that it leads. */
  load: number
  /** Ranges with a replica here; some may have moved away meanwhile: ask `range.members`. */
  readonly held: RangeStanding[]
  readonly sending: Traffic
  readonly receiving: Traffic
  /** Leaderships under way from and to it. */
  transfersFrom: number
  transfersTo: number
}

/** Snapshots under way. */
export interface Traffic {
  moves: number
  bytes: number
}

/** `decided`: in this round. `joint`: its configuration is. `local-repair`: a node replaces its own damaged replica. */
export type RangeState = 'free' | 'under-way' | 'decided' | 'joint' | 'local-repair'

export interface RangeStanding {
  readonly picture: RangePicture
  readonly rangeId: RangeId
  /** Its place in the order of keys. */
  readonly at: number
  readonly load: number
  state: RangeState
  voters: readonly NodeStanding[]
  /** Nodes with any replica, learners included. */
  members: readonly NodeStanding[]
  leader: NodeStanding | undefined
  /** The neighbour that it may be merged with: both stay where they are until then. */
  partner: RangeStanding | undefined
}

export class Standing {
  readonly picture: ClusterPicture
  readonly nodes: readonly NodeStanding[]
  readonly receivers: readonly NodeStanding[]
  readonly leading: readonly NodeStanding[]
  readonly ranges: readonly RangeStanding[]
  /** Voters that every range should have. */
  readonly replicas: number
  /**
   * Voters beyond which one is too much. Nodes that are still being emptied count here: however many leave at once, no range gets
   * smaller for it.
   */
  readonly replicasMax: number
  splits = 0
  readonly #nodeById = new Map<NodeId, NodeStanding>()
  readonly #rangeById = new Map<RangeId, RangeStanding>()
  readonly #distances: Float64Array
  readonly #bestDiversity = new Map<number, number>()

  constructor(picture: ClusterPicture) {
    this.picture = picture
    const nodes = picture.nodes.map((node, at) => standingOf(picture, node, at))
    for (const node of nodes) this.#nodeById.set(node.nodeId, node)
    this.nodes = nodes
    this.#distances = distancesBetween(picture.nodes)
    this.receivers = nodes.filter((node) => node.receives)
    this.leading = nodes.filter((node) => node.mayLead)
    const nodesWhere = (isCounted: (node: NodePicture) => boolean): number => picture.nodes.filter(isCounted).length
    const { replicas } = picture.settings
    this.replicas = effectiveReplicas(
      replicas,
      nodesWhere((node) => !isLeaving(node)),
    )
    this.replicasMax = effectiveReplicas(
      replicas,
      nodesWhere(({ membership }) => membership !== 'decommissioned'),
    )
    this.ranges = picture.ranges.map((range, at) => this.#place(range, at))
    for (const operator of picture.underWay) this.#take(operator, 'under-way')
  }

  node(nodeId: NodeId): NodeStanding | undefined {
    return this.#nodeById.get(nodeId)
  }

  range(rangeId: RangeId): RangeStanding | undefined {
    return this.#rangeById.get(rangeId)
  }

  /** Takes in what was decided. */
  decide(operator: Operator): void {
    this.#take(operator, 'decided')
  }

  /** How far apart these are; see `locality.ts`. Nodes outside of the picture are near everything. */
  distance(a: NodeStanding, b: NodeStanding): number {
    return a.at < 0 || b.at < 0 ? 0 : this.#distances[a.at * this.nodes.length + b.at]!
  }

  /** The distances from a node to the others, together, without `except`. */
  distanceTo(node: NodeStanding, others: readonly NodeStanding[], except?: NodeStanding): number {
    let sum = 0
    for (const other of others) if (other !== except) sum += this.distance(node, other)
    return sum
  }

  diversity(places: readonly NodeStanding[]): number {
    let sum = 0
    for (const place of places) sum += this.distanceTo(place, places)
    return sum / 2
  }

  /** What so many replicas reach on the nodes that may be given some, each chosen to be as far as can be from the last. */
  bestDiversity(replicas: number): number {
    let best = this.#bestDiversity.get(replicas)
    if (best === undefined) {
      const chosen: NodeStanding[] = []
      while (chosen.length < Math.min(replicas, this.receivers.length)) {
        const rest = this.receivers.filter((node) => !chosen.includes(node))
        chosen.push(rest.reduce((a, b) => (this.distanceTo(b, chosen) > this.distanceTo(a, chosen) ? b : a)))
      }
      best = this.diversity(chosen)
      this.#bestDiversity.set(replicas, best)
    }
    return best
  }

  #place(picture: RangePicture, at: number): RangeStanding {
    const { descriptor, leader, readsPerSec, writesPerSec } = picture
    const { rangeId, replicas } = descriptor
    const state = stateOf(replicas)
    const isPlain = replicas.every(({ type }) => type === 'voter')
    const members = this.#nodesOf(isPlain ? replicas : replicas.filter(({ type }) => type !== 'outgoing'))
    const range: RangeStanding = {
      picture,
      rangeId,
      at,
      load: readsPerSec + writesPerSec,
      state,
      voters: isPlain ? members : this.#nodesOf(replicas.filter(({ type }) => type === 'voter' || type === 'incoming')),
      members,
      leader: leader === 0 ? undefined : this.#nodeOrStranger(leader),
      partner: undefined,
    }
    assert(!this.#rangeById.has(rangeId), 'a range is in the picture once')
    this.#rangeById.set(rangeId, range)
    for (const member of range.members) {
      member.replicas++
      member.held.push(range)
    }
    if (range.leader !== undefined) this.#lead(range.leader, range, 1)
    return range
  }

  #nodesOf(places: readonly ReplicaPlace[]): readonly NodeStanding[] {
    const nodes: NodeStanding[] = []
    for (const { nodeId } of places) {
      const node = this.#nodeOrStranger(nodeId)
      if (!nodes.includes(node)) nodes.push(node)
    }
    return nodes
  }

  /** A node outside of the picture, perhaps too new for it: nothing moves to it, and nothing is taken away. */
  #nodeOrStranger(nodeId: NodeId): NodeStanding {
    const known = this.#nodeById.get(nodeId)
    if (known !== undefined) return known
    const stranger = newNode(nodeId, -1, {
      isUp: true,
      isDead: false,
      isLeaving: false,
      receives: false,
      mayLead: false,
    })
    this.#nodeById.set(nodeId, stranger)
    return stranger
  }

  #lead(node: NodeStanding, range: RangeStanding, sign: 1 | -1): void {
    node.leaders += sign
    node.load += sign * range.load
  }

  #take(operator: Operator, state: 'under-way' | 'decided'): void {
    const range = this.#rangeById.get(operator.rangeId)
    if (range === undefined) return
    range.state = state
    switch (operator.kind) {
      case 'split':
        this.splits++
        break
      case 'merge': {
        const right = this.#rangeById.get(operator.rightId)
        if (right !== undefined) right.state = state
        break
      }
      case 'add-replica':
        this.#send(range, operator.to)
        this.#addVoter(range, operator.to)
        break
      case 'remove-replica':
        this.#dropMember(range, operator.from)
        break
      case 'replace-replica':
        this.#send(range, operator.to)
        this.#dropMember(range, operator.from)
        this.#addVoter(range, operator.to)
        if (operator.leads) this.#transfer(range, operator.to)
        break
      case 'transfer-leader': {
        const from = this.#nodeOrStranger(operator.from)
        from.transfersFrom++
        this.#nodeOrStranger(operator.to).transfersTo++
        this.#transfer(range, operator.to)
      }
    }
  }

  #send({ leader, picture }: RangeStanding, to: NodeId): void {
    for (const traffic of [leader?.sending, this.#nodeOrStranger(to).receiving]) {
      if (traffic === undefined) continue
      traffic.moves++
      traffic.bytes += picture.bytes
    }
  }

  #addVoter(range: RangeStanding, nodeId: NodeId): void {
    const node = this.#nodeOrStranger(nodeId)
    if (!range.voters.includes(node)) range.voters = [...range.voters, node]
    if (range.members.includes(node)) return
    range.members = [...range.members, node]
    node.replicas++
    node.held.push(range)
  }

  #dropMember(range: RangeStanding, nodeId: NodeId): void {
    const node = this.#nodeOrStranger(nodeId)
    range.voters = range.voters.filter((voter) => voter !== node)
    if (!range.members.includes(node)) return
    range.members = range.members.filter((member) => member !== node)
    node.replicas--
  }

  #transfer(range: RangeStanding, to: NodeId): void {
    if (range.leader !== undefined) this.#lead(range.leader, range, -1)
    range.leader = this.#nodeOrStranger(to)
    this.#lead(range.leader, range, 1)
  }
}

function standingOf(picture: ClusterPicture, node: NodePicture, at: number): NodeStanding {
  const { membership, contact, isUnfit = false } = node
  const isUp = contact.kind === 'up'
  const receives = isUp && !isUnfit && membership === 'member'
  return newNode(node.nodeId, at, {
    isUp,
    isDead: isDead(picture, node),
    isLeaving: isLeaving(node),
    receives,
    mayLead: receives && picture.nowMs - contact.sinceMs >= picture.settings.leaderGraceMs,
  })
}

function isLeaving({ membership }: NodePicture): boolean {
  return membership === 'decommissioning' || membership === 'decommissioned'
}

type Standings = Pick<NodeStanding, 'isUp' | 'isDead' | 'isLeaving' | 'receives' | 'mayLead'>

function newNode(nodeId: NodeId, at: number, standings: Standings): NodeStanding {
  return {
    nodeId,
    at,
    ...standings,
    replicas: 0,
    leaders: 0,
    load: 0,
    held: [],
    sending: { moves: 0, bytes: 0 },
    receiving: { moves: 0, bytes: 0 },
    transfersFrom: 0,
    transfersTo: 0,
  }
}

function stateOf(replicas: readonly ReplicaPlace[]): RangeState {
  let isDouble = false
  for (const [at, { nodeId, type }] of replicas.entries()) {
    if (type === 'incoming' || type === 'outgoing') return 'joint'
    for (let before = 0; before < at; before++) if (replicas[before]!.nodeId === nodeId) isDouble = true
  }
  return isDouble ? 'local-repair' : 'free'
}

function distancesBetween(nodes: readonly NodePicture[]): Float64Array {
  const distances = new Float64Array(nodes.length * nodes.length)
  for (const [i, a] of nodes.entries()) {
    for (const [j, b] of nodes.entries()) distances[i * nodes.length + j] = pairDiversity(a.locality, b.locality)
  }
  return distances
}
