import type { NodeId } from '@cordillera/base'
import type { ReplicaPlace } from '@cordillera/ranges'
import type { RangeReply } from '@cordillera/wire'

/**
 * What becomes of a request's operations, and whom to ask next: pure functions, pinned by a table test.
 *
 * The one rule that must never break: after anything but a proper answer, a refusal, or not being sent at all, a write
 * may have been proposed, and no later sending changes that. It is sent again (its number makes it take effect once), but
 * if it is never answered its outcome is unknown. Reads have no effect and are always sent again.
 */

/** How a request ended: with a reply, with its connection (`lost`: it may have arrived), or before it left. */
export type Outcome = RangeReply | { readonly kind: 'lost' } | { readonly kind: 'not-sent' }

export interface Attempt {
  readonly kind: 'write' | 'read' | 'scan' | 'timestamps' | 'outcome'
  /** Operations in the request. */
  readonly count: number
  /** Who was asked. */
  readonly node: NodeId
  /** Nodes asked since the last pause, without success. */
  readonly asked: readonly NodeId[]
  /** Of writes: an earlier sending may have been proposed. */
  readonly mayBeProposed: boolean
  /** Whether newer descriptors of the request's span are known by now than it was made for. */
  readonly isRouteStale: boolean
  isUp(node: NodeId): boolean
}

export interface Decision {
  /** `expired`: the snapshot is gone. `disk-full`: values are not taken. `may-be-proposed`: retry, and never say again that it was surely not applied. */
  readonly operations: 'answer' | 'expired' | 'disk-full' | 'may-be-proposed' | 'retry'
  readonly next: NextStep
}

/**
 * `settle`: the node leads, send to it freely. `keep`: nothing was learned about who leads. `follow`: ask that node now.
 * `rotate`: after a pause, ask another replica. `stay`: after a pause, ask the same one.
 */
export type NextStep =
  | { readonly kind: 'settle' | 'keep' | 'rotate' | 'stay' }
  | { readonly kind: 'follow'; readonly node: NodeId }

export const ROTATE: NextStep = { kind: 'rotate' }
export const KEEP: NextStep = { kind: 'keep' }
export const STAY: NextStep = { kind: 'stay' }
export const LOST: Outcome = { kind: 'lost' }
export const NOT_SENT: Outcome = { kind: 'not-sent' }
const ANSWER: Decision = { operations: 'answer', next: { kind: 'settle' } }
const RETRY_AND_KEEP: Decision = { operations: 'retry', next: { kind: 'keep' } }
const RETRY_AND_STAY: Decision = { operations: 'retry', next: { kind: 'stay' } }
const RETRY_AND_ROTATE: Decision = { operations: 'retry', next: ROTATE }
const RETRY_DOUBTED: Decision = { operations: 'may-be-proposed', next: ROTATE }
const DISK_FULL: Decision = { operations: 'disk-full', next: { kind: 'settle' } }
const EXPIRED: Decision = { operations: 'expired', next: { kind: 'settle' } }

export function decideNext(outcome: Outcome, attempt: Attempt): Decision {
  switch (outcome.kind) {
    case 'not-sent':
      return RETRY_AND_ROTATE
    case 'refused':
      return decideAfterRefusal(outcome.reason, outcome.leader, attempt)
    case 'unknown':
    case 'lost':
      return attempt.kind === 'write' ? RETRY_DOUBTED : RETRY_AND_ROTATE
    default:
      if (isAnswer(outcome, attempt)) return ANSWER
      return attempt.kind === 'write' ? RETRY_DOUBTED : RETRY_AND_ROTATE
  }
}

type RefusalReason = Extract<RangeReply, { kind: 'refused' }>['reason']

function decideAfterRefusal(reason: RefusalReason, leader: NodeId, attempt: Attempt): Decision {
  if (reason === 'overloaded') return RETRY_AND_STAY
  if (reason === 'snapshot-expired') return EXPIRED
  // What may have been proposed before is not said to be refused: it is asked for until its deadline.
  if (reason === 'disk-full') return attempt.mayBeProposed ? RETRY_AND_STAY : DISK_FULL
  if (leader === 0) return RETRY_AND_ROTATE
  if (leader !== attempt.node) {
    // A hint is followed at once, unless its node was asked since the last pause (two nodes that point at each other
    // would be asked in a circle) or cannot be reached.
    const isDeadEnd = attempt.asked.includes(leader) || !attempt.isUp(leader)
    return isDeadEnd ? RETRY_AND_ROTATE : { operations: 'retry', next: { kind: 'follow', node: leader } }
  }
  if (reason === 'closing' || reason === 'no-range') return RETRY_AND_ROTATE
  // With newer descriptors a mismatch is progress, and needs no pause.
  return reason === 'epoch-mismatch' && attempt.isRouteStale ? RETRY_AND_KEEP : RETRY_AND_STAY
}

function isAnswer(reply: RangeReply, attempt: Attempt): boolean {
  switch (reply.kind) {
    case 'written':
      return attempt.kind === 'write' && reply.outcomes.length === attempt.count
    case 'values': // May answer fewer than asked, from the first on, when the values are many bytes.
      return attempt.kind === 'read' && reply.values.length > 0 && reply.values.length <= attempt.count
    case 'scanned':
      return attempt.kind === 'scan' && !(reply.more && reply.entries.length === 0)
    case 'timestamps':
      return attempt.kind === 'timestamps'
    case 'decided':
      return attempt.kind === 'outcome'
    default:
      return false
  }
}

export interface Candidates {
  readonly replicas: readonly ReplicaPlace[]
  readonly self: NodeId
  /** Who was asked last; 0 for nobody. */
  readonly last: NodeId
  readonly asked: readonly NodeId[]
  isUp(node: NodeId): boolean
}

/**
 * Whom to ask when nobody is believed to lead: this node first, then the others in turn behind the one asked last.
 * Nodes that are down come last, and learners, which cannot lead, behind voters. 0 when there is no replica.
 */
export function chooseTarget(candidates: Candidates): NodeId {
  const { replicas, self, last, asked } = candidates
  const begin = replicas.findIndex((replica) => replica.nodeId === (last === 0 ? self : last)) + (last === 0 ? 0 : 1)
  let best: NodeId = 0
  let bestRank = Number.POSITIVE_INFINITY
  for (let i = 0; i < replicas.length; i++) {
    const { nodeId, type } = replicas[(Math.max(begin, 0) + i) % replicas.length]!
    const rank = (candidates.isUp(nodeId) ? 0 : 4) + (type === 'voter' ? 0 : 2) + (asked.includes(nodeId) ? 1 : 0)
    if (rank < bestRank) {
      best = nodeId
      bestRank = rank
    }
  }
  return best
}

/** The bounds of the pause after `pauses` earlier ones without a success; the jitter is uniform between them. */
export function backoffBounds(
  pauses: number,
  limits: { readonly backoffMinMs: number; readonly backoffMaxMs: number },
): { readonly fromMs: number; readonly toMs: number } {
  const toMs = Math.min(limits.backoffMaxMs, limits.backoffMinMs * 2 ** Math.min(pauses, 30))
  return { fromMs: toMs / 2, toMs }
}

/** Whether the range is not where it was asked for, or nobody there can be reached. */
export function isLost(outcome: Outcome): boolean {
  return outcome.kind === 'not-sent' || (outcome.kind === 'refused' && outcome.reason === 'no-range')
}
