import type { NodeId, Version } from '@cordillera/base'

/**
 * Where the safe point may be: at the minimum of the oldest snapshots that the nodes report, each no older than
 * {@link SILENT_MS}. A node that is silent for so long loses its snapshots. A new keeper knows no reports: it waits for
 * one of every known node, or so long.
 */
export const SILENT_MS = 60_000

export class SafePointKeeper {
  readonly #sinceMs: number
  readonly #reports = new Map<NodeId, { readonly oldest: Version; readonly atMs: number }>()

  constructor(nowMs: number) {
    this.#sinceMs = nowMs
  }

  onReport(nodeId: NodeId, oldest: Version, nowMs: number): void {
    this.#reports.set(nodeId, { oldest, atMs: nowMs })
  }

  /** 0: nowhere yet. May be below an earlier one: a safe point that was announced does not go back. */
  candidate(known: Iterable<NodeId>, nowMs: number): Version {
    if (nowMs - this.#sinceMs < SILENT_MS) {
      for (const nodeId of known) if (!this.#reports.has(nodeId)) return 0
    }
    let least = Number.POSITIVE_INFINITY
    for (const [nodeId, { oldest, atMs }] of this.#reports) {
      if (nowMs - atMs >= SILENT_MS) this.#reports.delete(nodeId)
      else if (oldest < least) least = oldest
    }
    return least === Number.POSITIVE_INFINITY ? 0 : least
  }
}
