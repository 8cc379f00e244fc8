import { assert, CordilleraError, type LogIndex, type ReplicaId, type Term, type Version } from '@cordillera/base'
import { type Descriptor, OperationMemory, type Span, spansOverlap } from '@cordillera/ranges'
import { memoryKey, REPLICA_RECORDS, replicaRecordKey, STORE_RECORD_KEY } from './engine-keys.js'
import {
  decodeReplicaRecord,
  decodeStoreRecord,
  encodeReplicaRecord,
  encodeStoreRecord,
  type InstallingRecord,
  type LiveRecord,
  memoryChecksum,
  type ReplicaRecord,
  recordChecksum,
} from './records.js'
import type { EngineBatch, EngineSnapshot, StateEngine } from './state-engine.js'

/** A replica of this store. Indexes never go back; `flushedIndex <= appliedIndex`. */
export interface ReplicaState {
  readonly replicaId: ReplicaId
  readonly descriptor: Descriptor
  /** What reads see. */
  readonly appliedIndex: LogIndex
  /** The term of the entry at the applied index. */
  readonly appliedTerm: Term
  /** What survives a crash: from here on the log must be replayed, and not from earlier. */
  readonly flushedIndex: LogIndex
  /** What the range remembers of operations. Whoever applies an entry changes it, before `apply` is told of the entry. */
  readonly memory: OperationMemory
}

export interface NewReplica {
  readonly replicaId: ReplicaId
  readonly descriptor: Descriptor
  /** Where its log begins: the state is as after this entry. */
  readonly applied: { readonly index: LogIndex; readonly term: Term }
}

/** The store's own, writable view of a {@link ReplicaState}. */
export interface LiveReplica extends ReplicaState {
  descriptor: Descriptor
  appliedIndex: LogIndex
  appliedTerm: Term
  flushedIndex: LogIndex
  memory: OperationMemory
  /** Applied something since the last cut. */
  advanced: boolean
  /** Is being removed, or replaced by a snapshot: applies nothing. */
  sealed: boolean
  /** What the memory's changes counted when it was last written, and the checksum of that; 0 before. */
  memoryWritten: number
  memoryChecksum: number
}

/** Changes of records that were put into a batch, and count once that is durable. */
export interface StagedRecords {
  readonly checksums: ReadonlyMap<ReplicaId, number>
  readonly digest: number
}

/**
 * The replicas of a store and their durable records.
 *
 * A record is trusted only with its checksum, and the set of records only with the digest in the store's record:
 * opening notices one that is altered, missing or older than the last batch said. Batches that stage records must be
 * written one after the other, each committed or the store given up.
 */
export class ReplicaCatalog {
  readonly live = new Map<ReplicaId, LiveReplica>()
  /** As found at the opening: to be installed before anything else is done. */
  readonly installing: InstallingRecord[] = []
  /** Checksums of all durable records, tombstones among them. */
  readonly #checksums = new Map<ReplicaId, number>()
  #digest = 0
  /** Written with every batch. See `StateStore.safePoint`. */
  safePoint: Version = 0
  /** There was nothing at the opening. */
  isNew = false

  /** Reads and verifies the records. Throws `CORRUPT`. */
  static async load(engine: StateEngine): Promise<ReplicaCatalog> {
    const catalog = new ReplicaCatalog()
    const stored = engine.get(STORE_RECORD_KEY)
    const snapshot = engine.snapshot()
    try {
      if (stored === undefined) await assertEmpty(snapshot)
      else await catalog.#read(snapshot, engine)
    } finally {
      await snapshot.close()
    }
    const nothing = { count: 0, digest: 0, safePoint: 0 }
    const { count, digest, safePoint } = stored === undefined ? nothing : decodeStoreRecord(stored)
    catalog.safePoint = safePoint
    catalog.isNew = stored === undefined
    if (count !== catalog.#checksums.size || digest !== catalog.#digest) {
      throw corrupt('its replica records are not those of its last batch')
    }
    return catalog
  }

  /** Lives here, did, or is being installed. */
  knows(replicaId: ReplicaId): boolean {
    return this.live.has(replicaId) || this.#checksums.has(replicaId)
  }

  /** Throws unless the ids are new to this store, and all spans, theirs and those that stay in use, are disjoint. */
  assertCreatable(
    added: readonly Pick<LiveRecord, 'replicaId' | 'descriptor'>[],
    going: readonly Pick<ReplicaState, 'replicaId'>[] = [],
  ): void {
    const ids = new Set<ReplicaId>()
    for (const { replicaId } of added) {
      assert(!this.knows(replicaId) && !ids.has(replicaId), 'a replica id is never used again')
      ids.add(replicaId)
    }
    this.assertDisjoint(added, going)
  }

  /** Throws unless all spans, these and those of all other replicas but some that go, are disjoint. */
  assertDisjoint(
    changed: readonly Pick<LiveRecord, 'replicaId' | 'descriptor'>[],
    going: readonly Pick<ReplicaState, 'replicaId'>[] = [],
  ): void {
    const ids = new Set([...changed, ...going].map(({ replicaId }) => replicaId))
    const others = [...this.live.values()].filter(({ replicaId }) => !ids.has(replicaId))
    const spans: Span[] = [...others, ...changed].map(({ descriptor }) => descriptor)
    spans.sort((a, b) => (a.start < b.start ? -1 : 1))
    for (let i = 1; i < spans.length; i++) {
      assert(!spansOverlap(spans[i - 1]!, spans[i]!), 'replicas of one store never overlap')
    }
  }

  /** Puts records and the store's record that fits them into the batch. */
  stage(batch: EngineBatch, records: readonly ReplicaRecord[]): StagedRecords {
    const checksums = new Map<ReplicaId, number>()
    let digest = this.#digest
    let created = 0
    for (const record of records) {
      const bytes = encodeReplicaRecord(record)
      const checksum = recordChecksum(bytes)
      const before = this.#checksums.get(record.replicaId)
      if (before === undefined) created++
      digest = (digest - (before ?? 0) + checksum) >>> 0
      checksums.set(record.replicaId, checksum)
      batch.put(replicaRecordKey(record.replicaId), bytes)
    }
    batch.put(
      STORE_RECORD_KEY,
      encodeStoreRecord({ count: this.#checksums.size + created, digest, safePoint: this.safePoint }),
    )
    return { checksums, digest }
  }

  /** The batch with these records is durable. */
  commit(staged: StagedRecords): void {
    for (const [replicaId, checksum] of staged.checksums) this.#checksums.set(replicaId, checksum)
    this.#digest = staged.digest
  }

  /** What the replica has applied up to there is durable; without effect on one that has gone meanwhile. */
  onFlushed(replicaId: ReplicaId, index: LogIndex): void {
    const replica = this.live.get(replicaId)
    if (replica !== undefined) replica.flushedIndex = index
  }

  async #read(snapshot: EngineSnapshot, engine: StateEngine): Promise<void> {
    const iterator = snapshot.iterate({ ...REPLICA_RECORDS, reverse: false })
    try {
      for (;;) {
        const chunk = await iterator.next(1000)
        if (chunk.length === 0) return
        for (const [key, bytes] of chunk) this.#learn(key, bytes, engine)
      }
    } finally {
      await iterator.close()
    }
  }

  #learn(key: string, bytes: Uint8Array, engine: StateEngine): void {
    const record = decodeReplicaRecord(bytes)
    if (replicaRecordKey(record.replicaId) !== key) throw corrupt('a replica record lies under the key of another')
    const checksum = recordChecksum(bytes)
    this.#checksums.set(record.replicaId, checksum)
    this.#digest = (this.#digest + checksum) >>> 0
    if (record.kind === 'installing') this.installing.push(record)
    if (record.kind === 'live') this.live.set(record.replicaId, liveReplica(record, readMemory(engine, record)))
  }
}

/**
 * A replica that comes to be in memory: the right half of a range that is being cut. It remembers what the whole does, and is
 * durable with the next flush, as the left half is.
 */
export function splitReplica(
  record: Pick<LiveRecord, 'replicaId' | 'descriptor' | 'appliedIndex' | 'appliedTerm'>,
  memory: OperationMemory,
): LiveReplica {
  const replica = liveReplica({ kind: 'live', ...record, memoryChecksum: 0 }, memory.copyWithin(record.descriptor))
  return Object.assign(replica, { flushedIndex: 0, memoryWritten: NEVER })
}

/** Locks and records are where their keys are: those of the other half are forgotten. To be written with the next flush. */
export function keepLeftMemory(left: LiveReplica): void {
  if (left.memory.transactions.isEmpty) return
  left.memory = left.memory.copyWithin(left.descriptor)
  left.memoryWritten = NEVER
}

/** What two ranges remember together, by the one that goes on; to be written with the next flush. */
export function uniteMemories(left: LiveReplica, right: LiveReplica): void {
  left.memory = left.memory.unite(right.memory)
  left.memoryWritten = NEVER
}

/** No count of changes is this. */
const NEVER = -1

/** A replica as its record, which is durable, says. */
export function liveReplica(record: LiveRecord, memory: OperationMemory): LiveReplica {
  const { replicaId, descriptor, appliedIndex, appliedTerm } = record
  return {
    replicaId,
    descriptor,
    appliedIndex,
    appliedTerm,
    flushedIndex: appliedIndex,
    memory,
    advanced: false,
    sealed: false,
    memoryWritten: memory.changes,
    memoryChecksum: record.memoryChecksum,
  }
}

/** Puts the replica's memory into the batch if it has changed; returns its checksum, for the record. */
export function stageMemory(batch: EngineBatch, replica: LiveReplica): number {
  const { memory, replicaId } = replica
  if (memory.changes === replica.memoryWritten) return replica.memoryChecksum
  const bytes = memory.encode()
  batch.put(memoryKey(replicaId), bytes)
  replica.memoryWritten = memory.changes
  replica.memoryChecksum = memoryChecksum(bytes)
  return replica.memoryChecksum
}

function readMemory(engine: StateEngine, record: LiveRecord): OperationMemory {
  if (record.memoryChecksum === 0) return new OperationMemory()
  const bytes = engine.get(memoryKey(record.replicaId))
  if (bytes === undefined || memoryChecksum(bytes) !== record.memoryChecksum) {
    throw corrupt(`what replica ${record.replicaId} remembers of operations is not what its record says`)
  }
  return OperationMemory.decode(bytes)
}

async function assertEmpty(snapshot: EngineSnapshot): Promise<void> {
  const iterator = snapshot.iterate({ start: '', end: null, reverse: false })
  try {
    if ((await iterator.next(1)).length > 0) throw corrupt('the record of the store is missing')
  } finally {
    await iterator.close()
  }
}

function corrupt(why: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `the state database cannot be trusted: ${why}` })
}
