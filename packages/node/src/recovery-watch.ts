import { CordilleraError, type Key, type Logger, type NodeId, type ReplicaId, type Version } from '@cordillera/base'
import {
  type Descriptor,
  givenUpBy,
  isSurvivor,
  type RangeRecovery,
  recoveredVersion,
  SYSTEM_RANGE_ID,
} from '@cordillera/ranges'
import type { Replicas } from '@cordillera/replicas'
import type { ReplicaState, StateStore } from '@cordillera/state'
import { decodeRecoveries, RECOVERIES_KEY, readRecoveries } from '@cordillera/system'
import type { PeerLinks } from '@cordillera/wire'
import type { RangeFinder } from './range-finder.js'

/**
 * What a node knows of recoveries that were decided on, and what it does for them: a replica here that goes on goes on, and those
 * of what was given up are silenced at once, whenever they turn up, and destroyed when somebody has what the range has become.
 *
 * Who has a replica of the system range reads it there; everyone passes it on, first of all over a link that has come up, and
 * until it is acknowledged. So a node that comes back hears of it from the oracle's node before it gets a timestamp there:
 * nothing is written in what was given up.
 */
export interface RecoveryWatchParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly state: StateStore
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly finder: Pick<RangeFinder, 'findHolder'>
  readonly logger: Logger
  /** Every node of the cluster, as far as is known. */
  nodes(): Iterable<NodeId>
}

const TELL_TIMEOUT_MS = 2_000

export class RecoveryWatch {
  readonly #parts: RecoveryWatchParts
  #known: readonly RangeRecovery[] = []
  #readVersion: Version = 0
  /** Up to which recovery others are known to know of them, by its version; since their link came up. */
  readonly #told = new Map<NodeId, number>()
  readonly #telling = new Set<NodeId>()
  readonly #busy = new Set<ReplicaId>()

  constructor(parts: RecoveryWatchParts) {
    this.#parts = parts
  }

  onRound(): void {
    this.#readHere()
    for (const node of this.#parts.nodes()) this.#tell(node)
    this.#act()
  }

  onLinkUp(node: NodeId): void {
    this.#told.delete(node)
    this.#readHere()
    this.#tell(node)
  }

  /** Another node knows of these. Throws `CORRUPT`. */
  async onTold(body: unknown): Promise<null> {
    this.learn(readRecoveries(body))
    return null
  }

  /** All there are, as somebody has read or written them. */
  learn(recoveries: readonly RangeRecovery[]): void {
    if (latestOf(recoveries) <= latestOf(this.#known)) return
    this.#known = recoveries
    this.onRound()
  }

  /** What was committed is the same wherever it is read; here it may be read late. */
  #readHere(): void {
    const { replicas, state, logger } = this.#parts
    const replica = replicas.replica(SYSTEM_RANGE_ID)
    if (replica === undefined || replica.isRestoring) return
    try {
      const row = state.get(RECOVERIES_KEY)
      if (row === undefined || row.version === this.#readVersion) return
      this.#readVersion = row.version
      const recoveries = decodeRecoveries(row.value)
      if (latestOf(recoveries) > latestOf(this.#known)) this.#known = recoveries
    } catch (error) {
      onlyCoded(error)
      logger.error('recoveries-unread', { detail: String(error) })
    }
  }

  #tell(node: NodeId): void {
    const { nodeId: self, links } = this.#parts
    const latest = latestOf(this.#known)
    const isTold = (this.#told.get(node) ?? 0) >= latest
    if (node === self || isTold || this.#telling.has(node) || !links.isUp(node)) return
    this.#telling.add(node)
    links
      .ask(node, 'recoveries', this.#known, TELL_TIMEOUT_MS)
      .then(() => this.#told.set(node, latest), onlyCoded)
      .finally(() => this.#telling.delete(node))
      .catch((error) => this.#parts.replicas.onFatal(error))
  }

  #act(): void {
    if (this.#known.length === 0) return
    const { replicas } = this.#parts
    const here = [...replicas.replicas()].map(({ state }) => state)
    for (const { state } of replicas.silenced.values()) here.push(state)
    for (const state of here) {
      if (this.#busy.has(state.replicaId)) continue
      const action = this.#actionFor(state)
      if (action === undefined) continue
      this.#busy.add(state.replicaId)
      action.catch((error) => this.#onError(error)).finally(() => this.#busy.delete(state.replicaId))
    }
  }

  #actionFor(state: ReplicaState): Promise<unknown> | undefined {
    const { replicas, logger } = this.#parts
    const { replicaId, descriptor } = state
    const { rangeId } = descriptor
    const by = givenUpBy(replicaId, descriptor, this.#known)
    if (by !== undefined) {
      const replica = replicas.replica(rangeId)
      if (replica?.state === state) {
        logger.warn('replica-given-up', { rangeId, replicaId, version: descriptor.epoch.version, by: by.version })
        replicas.giveUp(replica)
      }
      return this.#collect(state, by)
    }
    const recovery = this.#known.findLast((one) => isSurvivor(replicaId, descriptor, one))
    return recovery && replicas.recover(state, recovery)
  }

  async #collect(state: ReplicaState, by: RangeRecovery): Promise<void> {
    if (await this.#isReplaced(state.descriptor, by)) await this.#parts.replicas.destroy(state)
  }

  /**
   * Whether each of its keys is in a later range. Until then this may be the last that is left of some of them: of what the range that
   * was recovered has become, or of a neighbour that those that were lost had merged it with. What they had made is kept until all of its
   * keys were recovered: a neighbour that went on without knowing of the merge is no successor of it, whatever its version has become.
   */
  async #isReplaced({ start, end, epoch }: Descriptor, { from }: RangeRecovery): Promise<boolean> {
    const least = epoch.version > from ? recoveredVersion(epoch.version, []) : epoch.version + 1
    for (let key: Key | null = start; key !== null && (end === null || key < end); ) {
      const holder: Descriptor | undefined = await this.#parts.finder.findHolder(key)
      if (holder === undefined || holder.epoch.version < least) return false
      key = holder.end
    }
    return true
  }

  /** What the disk refuses stops the store by itself. */
  #onError(error: unknown): void {
    if (error instanceof CordilleraError) this.#parts.logger.debug('recovery-failed', { detail: String(error) })
    else this.#parts.replicas.onFatal(error)
  }
}

/** Each is of a higher version than all before. */
function latestOf(recoveries: readonly RangeRecovery[]): number {
  return recoveries.reduce((latest, { version }) => Math.max(latest, version), 0)
}

function onlyCoded(error: unknown): void {
  if (!(error instanceof CordilleraError)) throw error
}
