import { CordilleraError, type NodeId } from '@cordillera/base'
import type { Membership } from '@cordillera/placement'
import { systemKey } from '@cordillera/ranges'
import type { SystemTable } from './system-table.js'

/** What people have asked of nodes, kept in the system range under `membership/<id>`; a node that is not there is a member. */
const PREFIX = systemKey('membership')
const KINDS: readonly Membership[] = ['member', 'draining', 'decommissioning', 'decommissioned']
const TRIES_MAX = 10

export class Memberships {
  readonly #table: SystemTable
  #known: ReadonlyMap<NodeId, Membership> = new Map()

  constructor(table: SystemTable) {
    this.#table = table
  }

  /** As read last, or written since. */
  of(nodeId: NodeId): Membership {
    return this.#known.get(nodeId) ?? 'member'
  }

  /** Nodes that are none any more. */
  decommissioned(): NodeId[] {
    return [...this.#known].flatMap(([nodeId, membership]) => (membership === 'decommissioned' ? [nodeId] : []))
  }

  async refresh(): Promise<void> {
    const rows = await this.#table.list(PREFIX)
    this.#known = new Map(rows.flatMap(({ value }) => tryRead(value) ?? []))
  }

  async set(nodeId: NodeId, membership: Membership): Promise<void> {
    const key = systemKey('membership', nodeId)
    for (let tries = 0; ; tries++) {
      const row = await this.#table.get(key)
      try {
        await this.#table.put(key, { nodeId, membership }, row?.version ?? 0)
        break
      } catch (error) {
        const isLate = error instanceof CordilleraError && error.code === 'VERSION_MISMATCH'
        if (!isLate || tries >= TRIES_MAX) throw error
      }
    }
    this.#known = new Map(this.#known).set(nodeId, membership)
  }
}

function tryRead(value: unknown): [[NodeId, Membership]] | undefined {
  const { nodeId, membership } = (value ?? {}) as { readonly nodeId?: unknown; readonly membership?: unknown }
  const known = KINDS.find((kind) => kind === membership)
  return typeof nodeId === 'number' && known !== undefined ? [[nodeId, known]] : undefined
}
