import { assert } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import { memoryKey } from './engine-keys.js'
import type { LiveRecord } from './records.js'
import { memoryChecksum } from './records.js'
import { type LiveReplica, liveReplica, type ReplicaCatalog, type ReplicaState } from './replica-catalog.js'
import type { StateEngine } from './state-engine.js'
import type { Writers } from './writers.js'

/** What a replica that takes another one's place, with all that it has, is. */
export interface Successor {
  readonly replicaId: number
  /** Of the same span. */
  readonly descriptor: Descriptor
}

/** One atomic write, of what the flush before it has left: a tombstone for the one, a record and the memory for the other. */
export async function writeSuccession(
  parts: { readonly engine: StateEngine; readonly catalog: ReplicaCatalog; readonly writers: Writers },
  replica: LiveReplica,
  { replicaId, descriptor }: Successor,
): Promise<ReplicaState> {
  const { engine, catalog, writers } = parts
  const { appliedIndex, appliedTerm, memory, descriptor: before } = replica
  assert(!catalog.knows(replicaId), 'a replica id is never used again')
  assert(before.start === descriptor.start && before.end === descriptor.end, 'a successor has the same span')
  assert(!replica.advanced, 'everything that was applied is flushed')
  const batch = engine.batch()
  const remembered = memory.encode()
  batch.put(memoryKey(replicaId), remembered)
  batch.delete(memoryKey(replica.replicaId))
  const indexes = { replicaId, descriptor, appliedIndex, appliedTerm, memoryChecksum: memoryChecksum(remembered) }
  const record: LiveRecord = { kind: 'live', ...indexes }
  const staged = catalog.stage(batch, [{ kind: 'removed', replicaId: replica.replicaId }, record])
  await writers.write(batch)
  catalog.commit(staged)
  const successor = liveReplica(record, memory)
  catalog.live.delete(replica.replicaId)
  catalog.live.set(replicaId, successor)
  return successor
}
