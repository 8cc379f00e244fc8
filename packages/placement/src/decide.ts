import type { RangeId } from '@cordillera/base'
import { SYSTEM_RANGE_ID } from '@cordillera/ranges'
import { whyUntouchable } from './candidates.js'
import type { ClusterPicture } from './cluster-picture.js'
import { describeDoing, describeNo } from './describe.js'
import { chooseDrain, chooseRepair, repairUrgency } from './keep-replicas.js'
import { LeaderBalance } from './leader-balance.js'
import type { Choice, Decision, DecisionKind, Doing, Explanation, NoCode } from './operator.js'
import { ReplicaBalance } from './replica-balance.js'
import { chooseMerge, chooseSplit, pairForMerges } from './split-and-merge.js'
import { chooseSpread } from './spread-replicas.js'
import { type RangeStanding, Standing } from './standing.js'

/**
 * What to do next, for the whole cluster: at most one operator a range, none for a range that has one under way, in
 * order of urgency, within the limits. The same picture gives the same decisions; a balanced cluster gets none.
 *
 * Costs milliseconds for thousands of ranges, and holds on to nothing: why something is *not* done is found out when
 * it is asked for, see {@link explainRange}.
 */
export function decide(picture: ClusterPicture): Decision[] {
  return picture.settings.placementEnabled ? new DecisionRound(picture).decisions : []
}

/** The answer of every rule for one range, as of the picture: what is decided, waits, or is not done, and why. */
export function explainRange(picture: ClusterPicture, rangeId: RangeId): Explanation[] {
  return new DecisionRound(picture).explain(rangeId)
}

class DecisionRound {
  readonly decisions: Decision[] = []
  readonly #standing: Standing
  readonly #isEnabled: boolean
  #isRepairing = false

  constructor(picture: ClusterPicture) {
    this.#standing = new Standing(picture)
    this.#isEnabled = picture.settings.placementEnabled
    pairForMerges(this.#standing)
    if (!this.#isEnabled) return
    this.#repair()
    this.#ask('drain-leaders', chooseDrain)
    this.#ask('split', chooseSplit)
    this.#ask('spread-replicas', chooseSpread)
    const leaders = new LeaderBalance(this.#standing)
    const mayMoveReplicas = !this.#isRepairing && !this.#isNodeSilent()
    if (mayMoveReplicas) {
      new ReplicaBalance(this.#standing, leaders).decide((doing) => this.#take('balance-replicas', doing))
    }
    leaders.decide((doing) => this.#take('balance-leaders', doing), mayMoveReplicas)
    this.#ask('merge', chooseMerge)
  }

  explain(rangeId: RangeId): Explanation[] {
    const range = this.#standing.range(rangeId)
    if (range === undefined) return [this.#explanation('keep-replicas', 'unknown-range', undefined)]
    if (!this.#isEnabled) return [this.#explanation('keep-replicas', 'placement-off', range)]
    const answers: readonly (readonly [DecisionKind, Choice])[] = [
      ['keep-replicas', chooseRepair(this.#standing, range)],
      ['spread-replicas', chooseSpread(this.#standing, range)],
      ['balance-replicas', this.#whyReplicasStay(range)],
      ['drain-leaders', chooseDrain(this.#standing, range)],
      ['balance-leaders', this.#whyLeaderStays(range)],
      ['split', chooseSplit(this.#standing, range)],
      ['merge', chooseMerge(this.#standing, range)],
    ]
    return answers.map(([kind, choice]) => {
      const decision = this.decisions.find((made) => made.kind === kind && made.operator.rangeId === rangeId)
      if (decision !== undefined) return { kind, verdict: 'do', code: decision.code, detail: decision.detail }
      return this.#explanation(kind, typeof choice === 'string' ? choice : 'enough-under-way', range)
    })
  }

  #explanation(kind: DecisionKind, code: NoCode, range: RangeStanding | undefined): Explanation {
    return {
      kind,
      verdict: WAITS.has(code) ? 'wait' : 'no',
      code,
      detail: describeNo(this.#standing, kind, code, range),
    }
  }

  #take(kind: DecisionKind, doing: Doing): void {
    this.decisions.push({ kind, ...doing, detail: describeDoing(this.#standing, doing) })
    this.#standing.decide(doing.operator)
  }

  #ask(kind: DecisionKind, choose: (standing: Standing, range: RangeStanding) => Choice): void {
    for (const range of this.#standing.ranges) {
      const choice = choose(this.#standing, range)
      if (typeof choice !== 'string') this.#take(kind, choice)
    }
  }

  /** The most urgent first. While a repair waits for its turn, nothing moves for the sake of balance. */
  #repair(): void {
    const byUrgency: RangeStanding[][] = [[], [], [], []]
    for (const range of this.#standing.ranges) {
      const urgency = repairUrgency(this.#standing, range)
      if (urgency !== undefined) byUrgency[urgency]!.push(range)
    }
    for (const range of byUrgency.flat()) {
      const choice = chooseRepair(this.#standing, range)
      if (choice === 'enough-under-way' || choice === 'leads') this.#isRepairing = true
      if (typeof choice !== 'string') this.#take('keep-replicas', choice)
    }
  }

  /** A node that is gone for a while is in nobody's mean: replicas that moved for that would move back. */
  #isNodeSilent(): boolean {
    return this.#standing.nodes.some(({ isUp, isDead, isLeaving }) => !isUp && !isDead && !isLeaving)
  }

  #whyReplicasStay(range: RangeStanding): NoCode {
    const untouchable = whyUntouchable(range)
    if (untouchable !== undefined) return untouchable
    const balance = new ReplicaBalance(this.#standing, new LeaderBalance(this.#standing))
    if (!this.#standing.receivers.some((node) => balance.isOutside(node))) return 'balanced'
    if (this.#isRepairing) return 'repairs-first'
    if (this.#isNodeSilent()) return 'node-down'
    if (range.partner !== undefined) return 'may-merge'
    return range.members.some((node) => balance.isOutside(node)) ? 'no-better-node' : 'balanced'
  }

  #whyLeaderStays(range: RangeStanding): NoCode {
    if (range.rangeId === SYSTEM_RANGE_ID) return 'system-range'
    const balance = new LeaderBalance(this.#standing)
    if (balance.isGiant(range)) return 'hot-range'
    const untouchable = whyUntouchable(range)
    if (untouchable !== undefined) return untouchable
    const isUneven = range.voters.some((node) => node.mayLead && balance.isOutside(node))
    if (!isUneven) return 'balanced'
    const { transfersPerNodeMax } = this.#standing.picture.settings
    return (range.leader?.transfersFrom ?? 0) >= transfersPerNodeMax ? 'enough-under-way' : 'no-better-node'
  }
}

/** What may change by itself. */
const WAITS: ReadonlySet<NoCode> = new Set<NoCode>([
  'under-way',
  'decided',
  'joint',
  'local-repair',
  'no-leader',
  'node-down',
  'enough-under-way',
  'leads',
  'repairs-first',
  'may-merge',
  'no-sample',
  'cooldown',
  'paired-elsewhere',
])
