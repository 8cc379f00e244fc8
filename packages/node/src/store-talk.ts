import { CordilleraError, type NodeId } from '@cordillera/base'
import type { StoreReport } from '@cordillera/replicas'
import type { PeerLinks } from '@cordillera/wire'

/**
 * Tells the other nodes how this store's disk is, so that they give it no leadership and know where there is room: whenever
 * that changes, and again until each has heard it. A node that has just been met expects a store that is fit, and is told
 * when it is not. Who does not hear it loses time, nothing else.
 */
export interface StoreTalkParts {
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly nodeId: NodeId
  /** Every node that may be concerned. */
  nodes(): readonly NodeId[]
  report(): StoreReport
}

const ASK_TIMEOUT_MS = 2_000

export class StoreTalk {
  readonly #parts: StoreTalkParts
  /** What each node has answered that it knows; a node that is missing expects a store that is fit. */
  readonly #known = new Map<NodeId, StoreReport>()
  readonly #asking = new Set<NodeId>()

  constructor(parts: StoreTalkParts) {
    this.#parts = parts
  }

  /** Says what was not heard yet; to be called when the report has changed, and now and then. */
  say(): void {
    for (const node of this.#parts.nodes()) this.#tell(node)
  }

  onLinkUp(node: NodeId): void {
    this.#known.delete(node)
    this.#tell(node)
  }

  #tell(node: NodeId): void {
    const { links, nodeId } = this.#parts
    const report = this.#parts.report()
    const known = this.#known.get(node) ?? FIT
    const isNews = known.condition !== report.condition || known.space !== report.space
    if (!isNews || node === nodeId || this.#asking.has(node) || !links.isUp(node)) return
    this.#asking.add(node)
    links.ask(node, 'store', report, ASK_TIMEOUT_MS).then(
      () => {
        this.#asking.delete(node)
        this.#known.set(node, report)
      },
      () => {
        this.#asking.delete(node)
      },
    )
  }
}

const FIT: StoreReport = { condition: 'healthy', space: 'ample' }
const CONDITIONS = ['healthy', 'slow', 'stalled', 'dead'] as const
const LEVELS = ['ample', 'short', 'out'] as const

/** A report from another node. Throws `BAD_REQUEST`. */
export function readStoreReport(body: unknown): StoreReport {
  const { condition, space } = (typeof body === 'object' && body !== null ? body : {}) as Partial<StoreReport>
  const isKnown = CONDITIONS.some((known) => known === condition) && LEVELS.some((known) => known === space)
  if (!isKnown) throw new CordilleraError('BAD_REQUEST', { detail: 'a store is reported with a condition and a level' })
  return { condition: condition!, space: space! }
}
