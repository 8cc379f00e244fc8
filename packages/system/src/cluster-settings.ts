import { CordilleraError } from '@cordillera/base'
import { systemKey } from '@cordillera/ranges'
import type { SystemTable } from './system-table.js'

/** What an operator may set for the whole cluster, kept in the system range under `settings`; what is not there has its default. */
export interface ClusterSettings {
  readonly placementEnabled: boolean
  readonly replicas: number
  readonly rangeSplitBytes: number
  readonly rangeMergeBytes: number
  readonly rangeMergeCooldownMs: number
  readonly rangeSplitLoadPerSec: number
  readonly deadNodeAfterMs: number
  readonly movesPerNodeMax: number
  readonly snapshotBytesPerSecMax: number
  /** A fraction of the mean. */
  readonly balanceTolerance: number
}

export const defaultClusterSettings: ClusterSettings = {
  placementEnabled: true,
  replicas: 3,
  rangeSplitBytes: 64 << 20,
  rangeMergeBytes: 16 << 20,
  rangeMergeCooldownMs: 300_000,
  rangeSplitLoadPerSec: 0,
  deadNodeAfterMs: 300_000,
  movesPerNodeMax: 2,
  snapshotBytesPerSecMax: 32 << 20,
  balanceTolerance: 0.1,
}

const KEY = systemKey('settings')
const TRIES_MAX = 10

export class SettingsTable {
  readonly #table: SystemTable

  constructor(table: SystemTable) {
    this.#table = table
  }

  async read(): Promise<ClusterSettings> {
    return merged((await this.#table.get(KEY))?.value)
  }

  /** Rejects with `BAD_REQUEST` when they contradict each other. */
  async change(patch: Partial<ClusterSettings>): Promise<ClusterSettings> {
    for (let tries = 0; ; tries++) {
      const row = await this.#table.get(KEY)
      const next = { ...merged(row?.value), ...patch }
      if (next.rangeMergeBytes > 0 && next.rangeMergeBytes * 2 > next.rangeSplitBytes) {
        const detail = 'rangeMergeBytes must be at most half of rangeSplitBytes: what was merged would be split again'
        throw new CordilleraError('BAD_REQUEST', { detail })
      }
      try {
        await this.#table.put(KEY, next, row?.version ?? 0)
        return next
      } catch (error) {
        const isLate = error instanceof CordilleraError && error.code === 'VERSION_MISMATCH'
        if (!isLate || tries >= TRIES_MAX) throw error
      }
    }
  }
}

/** Only what is known, and of the right type. */
function merged(stored: unknown): ClusterSettings {
  const found = typeof stored === 'object' && stored !== null ? (stored as Record<string, unknown>) : {}
  const settings: Record<string, unknown> = { ...defaultClusterSettings }
  for (const [name, value] of Object.entries(defaultClusterSettings)) {
    if (typeof found[name] === typeof value) settings[name] = found[name]
  }
  return settings as unknown as ClusterSettings
}
