import { type Clock, CordilleraError, type Key, type Logger, type NodeId, type RangeId } from '@cordillera/base'
import {
  type ClusterPicture,
  type Decision,
  type DecommissionAnswer,
  decide,
  decideDecommission,
  defaultPlacementSettings,
  drainObstacle,
  type Explanation,
  explainRange,
  type Locality,
  type Membership,
  type NodePicture,
  type Operator,
  type PlacementSettings,
} from '@cordillera/placement'
import type { Descriptor, Span } from '@cordillera/ranges'
import { ClusterIndex, type Heartbeat } from './cluster-index.js'
import { type ClusterSettings, SettingsTable } from './cluster-settings.js'
import { type HeartbeatAnswer, nodeSettingsOf } from './heartbeat-answer.js'
import type { IdAllocator } from './id-allocator.js'
import { Memberships } from './memberships.js'
import { isNodeTask, type NodeTask, type OperatorTask, type RangeTask } from './operator.js'
import { type OperatorActions, Operators } from './operators.js'
import type { SystemTable } from './system-table.js'

/**
 * What places ranges, beside the leader of the system range: about once a second it makes a picture of the cluster from what nodes
 * have told it, has `placement` decide, and begins operators. A new leader goes on with the operators that it finds, and hears
 * everything else anew; nothing of what an earlier one knew is needed for it.
 */
export interface PlacementDriverParts {
  readonly table: SystemTable
  readonly ids: Pick<IdAllocator, 'allocate'>
  readonly actions: RangeActions
  readonly clock: Clock
  readonly logger: Logger
  /** Every node of the cluster, as far as is known. */
  nodes(): readonly { readonly nodeId: NodeId; readonly locality: Locality }[]
  /** Whether it is heard, here. */
  isUp(nodeId: NodeId): boolean
  /** Whether its disk is well and has room, as far as this node was told. */
  isFit(nodeId: NodeId): boolean
  /** A person, or the founding, put a boundary there; as {@link readPins} has read last. */
  isPinned(start: Key): boolean
  readPins(): Promise<void>
  /** Every range that this node knows of, led or not. */
  descriptors(): Iterable<Descriptor>
  /** Has {@link descriptors} know what the nodes that can be reached know of ranges with these keys. */
  survey(spans: readonly Span[]): Promise<void>
  /** Ranges of a cluster that was just founded. */
  readonly rangesMin: number
}

export interface RangeActions {
  /** See `OperatorActions`. */
  perform(task: RangeTask, timeoutMs: number): Promise<object | undefined>
  abandon(task: RangeTask): Promise<void>
  /** What an operator that was decided on is to do, with all that must be fixed. Rejects as `perform` does. */
  plan(operator: Operator): Promise<RangeTask>
}

interface Seat {
  readonly operators: Operators
  readonly index: ClusterIndex
  readonly memberships: Memberships
  readonly sinceMs: number
  /** Since when a node has been heard, or not. */
  readonly contacts: Map<NodeId, NodePicture['contact']>
  /** Decided, and not durable yet. */
  readonly planning: Map<RangeId, Operator>
  /** As read last. */
  settings: ClusterSettings | undefined
  isLoaded: boolean
  refreshedAtMs: number
  /** What nodes were told that they are, and how many times by now. */
  readonly told: Map<NodeId, { readonly membership: Membership; readonly times: number }>
  /** Of settings and memberships, begun so far. */
  readings: number
  /** Since when nobody has said of some range that he leads it; others were not asked for it since. */
  unledSinceMs: number | undefined
  /** Keys of which nobody knew anything when everybody was asked last. */
  unknown: readonly Span[]
}

const RETRY_MS = 500
const REFRESH_MS = 5_000
/** A node whose heartbeats fail to come for so long is not heard. */
const SILENT_MS = 6_000
/** Of what nobody has said for so long that he leads it, others are asked where it is, and again after so long. */
const SURVEY_MS = 5_000
/** What is done shows in the picture by then: with the next heartbeat of whoever leads. */
const UNSEEN_MS = 4_000
/** How long what has failed is left alone. */
const BACK_OFF_MS = 30_000
const OPERATOR_MS = 600_000
const DRAIN_MS = 60_000
const NODE_TASK_PAUSE_MS = 200

export class PlacementDriver {
  readonly #parts: PlacementDriverParts
  #seat: Seat | undefined

  constructor(parts: PlacementDriverParts) {
    this.#parts = parts
  }

  /** This node's replica of the system range leads. Replaces an earlier leadership. */
  onLeading(): void {
    this.onLeadingEnded()
    const { table, clock } = this.#parts
    const actions: OperatorActions = {
      perform: (task, timeoutMs) => this.#perform(task, timeoutMs),
      abandon: (task) => this.#abandon(task),
    }
    const seat: Seat = {
      operators: new Operators({ ...this.#parts, actions }),
      index: new ClusterIndex(),
      memberships: new Memberships(table),
      sinceMs: clock.now(),
      contacts: new Map(),
      planning: new Map(),
      settings: undefined,
      isLoaded: false,
      refreshedAtMs: Number.NEGATIVE_INFINITY,
      told: new Map(),
      readings: 0,
      unledSinceMs: clock.now(),
      unknown: [],
    }
    this.#seat = seat
    this.#load(seat)
  }

  onLeadingEnded(): void {
    this.#seat?.operators.close()
    this.#seat = undefined
  }

  /** Throws `UNAVAILABLE` where the system range is not led, or the operators have not been read yet. */
  get operators(): Operators {
    if (this.#seat?.isLoaded !== true) {
      throw new CordilleraError('UNAVAILABLE', {
        detail: 'the placement driver is not on this node, or has just begun',
      })
    }
    return this.#seat.operators
  }

  /** A node has told what has changed. Throws `UNAVAILABLE` where the system range is not led. */
  onHeartbeat(nodeId: NodeId, heartbeat: Heartbeat): HeartbeatAnswer {
    const seat = this.#seat
    if (seat === undefined) throw notHere()
    const resync = !seat.index.onHeartbeat(nodeId, heartbeat, this.#parts.clock.now())
    const settings = seat.settings && nodeSettingsOf(seat.settings)
    const membership = seat.memberships.of(nodeId)
    const told = seat.told.get(nodeId)
    seat.told.set(nodeId, { membership, times: told?.membership === membership ? told.times + 1 : 1 })
    return { resync, membership, ...(settings && { settings }) }
  }

  /** To be called about once a second. */
  onRound(): void {
    const seat = this.#seat
    if (seat?.isLoaded !== true) return
    const { clock, logger } = this.#parts
    if (clock.now() - seat.refreshedAtMs >= REFRESH_MS) this.#refresh(seat)
    this.#survey(seat)
    const picture = this.#tryPicture(seat)
    if (picture === undefined) return
    for (const decision of decide(picture)) {
      this.#begin(seat, decision).catch((error) => {
        logger.debug('decision-not-begun', { ...decision.operator, error: String(error) })
      })
    }
  }

  /** What every rule says of the range now. Throws `UNAVAILABLE` where nothing is known yet. */
  explain(rangeId: RangeId): Explanation[] {
    return explainRange(this.#picture(), rangeId)
  }

  /** Nodes that are none any more; empty where nobody places ranges. */
  decommissioned(): NodeId[] {
    return this.#seat?.memberships.decommissioned() ?? []
  }

  membershipOf(nodeId: NodeId): Membership {
    if (this.#seat === undefined) throw notHere()
    return membershipIn(this.#seat, nodeId)
  }

  /** What keeps a node from giving its leaderships away; undefined: nothing that is known here yet. */
  drainObstacle(nodeId: NodeId): string | undefined {
    const picture = this.#seat === undefined ? undefined : this.#tryPicture(this.#seat)
    return picture && drainObstacle(picture, nodeId)
  }

  /** Whether a node may be emptied. Throws `UNAVAILABLE` where nothing is known yet. */
  decommissionOf(nodeId: NodeId): DecommissionAnswer {
    return decideDecommission(this.#picture(), nodeId)
  }

  #picture(): ClusterPicture {
    const picture = this.#seat === undefined ? undefined : this.#tryPicture(this.#seat)
    if (picture === undefined) {
      throw new CordilleraError('UNAVAILABLE', { detail: 'the placement driver has not heard of every range yet' })
    }
    return picture
  }

  /** Undefined: not everything has been heard of yet, or the settings have not been read. */
  #tryPicture(seat: Seat): ClusterPicture | undefined {
    const { clock, nodes, isPinned, isFit } = this.#parts
    const nowMs = clock.now()
    if (seat.settings === undefined || !this.#hasHeardAll(seat, nowMs)) return undefined
    const ranges = seat.index.ranges().map((range, i, all) => {
      const isHeard = this.#isHeard(seat, range.leader, nowMs)
      const { start } = range.descriptor
      // No merge reaches over what is unknown.
      const startIsPinned = isPinned(start) || all[i - 1]?.descriptor.end !== start
      return { ...range, leader: isHeard ? range.leader : 0, startIsPinned }
    })
    const pictured = nodes().map(({ nodeId, locality }): NodePicture => {
      const contact = this.#contact(seat, nodeId, nowMs)
      return { nodeId, locality, membership: membershipIn(seat, nodeId), contact, isUnfit: !isFit(nodeId) }
    })
    const underWay = new Map(seat.planning)
    for (const { task, state } of seat.operators.recent(UNSEEN_MS, BACK_OFF_MS)) {
      // A range that is being recovered has no leader: nothing is decided about it, and nothing begins.
      if (isNodeTask(task) || task.kind === 'recover') continue
      const isSeen = state === 'done' && isInPicture(task, ranges)
      if (!isSeen) underWay.set(task.rangeId, operatorOf(task, seat))
    }
    const settings = settingsOf(seat.settings, this.#parts.rangesMin)
    return { nowMs, settings, nodes: pictured, ranges, underWay: [...underWay.values()] }
  }

  /**
   * All nodes that can be reached have told what they lead, and that is everything; or who has told nothing of a range has had his
   * time, and others were asked for it. What nobody at all knows of is not in the picture: nothing can be done about it.
   */
  #hasHeardAll({ index, sinceMs, unknown }: Seat, nowMs: number): boolean {
    const { nodes, isUp } = this.#parts
    if (!index.isWholeBut(unknown)) return false
    if (nowMs - sinceMs >= SILENT_MS) return true
    return nodes().every(({ nodeId }) => !isUp(nodeId) || index.heardAtMs(nodeId) !== undefined)
  }

  #survey(seat: Seat): void {
    const { clock, logger, survey, descriptors } = this.#parts
    const nowMs = clock.now()
    const unled = seat.index.unled()
    if (unled.length === 0) {
      seat.unledSinceMs = undefined
      seat.unknown = []
      return
    }
    seat.unledSinceMs ??= nowMs
    if (nowMs - seat.unledSinceMs < SURVEY_MS) return
    seat.unledSinceMs = nowMs
    survey(unled).then(
      () => {
        seat.index.fillGaps(descriptors(), clock.now())
        seat.unknown = seat.index.gaps()
      },
      (error) => logger.error('ranges-not-surveyed', { error: String(error) }),
    )
  }

  #isHeard(seat: Seat, nodeId: NodeId, nowMs: number): boolean {
    const heardAtMs = seat.index.heardAtMs(nodeId)
    return this.#parts.isUp(nodeId) && heardAtMs !== undefined && nowMs - heardAtMs < SILENT_MS
  }

  #contact(seat: Seat, nodeId: NodeId, nowMs: number): NodePicture['contact'] {
    const kind = this.#isHeard(seat, nodeId, nowMs) ? 'up' : 'down'
    const known = seat.contacts.get(nodeId)
    if (known?.kind === kind) return known
    // Who was there when this driver began has been there for long enough; who was not is counted from then on.
    const contact = { kind, sinceMs: known === undefined ? seat.sinceMs : nowMs } as const
    seat.contacts.set(nodeId, contact)
    return contact
  }

  async #begin(seat: Seat, { operator, code, detail }: Decision): Promise<void> {
    const { rangeId } = operator
    if (seat.planning.has(rangeId) || seat.operators.of(`range ${rangeId}`) !== undefined) return
    seat.planning.set(rangeId, operator)
    try {
      const task = await this.#parts.actions.plan(operator)
      // It may have been switched off while that was planned.
      const isStillWanted = this.#seat === seat && seat.settings?.placementEnabled === true
      if (isStillWanted) await seat.operators.start(task, `${code}: ${detail}`, OPERATOR_MS)
    } finally {
      seat.planning.delete(rangeId)
    }
  }

  /** Reads the settings and memberships: what is decided once it resolves goes by them. Rejects as they are read. */
  async refresh(): Promise<void> {
    if (this.#seat === undefined) throw notHere()
    await this.#read(this.#seat)
  }

  #refresh(seat: Seat): void {
    this.#read(seat).catch((error) => this.#parts.logger.debug('settings-unread', { error: String(error) }))
  }

  async #read(seat: Seat): Promise<void> {
    const { table, clock, readPins } = this.#parts
    seat.refreshedAtMs = clock.now()
    const reading = ++seat.readings
    const reads = [new SettingsTable(table).read(), seat.memberships.refresh(), readPins()] as const
    const [settings] = await Promise.all(reads)
    // One that was begun earlier has older news.
    if (reading === seat.readings) seat.settings = settings
  }

  #perform(task: OperatorTask, timeoutMs: number): Promise<object | undefined> {
    return isNodeTask(task) ? this.#performOnNode(task, timeoutMs) : this.#parts.actions.perform(task, timeoutMs)
  }

  /** A node that was to be emptied, or to lead nothing, is a member again. */
  async #abandon(task: OperatorTask): Promise<void> {
    if (!isNodeTask(task)) await this.#parts.actions.abandon(task)
    else if (task.kind === 'decommission' || task.kind === 'drain')
      await this.#seat?.memberships.set(task.nodeId, 'member')
  }

  /** The round does the moving; here it is waited for. */
  async #performOnNode({ kind, nodeId }: NodeTask, timeoutMs: number): Promise<undefined> {
    const seat = this.#seat
    if (seat === undefined) throw notHere()
    const { clock } = this.#parts
    const moves = kind === 'drain' || kind === 'decommission'
    const isDone = (): boolean =>
      moves && !this.#isClear(seat, kind, nodeId) ? false : kind === 'decommission' || this.#knows(seat, kind, nodeId)
    // Who was decommissioned is not to be emptied once more.
    if (kind === 'decommission' && seat.memberships.of(nodeId) === 'decommissioned') return undefined
    if (seat.memberships.of(nodeId) !== MEMBERSHIPS[kind]) await seat.memberships.set(nodeId, MEMBERSHIPS[kind])
    const deadlineMs = clock.now() + timeoutMs
    while (!isDone()) {
      if (clock.now() >= deadlineMs || this.#seat !== seat) {
        throw new CordilleraError('UNAVAILABLE', { detail: this.#whatIsLeft(seat, kind, nodeId) })
      }
      await new Promise<void>((resolve) => clock.after(NODE_TASK_PAUSE_MS, resolve))
    }
    if (kind === 'decommission') await seat.memberships.set(nodeId, 'decommissioned')
    return undefined
  }

  /** Whether the node has been told what it is, and has come again since; or is not there to be told. */
  #knows(seat: Seat, kind: NodeTask['kind'], nodeId: NodeId): boolean {
    const told = seat.told.get(nodeId)
    const isTold = told?.membership === MEMBERSHIPS[kind] && told.times > 1
    return isTold || !this.#isHeard(seat, nodeId, this.#parts.clock.now())
  }

  #isClear(seat: Seat, kind: NodeTask['kind'], nodeId: NodeId): boolean {
    return seat.index.isWhole && seat.index.ranges().every((range) => !isHeldOn(range, kind, nodeId))
  }

  #whatIsLeft(seat: Seat, kind: NodeTask['kind'], nodeId: NodeId): string {
    const left = seat.index.ranges().filter((range) => isHeldOn(range, kind, nodeId)).length
    return `node ${nodeId} still ${kind === 'drain' ? 'leads' : 'has replicas of'} ${left} ranges`
  }

  #load(seat: Seat): void {
    if (this.#seat !== seat) return
    const { clock, logger } = this.#parts
    seat.operators.load().then(
      () => {
        seat.isLoaded = true
        logger.info('placement-driver-began', { operators: seat.operators.list().length })
      },
      (error) => {
        logger.debug('operators-unread', { error: String(error) })
        clock.after(RETRY_MS, () => this.#load(seat))
      },
    )
  }
}

/**
 * A node counts as draining, or as leaving, from the moment that somebody is told it may: whoever asks for another one meanwhile is
 * told of both.
 */
function membershipIn({ memberships, operators }: Seat, nodeId: NodeId): Membership {
  const membership = memberships.of(nodeId)
  const kind = operators.taskOf(`node ${nodeId}`)?.kind
  if (kind === 'drain' && membership === 'member') return 'draining'
  return kind === 'decommission' && membership !== 'decommissioned' ? 'decommissioning' : membership
}

/** How long what is asked of a node may take before it is given up. */
export function nodeTaskMs(kind: NodeTask['kind']): number {
  return kind === 'decommission' ? DECOMMISSION_MS : DRAIN_MS
}

const DECOMMISSION_MS = 24 * 3_600_000
const MEMBERSHIPS = {
  drain: 'draining',
  undrain: 'member',
  decommission: 'decommissioning',
  recommission: 'member',
} as const satisfies Record<NodeTask['kind'], Membership>

function isHeldOn(
  {
    leader,
    descriptor,
  }: { readonly leader: NodeId; readonly descriptor: { readonly replicas: readonly { nodeId: NodeId }[] } },
  kind: NodeTask['kind'],
  nodeId: NodeId,
): boolean {
  return kind === 'drain' ? leader === nodeId : descriptor.replicas.some((place) => place.nodeId === nodeId)
}

/** What a node says that does not place ranges. */
export const NOT_HERE = 'the placement driver is not on this node, or has just begun'

function notHere(): CordilleraError {
  return new CordilleraError('UNAVAILABLE', { detail: NOT_HERE })
}

function settingsOf(settings: ClusterSettings, rangesMin: number): PlacementSettings {
  const isOff = (value: number): boolean => value === 0
  const { rangeMergeBytes, rangeSplitLoadPerSec, movesPerNodeMax } = settings
  return {
    ...defaultPlacementSettings,
    placementEnabled: settings.placementEnabled,
    replicas: settings.replicas,
    rangeSplitBytes: settings.rangeSplitBytes,
    rangeMergeBytes,
    mergeCooldownMs: settings.rangeMergeCooldownMs,
    splitLoadPerSec: isOff(rangeSplitLoadPerSec) ? Number.POSITIVE_INFINITY : rangeSplitLoadPerSec,
    rangesMin,
    deadAfterMs: settings.deadNodeAfterMs,
    balanceTolerance: settings.balanceTolerance,
    movesPerNodeMax,
  }
}

type PlacementTask = Exclude<RangeTask, { kind: 'recover' }>

/** Whether what it has done shows. */
function isInPicture(task: PlacementTask, ranges: ClusterPicture['ranges']): boolean {
  const range = ranges.find(({ descriptor }) => descriptor.rangeId === task.rangeId)
  const hasRight = (rightId: RangeId): boolean => ranges.some(({ descriptor }) => descriptor.rangeId === rightId)
  if (task.kind === 'split') return hasRight(task.rightId)
  if (task.kind === 'merge') return !hasRight(task.rightId)
  if (task.kind === 'transfer-leader') return range?.leader === task.nodeId
  const places = range?.descriptor.replicas ?? []
  const isAdded = task.add === undefined || places.some(({ nodeId, type }) => nodeId === task.add && type === 'voter')
  const isGone = places.every(({ replicaId }) => replicaId !== task.remove)
  return isAdded && isGone && (task.leads !== true || range?.leader === task.add)
}

/** An operator as the picture has it. */
function operatorOf(task: PlacementTask, { index }: Seat): Operator {
  const { rangeId } = task
  const range = index.get(rangeId)
  switch (task.kind) {
    case 'split':
      return { kind: 'split', rangeId, key: task.key }
    case 'merge':
      return { kind: 'merge', rangeId, rightId: task.rightId }
    case 'transfer-leader':
      return { kind: 'transfer-leader', rangeId, from: range?.leader ?? 0, to: task.nodeId }
    default: {
      const { add, remove, leads = false, votersLeft = 1 } = task
      if (remove === undefined) return { kind: 'add-replica', rangeId, to: add ?? 0 }
      const from = range?.descriptor.replicas.find(({ replicaId }) => replicaId === remove)?.nodeId ?? 0
      if (add === undefined) return { kind: 'remove-replica', rangeId, replicaId: remove, from, votersLeft }
      return { kind: 'replace-replica', rangeId, replicaId: remove, from, to: add, leads }
    }
  }
}
