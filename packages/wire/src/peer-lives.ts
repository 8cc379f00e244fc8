import type { Incarnation, NodeId } from '@cordillera/base'

/** One start of a node. */
export interface Life {
  readonly incarnation: Incarnation
  /** The number of the last batch that recovery found in its log. */
  readonly recoveredBatch: number
  /** Drawn at the start: two starts from the same bytes differ in it. */
  readonly nonce: number
}

interface Known {
  life: Life
  durableBatch: number
}

/**
 * What this node has heard of the others' durable state, for as long as it runs: who comes back with less is not who it
 * was.
 *
 * A vote, and an acknowledgement, are worth what the sender still has of them after a restart. A directory that was put
 * back from an older copy, that runs twice, or whose log lost its end after it was synced (which recovery cannot tell
 * from a batch that tore) forgets promises that others rely on, and would break them: two leaders in one term, a
 * committed entry gone, an operation's number used twice. Every frame says through which batch the sender's log is
 * durable, and so no later start may find less than was ever heard; nor may an earlier start come after a later one,
 * nor two have the same incarnation.
 *
 * Nothing of this outlives the listener: when all that have heard are restarted as well, nobody can tell. Whoever
 * restores one node's directory from an image must not restart the others with it. (Alagappan et al., Protocol-Aware
 * Recovery for Consensus-Based Storage, FAST 2018, is why a replica must not guess here.)
 */
export class PeerLives {
  readonly #known = new Map<NodeId, Known>()

  /** A node says which of its starts this is; the answer says why it cannot be, undefined: it can. */
  begin(node: NodeId, life: Life): string | undefined {
    const known = this.#known.get(node)
    const contradiction = known && contradictionOf(known, life)
    if (contradiction !== undefined) return contradiction
    const durableBatch = Math.max(known?.durableBatch ?? 0, life.recoveredBatch)
    this.#known.set(node, { life, durableBatch })
    return undefined
  }

  /** A node, whose start has begun, says that its log is durable through this batch. */
  onDurable(node: NodeId, batch: number): void {
    const known = this.#known.get(node)
    if (known !== undefined && batch > known.durableBatch) known.durableBatch = batch
  }
}

function contradictionOf({ life, durableBatch }: Known, next: Life): string | undefined {
  if (next.incarnation < life.incarnation) {
    return `start ${life.incarnation} was met before, and this one says it is start ${next.incarnation}`
  }
  if (next.incarnation === life.incarnation) {
    return next.nonce === life.nonce ? undefined : `another process says that it is start ${next.incarnation} too`
  }
  if (next.recoveredBatch >= durableBatch) return undefined
  return `its log was durable through batch ${durableBatch}, and start ${next.incarnation} found ${next.recoveredBatch}`
}
