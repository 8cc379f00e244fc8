import type { DecisionKind, Doing, NoCode } from './operator.js'
import type { NodeStanding, RangeStanding, Standing } from './standing.js'

/** Sentences for people about decisions: what is done and why, and why not, with the figures that it rests on. */

/** To be asked before the decision is taken in. */
export function describeDoing(standing: Standing, { code, operator }: Doing): string {
  const range = standing.range(operator.rangeId)
  switch (operator.kind) {
    case 'split':
      if (code === 'size') {
        return `holds ${mebibytes(range?.picture.bytes)}, and is split above ${mebibytes(standing.picture.settings.rangeSplitBytes)}`
      }
      return `serves ${rate(range?.load)}, and a sampled key halves that`
    case 'merge':
      return `range ${operator.rangeId} and range ${operator.rightId} are small and cold`
    case 'add-replica':
      return `has ${range?.voters.length} of ${standing.replicas} replicas: one more on node ${operator.to}`
    case 'remove-replica':
      if (code === 'stray-learner') return `the learner on node ${operator.from} belongs to nothing under way`
      return `has ${range?.voters.length} replicas and needs ${standing.replicasMax}: the one on node ${operator.from} goes`
    case 'replace-replica':
    case 'transfer-leader':
      return `${reasonOf(standing, code, standing.node(operator.from), standing.node(operator.to))}: from node ${operator.from} to node ${operator.to}`
  }
}

function reasonOf(
  { picture }: Standing,
  code: Doing['code'],
  from: NodeStanding | undefined,
  to: NodeStanding | undefined,
): string {
  switch (code) {
    case 'dead-node':
      return `node ${from?.nodeId} has been unreachable for more than ${picture.settings.deadAfterMs / 1000} s`
    case 'decommission':
      return `node ${from?.nodeId} is being emptied`
    case 'drain':
      return `node ${from?.nodeId} is draining`
    case 'failure-domain':
      return 'the replicas become more spread over failure domains'
    case 'align-for-merge':
      return 'the replicas come to where those of the left neighbour are'
    case 'replica-count':
      return `node ${from?.nodeId} holds ${from?.replicas} replicas, node ${to?.nodeId} ${to?.replicas}`
    case 'leader-count':
      return `node ${from?.nodeId} leads ${from?.leaders} ranges, node ${to?.nodeId} ${to?.leaders}`
    case 'load':
      return `node ${from?.nodeId} serves ${rate(from?.load)}, node ${to?.nodeId} ${rate(to?.load)}`
    default:
      return code
  }
}

export function describeNo(
  standing: Standing,
  kind: DecisionKind,
  code: NoCode,
  range: RangeStanding | undefined,
): string {
  const { settings, nowMs, underWay } = standing.picture
  switch (code) {
    case 'under-way': {
      const operator = underWay.find((running) => running.rangeId === range?.rangeId)
      return operator === undefined ? 'its neighbour is being merged with it' : `a ${operator.kind} is under way`
    }
    case 'no-quorum':
      return `${live(range)} of ${range?.voters.length} voters are reachable: without a majority nothing can change; only a person can go on, with range recover --unsafe`
    case 'no-target':
      return whyNoTarget(standing, kind)
    case 'enough-replicas':
      return `has ${range?.voters.length} replicas and needs ${standing.replicas}`
    case 'hot-range':
      return `serves ${rate(range?.load)}, more than the even share of a node: its leadership would be as much elsewhere; only a split helps`
    case 'below-limits':
      return describeLimits(standing, range)
    case 'cooldown':
      return `it or its right neighbour changed ${Math.round((nowMs - lastChange(standing, range)) / 1000)} s ago, less than ${settings.mergeCooldownMs / 1000} s`
    case 'few-ranges':
      return `there are ${standing.ranges.length} ranges, and no fewer than ${settings.rangesMin} are wanted`
    case 'unknown-range':
      return 'the picture of the cluster has no such range'
    default:
      return SENTENCES[code]
  }
}

function describeLimits({ picture: { settings } }: Standing, range: RangeStanding | undefined): string {
  const [bytes, bytesMax] = [mebibytes(range?.picture.bytes), mebibytes(settings.rangeSplitBytes)]
  if (settings.splitLoadPerSec === Number.POSITIVE_INFINITY) {
    return `${bytes} are below the limit of ${bytesMax}; ranges are not split for their load: rangeSplitLoadPerSec is 0`
  }
  return `${bytes} and ${rate(range?.load)} are below the limits of ${bytesMax} and ${rate(settings.splitLoadPerSec)}`
}

function whyNoTarget({ receivers, nodes, replicas }: Standing, kind: DecisionKind): string {
  if (kind === 'drain-leaders') return 'no other replica can take over: they are unreachable, draining or behind'
  return `${receivers.length} of ${nodes.length} nodes take replicas, ${replicas} are needed a range, and none is free: add a node or lower the count`
}

const SENTENCES = {
  'placement-off': 'placementEnabled is off',
  decided: 'something else is decided for it',
  joint: 'its configuration is changing',
  'local-repair': 'a node is replacing its own replica',
  'no-leader': 'it has no leader that is known',
  'node-down': 'a node is unreachable, or not known yet: it returns, or counts as dead after a while',
  'enough-under-way': 'as much as is allowed is under way: it waits for its turn',
  'would-lose-quorum': 'without one more voter those that are reachable would be no majority',
  leads: 'the replica leads: its leadership is handed over first',
  'well-spread': 'no placement is spread better over failure domains',
  balanced: 'nodes are even within the tolerance',
  'repairs-first': 'replicas that are missing come first',
  'no-better-node': 'no move that is possible gains enough',
  'may-merge': 'it is about to be merged with a neighbour',
  'in-place': 'its leader is not draining',
  'one-hot-key': 'most requests go to one key: no split would divide them',
  'no-sample':
    'no sampled key is known to halve the load: too few requests were sampled yet, they move on, or scans cross every key',
  'system-range': 'the system range stays as it is',
  'no-right-neighbour': 'it is the last range',
  'keyspace-boundary': 'a keyspace begins at its end',
  'pinned-boundary': 'its end was put there by a person or at the founding',
  'too-large': 'together with its right neighbour it is too large',
  'too-busy': 'together with its right neighbour it was too busy in the last minutes',
  'paired-elsewhere': 'one of the two is being merged with its other neighbour',
  'loses-spread': 'its replicas are spread less than those of its right neighbour',
} as const satisfies Partial<Record<NoCode, string>>

function lastChange({ ranges }: Standing, range: RangeStanding | undefined): number {
  if (range === undefined) return 0
  return Math.max(range.picture.lastChangedMs, ranges[range.at + 1]?.picture.lastChangedMs ?? 0)
}

function live(range: RangeStanding | undefined): number {
  return range?.voters.filter(({ isUp }) => isUp).length ?? 0
}

function mebibytes(bytes = 0): string {
  return `${Math.round((bytes / 2 ** 20) * 10) / 10} MiB`
}

function rate(perSec = 0): string {
  return `${Math.round(perSec)} requests/s`
}
