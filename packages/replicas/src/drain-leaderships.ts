import type { Clock, NodeId, ReplicaId } from '@cordillera/base'
import type { Replica } from './replica.js'
import type { ReplicaLinks } from './replicas-options.js'

export interface DrainParts {
  readonly clock: Clock
  readonly links: Pick<ReplicaLinks, 'isUp'>
  replicas(): Iterable<Replica>
  isClosed(): boolean
  /** When something was last asked of a replica here. */
  lastRequestAt(): number
  /** Whether the node's store is fit to lead. */
  isFit(node: NodeId): boolean
  /** Something is left to do for the replica. */
  markDirty(replica: Replica): void
}

/** A transfer is given up after an election timeout; then it was tried once more in vain. */
const STUCK_MS = 1_500
/** How long no request must have come before a drain is over. */
const QUIET_MS = 200
const ROUND_MS = 20

/**
 * Hands every leadership to a reachable peer. Resolves when none is left here, when `timeoutMs` have passed, or when
 * no more could be handed over for a while: others may be draining too, and take none; in the first case once every
 * request is answered and none has come for a while, because others still send here until they know better. Requests
 * are served, or redirected, meanwhile.
 */
export function drainLeaderships(timeoutMs: number, parts: DrainParts): Promise<void> {
  const { clock } = parts
  const deadline = clock.now() + timeoutMs
  let [least, leastSince] = [Number.POSITIVE_INFINITY, clock.now()]
  return new Promise((resolve) => {
    const round = (): void => {
      const led = [...parts.replicas()].filter((replica) => replica.core.role === 'leader')
      const movable = led.filter((replica) => tryHandOver(replica, parts)).length
      if (movable < least) [least, leastSince] = [movable, clock.now()]
      const isStuck = movable > 0 && clock.now() - leastSince >= STUCK_MS
      const isDone = movable === 0 && isQuiet(parts)
      if (isDone || isStuck || parts.isClosed() || clock.now() >= deadline) resolve()
      else clock.after(ROUND_MS, round)
    }
    round()
  })
}

/** Every request is answered, and nobody has asked for anything lately. */
function isQuiet({ clock, lastRequestAt, replicas }: DrainParts): boolean {
  if (clock.now() - lastRequestAt() < QUIET_MS) return false
  for (const replica of replicas()) if (!replica.isIdle) return false
  return true
}

/** True while there is a peer that could take this leadership. */
function tryHandOver(replica: Replica, { links, isFit, markDirty }: DrainParts): boolean {
  const best =
    chooseSuccessor(replica, (nodeId) => links.isUp(nodeId) && isFit(nodeId)) ||
    chooseSuccessor(replica, (nodeId) => links.isUp(nodeId))
  if (best === 0) return false
  replica.core.transferLeadership(best)
  markDirty(replica)
  return true
}

/** Of the peers on nodes that may lead, the one that answers and has most of the leader's log; 0 for none. */
export function chooseSuccessor(replica: Replica, mayLead: (nodeId: NodeId) => boolean): ReplicaId {
  let best: ReplicaId = 0
  let bestMatch = -1
  let isBestActive = false
  for (const { replicaId, nodeId, type } of replica.descriptor.replicas) {
    if (replicaId === replica.replicaId || type === 'learner' || !mayLead(nodeId)) continue
    const { matchIndex, recentlyActive } = replica.core.progressOf(replicaId) ?? NOTHING_KNOWN
    // A node may be there, and its replica silent.
    if (recentlyActive === isBestActive ? matchIndex <= bestMatch : isBestActive) continue
    best = replicaId
    bestMatch = matchIndex
    isBestActive = recentlyActive
  }
  return best
}

const NOTHING_KNOWN = { matchIndex: -1, recentlyActive: false } as const
