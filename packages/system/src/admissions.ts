import { CordilleraError, type NodeId } from '@cordillera/base'
import { systemKey } from '@cordillera/ranges'
import { IdAllocator } from './id-allocator.js'
import { SystemTable, type SystemTableParts } from './system-table.js'

/**
 * Gives those that join a founded cluster their ids, kept in the system range under `join/<token>`: the same token, asked for by
 * whatever node and after whatever crash, is the same node. Ids are never used again; one whose writing was overtaken is nobody's.
 */
export class Admissions {
  readonly #table: SystemTable
  readonly #ids: IdAllocator

  /** `first`: the least id that the founding has left. */
  constructor({ first, ...parts }: SystemTableParts & { readonly first: NodeId }) {
    this.#table = new SystemTable(parts)
    this.#ids = new IdAllocator({ ...parts, name: 'node', first })
  }

  /** Durable when it resolves. Rejects as the router does; then the same question again has the same answer. */
  async admit(token: string): Promise<NodeId> {
    const key = systemKey('join', token)
    for (;;) {
      const row = await this.#table.get(key)
      if (row !== undefined) return readNodeId(row.value)
      const nodeId = await this.#ids.allocate(1)
      try {
        await this.#table.put(key, { nodeId }, 0)
        return nodeId
      } catch (error) {
        // Somebody else was asked as well, and was faster.
        if (!(error instanceof CordilleraError) || error.code !== 'VERSION_MISMATCH') throw error
      }
    }
  }
}

function readNodeId(value: unknown): NodeId {
  const { nodeId } = (typeof value === 'object' && value !== null ? value : {}) as { readonly nodeId?: unknown }
  if (Number.isSafeInteger(nodeId) && (nodeId as number) >= 1) return nodeId as NodeId
  throw new CordilleraError('CORRUPT', { detail: 'what the system range says of a node that joined is no node id' })
}
