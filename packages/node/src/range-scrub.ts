import { type Clock, CordilleraError, type Logger, type NodeId, type Random, type RangeId } from '@cordillera/base'
import type { Descriptor, ReplicaPlace } from '@cordillera/ranges'
import type { Replicas } from '@cordillera/replicas'
import type { SnapshotSource } from '@cordillera/router'
import type { PeerLinks } from '@cordillera/wire'
import type { RangeHashes } from './admin.js'
import type { RangeFinder } from './range-finder.js'
import { type ReplicaHash, ReplicaHasher } from './replica-hash.js'

/**
 * Compares what the replicas of ranges hold: databases lose data and do not say so, and defects make replicas diverge.
 *
 * All voters hash the range at one open snapshot ({@link ReplicaHasher}). Where a majority of them agree and one does not, also when
 * they are asked once more, that one is wrong, and is silenced: it takes part no more, not after a restart either, and is
 * replaced as one with a damaged log is. So at no time do fewer than a majority of good ones remain. Without a majority nobody can
 * say who is right: that is only told.
 *
 * Each node looks at the ranges that it leads, each about once in `scrubMs`, one after the other, and at those that
 * people ask for.
 */
export interface RangeScrubParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly finder: RangeFinder
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly snapshots: SnapshotSource
  readonly scrubMs: number
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export const SCRUB_METHODS = ['hash', 'quarantine'] as const
export type ScrubMethod = (typeof SCRUB_METHODS)[number]

/** One replica waits for those before it on its node, and 64 MiB take about ten seconds. */
const HASH_MS = 120_000
const SNAPSHOT_MS = 5_000
const QUARANTINE_MS = 5_000

/** A voter, and what it answered; undefined: nothing. */
export interface VoterHash {
  readonly place: ReplicaPlace
  readonly hash: ReplicaHash | undefined
}

export class RangeScrub {
  readonly counts = { scrubs: 0, diverged: 0 }
  readonly #parts: RangeScrubParts
  readonly #hasher: ReplicaHasher
  /** When ranges that are led here are looked at next. */
  readonly #dueMs = new Map<RangeId, number>()
  #isBusy = false

  constructor(parts: RangeScrubParts) {
    this.#parts = parts
    this.#hasher = new ReplicaHasher(parts)
  }

  /** To be called about once a second. */
  onRound(): void {
    const rangeId = this.#nextDue()
    if (rangeId === undefined || this.#isBusy) return
    const { clock, logger, scrubMs } = this.#parts
    this.#isBusy = true
    this.#dueMs.set(rangeId, clock.now() + scrubMs)
    this.compare(rangeId)
      .catch((error) => logger.debug('range-not-scrubbed', { rangeId, error: String(error) }))
      .finally(() => {
        this.#isBusy = false
      })
  }

  /** Rejects with `NOT_FOUND`, and with `UNAVAILABLE` when no snapshot could be opened; who does not answer has no hash. */
  async compare(rangeId: RangeId): Promise<RangeHashes> {
    const first = await this.#ask(rangeId)
    const isOdd = oddOnes(first.voters).length > 0
    const { descriptor, voters } = isOdd ? await this.#ask(rangeId) : first
    this.counts.scrubs++
    const odd = oddOnes(voters).filter((place) =>
      oddOnes(first.voters).some(({ replicaId }) => replicaId === place.replicaId),
    )
    if (areDifferent(voters)) this.#tell(descriptor, voters)
    for (const place of odd) await this.#quarantine(descriptor, place)
    const indexes = voters.flatMap(({ hash }) => hash?.appliedIndex ?? [])
    return {
      rangeId,
      index: indexes.length === 0 ? 0 : Math.min(...indexes),
      replicas: voters.map(({ place: { nodeId }, hash }) => {
        return { nodeId, appliedIndex: hash?.appliedIndex ?? 0, hash: hash?.hash ?? null }
      }),
    }
  }

  /** Another node asks. Throws `BAD_REQUEST`. */
  async onAsked(method: ScrubMethod, body: unknown): Promise<unknown> {
    const count = method === 'hash' ? 4 : 2
    if (!Array.isArray(body) || body.length !== count || !body.every((id) => Number.isSafeInteger(id) && id > 0)) {
      throw new CordilleraError('BAD_REQUEST', { detail: `"${method}" takes ${count} numbers` })
    }
    const [rangeId, replicaId, version, at] = body as [number, number, number, number]
    if (method === 'quarantine') {
      await this.#parts.replicas.quarantine(rangeId, replicaId)
      return null
    }
    const { appliedIndex, hash } = await this.#hasher.hash({ rangeId, replicaId, version, at })
    return [appliedIndex, hash]
  }

  #nextDue(): RangeId | undefined {
    const { replicas, clock, random, scrubMs } = this.#parts
    const nowMs = clock.now()
    for (const rangeId of this.#dueMs.keys()) {
      if (replicas.replica(rangeId)?.core.role !== 'leader') this.#dueMs.delete(rangeId)
    }
    let next: RangeId | undefined
    for (const { descriptor, core } of replicas.replicas()) {
      if (core.role !== 'leader') continue
      const { rangeId } = descriptor
      const dueMs = this.#dueMs.get(rangeId)
      if (dueMs === undefined) this.#dueMs.set(rangeId, nowMs + random.below(scrubMs))
      else if (dueMs <= nowMs) next ??= rangeId
    }
    return next
  }

  async #ask(rangeId: RangeId): Promise<{ readonly descriptor: Descriptor; readonly voters: readonly VoterHash[] }> {
    const { finder, snapshots } = this.#parts
    const descriptor = await finder.newest(rangeId)
    if (descriptor === undefined) throw new CordilleraError('NOT_FOUND', { detail: `there is no range ${rangeId}` })
    const at = await this.#openSnapshot()
    try {
      const places = descriptor.replicas.filter(({ type }) => type !== 'learner')
      const asked = places.map(async (place) => ({ place, hash: await this.#askOne(descriptor, place, at) }))
      return { descriptor, voters: await Promise.all(asked) }
    } finally {
      snapshots.close(at, false)
    }
  }

  #openSnapshot(): Promise<number> {
    const { snapshots, clock } = this.#parts
    return new Promise((resolve, reject) => {
      snapshots.open(0, clock.now() + SNAPSHOT_MS, (error, at) => (error === undefined ? resolve(at) : reject(error)))
    })
  }

  async #askOne({ rangeId, epoch }: Descriptor, place: ReplicaPlace, at: number): Promise<ReplicaHash | undefined> {
    const { logger } = this.#parts
    const { nodeId, replicaId } = place
    try {
      const answer = await this.#askNode(nodeId, 'hash', [rangeId, replicaId, epoch.version, at], HASH_MS)
      const [appliedIndex, hash] = Array.isArray(answer) ? answer : []
      if (Number.isSafeInteger(appliedIndex) && typeof hash === 'string') return { appliedIndex, hash }
      throw new CordilleraError('CORRUPT', { detail: 'an answer that is no hash' })
    } catch (error) {
      if (!(error instanceof CordilleraError)) throw error
      logger.debug('replica-not-hashed', { rangeId, replicaId, nodeId, detail: error.message })
      return undefined
    }
  }

  #askNode(nodeId: NodeId, method: ScrubMethod, body: readonly number[], timeoutMs: number): Promise<unknown> {
    const { nodeId: self, links } = this.#parts
    if (nodeId === self) return this.onAsked(method, body)
    if (links.isUp(nodeId)) return links.ask(nodeId, method, body, timeoutMs)
    return Promise.reject(new CordilleraError('UNAVAILABLE', { detail: `node ${nodeId} cannot be reached` }))
  }

  #tell({ rangeId }: Descriptor, voters: readonly VoterHash[]): void {
    this.counts.diverged++
    const hashes = voters.map(
      ({ place, hash }) => `${place.replicaId}@${place.nodeId} ${hash?.hash.slice(0, 16) ?? '-'}`,
    )
    this.#parts.logger.error('replicas-diverged', { rangeId, hashes })
  }

  async #quarantine({ rangeId }: Descriptor, { replicaId, nodeId }: ReplicaPlace): Promise<void> {
    try {
      await this.#askNode(nodeId, 'quarantine', [rangeId, replicaId], QUARANTINE_MS)
    } catch (error) {
      if (!(error instanceof CordilleraError)) throw error
      this.#parts.logger.error('replica-not-quarantined', { rangeId, replicaId, nodeId, detail: error.message })
    }
  }
}

function areDifferent(voters: readonly VoterHash[]): boolean {
  return new Set(voters.flatMap(({ hash }) => hash?.hash ?? [])).size > 1
}

/** Voters that differ from what a majority of all voters have; none where there is no such majority, or two configurations. */
export function oddOnes(voters: readonly VoterHash[]): ReplicaPlace[] {
  if (voters.some(({ place }) => place.type !== 'voter')) return []
  const counts = new Map<string, number>()
  for (const { hash } of voters) if (hash !== undefined) counts.set(hash.hash, (counts.get(hash.hash) ?? 0) + 1)
  const [agreed] = [...counts].find(([, count]) => count * 2 > voters.length) ?? []
  if (agreed === undefined) return []
  return voters.flatMap(({ place, hash }) => (hash !== undefined && hash.hash !== agreed ? [place] : []))
}
