import { Buffer } from 'node:buffer'
import {
  ByteWriter,
  type Clock,
  CordilleraError,
  type Key,
  paced,
  type RangeId,
  type ReplicaId,
  type Version,
} from '@cordillera/base'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { RangeReply, ScannedEntry } from '@cordillera/wire'
import { sha256 } from '@noble/hashes/sha2.js'

/**
 * The hash of what the replicas of this node hold: every key, version and value of a range as its readers see them at one
 * timestamp, read from the replica itself, which first has applied all that was written up to it. Two replicas of a range
 * have the same hash at a timestamp, or one of them is wrong (*two reads at one timestamp agree*).
 *
 * Not in it: what was deleted or written over, and what is remembered of operations.
 */
export interface HashQuestion {
  readonly rangeId: RangeId
  readonly replicaId: ReplicaId
  /** Of the range's epoch: it is hashed as a whole. */
  readonly version: number
  /** An open snapshot. */
  readonly at: Version
}

export interface ReplicaHash {
  /** Everything up to the timestamp is at or below it. */
  readonly appliedIndex: number
  /** SHA-256 in hex. */
  readonly hash: string
}

/** So much at a time: hashing it takes a few milliseconds, in which nothing else happens. */
const PAGE_BYTES = 128 << 10
const PAGE_ENTRIES = 1_000

export class ReplicaHasher {
  readonly #replicas: Pick<Replicas, 'replica' | 'execute'>
  readonly #clock: Clock
  /** One replica at a time. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: { readonly replicas: Pick<Replicas, 'replica' | 'execute'>; readonly clock: Clock }) {
    this.#replicas = parts.replicas
    this.#clock = parts.clock
  }

  /** Rejects with `NOT_FOUND` when the replica is not here, with `UNAVAILABLE` when it cannot be read as a whole at the moment. */
  hash(question: HashQuestion): Promise<ReplicaHash> {
    const hashed = this.#last.then(() => this.#hash(question))
    this.#last = hashed.catch(() => {})
    return hashed
  }

  async #hash(question: HashQuestion): Promise<ReplicaHash> {
    const hash = sha256.create()
    const { end, start: first } = this.#replicaOf(question).descriptor
    for (let start: Key | undefined = first; start !== undefined; ) {
      const from: Key = start
      start = await paced(this.#clock, async () => {
        const { entries, more } = await this.#page(question, from, end)
        hash.update(encode(entries))
        return more ? `${entries[entries.length - 1]!.key}\x00` : undefined
      })
    }
    const { appliedIndex } = this.#replicaOf(question).state
    return { appliedIndex, hash: Buffer.from(hash.digest()).toString('hex') }
  }

  #replicaOf({ rangeId, replicaId }: HashQuestion): Replica {
    const replica = this.#replicas.replica(rangeId)
    if (replica?.replicaId === replicaId) return replica
    throw new CordilleraError('NOT_FOUND', { detail: `replica ${replicaId} of range ${rangeId} does not serve here` })
  }

  async #page(question: HashQuestion, start: Key, end: Key | null): Promise<Extract<RangeReply, { kind: 'scanned' }>> {
    const { rangeId, version: epochVersion, at } = question
    const limits = { reverse: false, limit: PAGE_ENTRIES, bytesMax: PAGE_BYTES, values: true }
    const reply = await new Promise<RangeReply>((resolve) => {
      const span = { start, end, at, ...limits }
      this.#replicas.execute({ kind: 'scan', rangeId, epochVersion, byFollower: true, ...span }, resolve)
    })
    this.#replicaOf(question)
    if (reply.kind === 'scanned') return reply
    const why = reply.kind === 'refused' ? reply.reason : reply.kind
    throw new CordilleraError('UNAVAILABLE', { detail: `range ${rangeId} cannot be read here as it was: ${why}` })
  }
}

function encode(entries: readonly ScannedEntry[]): Uint8Array {
  const out = new ByteWriter(2 * PAGE_BYTES)
  for (const { key, version, value } of entries) out.key(key).u53(version).bytes(value)
  return out.view()
}
