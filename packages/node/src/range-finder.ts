import { type Clock, CordilleraError, type Key, type Logger, type NodeId, type RangeId } from '@cordillera/base'
import {
  type Descriptor,
  decodeDescriptor,
  encodeDescriptor,
  isNewerDescriptor,
  type Span,
  spanContains,
  spansOverlap,
} from '@cordillera/ranges'
import { type KnownDescriptor, newestOf, type Replicas } from '@cordillera/replicas'
import type { StateStore } from '@cordillera/state'
import type { PeerLinks } from '@cordillera/wire'

/**
 * Asks other nodes what a range is by now, and answers them: as a replica that takes part has it *durably*, so that what was
 * told stays true when the node that told it loses power.
 *
 * A gateway that does not find a range where it was, or knows of none that has a key, asks everybody who is there; what it learns
 * is a hint like any other.
 */
export interface RangeFinderParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly state: StateStore
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly clock: Clock
  readonly logger: Logger
  /** Every node of the cluster, as far as is known. */
  nodes(): Iterable<NodeId>
  /** Where the range began when it was last heard of. */
  startOf(rangeId: RangeId): Key | undefined
  onFound(descriptor: Descriptor): void
  /** All ranges that this node has heard of, as it believes that they are. */
  believed(): Iterable<Descriptor>
}

const ASK_TIMEOUT_MS = 2_000
/** How long a range that was looked for is not looked for again. */
const PAUSE_MS = 500
const MISSING_PAUSE_MS = 100

export class RangeFinder {
  readonly #parts: RangeFinderParts
  readonly #lookedForAt = new Map<RangeId, number>()
  #missedAt = Number.NEGATIVE_INFINITY

  constructor(parts: RangeFinderParts) {
    this.#parts = parts
  }

  /** Nobody was found who has the range. */
  onLost(rangeId: RangeId): void {
    const { clock, nodes, logger } = this.#parts
    const now = clock.now()
    if (now - (this.#lookedForAt.get(rangeId) ?? Number.NEGATIVE_INFINITY) < PAUSE_MS) return
    this.#lookedForAt.set(rangeId, now)
    this.#look(rangeId, nodes()).catch((error) => {
      logger.error('range-not-looked-for', { rangeId, error: String(error) })
    })
  }

  /** One that nobody has may be part of another one by now, which has its first key. */
  async #look(rangeId: RangeId, nodes: Iterable<NodeId>): Promise<void> {
    const { replicas, startOf, onFound } = this.#parts
    const here = replicas.replica(rangeId)
    if (here !== undefined) onFound(here.descriptor)
    if ((await this.ask(rangeId, nodes)).length > 0) return
    const start = startOf(rangeId)
    if (start !== undefined) await this.findHolder(start)
  }

  /** The range that has the key, the newest of those that nodes tell of, this one among them. */
  async findHolder(key: Key): Promise<Descriptor | undefined> {
    const here = this.#holderOf(key)
    const told = await this.#askRoute(key, this.#parts.nodes())
    let newest = here
    for (const one of told) if (newest === undefined || isNewerDescriptor(one, newest)) newest = one
    if (newest !== undefined) this.#parts.onFound(newest)
    return newest
  }

  /** Nobody here knows which range has the key: replicas of this node are looked through, then others are asked. */
  onMissing(key: Key): void {
    const { clock, nodes, logger, onFound } = this.#parts
    const here = this.#holderOf(key)
    if (here !== undefined) {
      onFound(here)
      return
    }
    const now = clock.now()
    if (now - this.#missedAt < MISSING_PAUSE_MS) return
    this.#missedAt = now
    this.#askRoute(key, nodes()).catch((error) => logger.error('route-not-looked-for', { error: String(error) }))
  }

  /** The range, wherever it is; undefined: nobody who is there has it. */
  async find(rangeId: RangeId): Promise<Descriptor | undefined> {
    const { replicas, nodes } = this.#parts
    return replicas.replica(rangeId)?.descriptor ?? newestOf(await this.ask(rangeId, nodes()))
  }

  /** The newest of what nodes tell of the range, this one among them. */
  async newest(rangeId: RangeId): Promise<Descriptor | undefined> {
    const { replicas, nodes } = this.#parts
    const here = replicas.replica(rangeId)
    const own = here === undefined ? [] : [{ replicaId: here.replicaId, descriptor: here.descriptor }]
    return newestOf([...own, ...(await this.ask(rangeId, nodes()))])
  }

  /** The range that this one has become part of, for good, as far as anybody remembers it; undefined: nobody does. */
  async absorbedBy(rangeId: RangeId): Promise<RangeId | undefined> {
    const { replicas, nodes, links, nodeId: self } = this.#parts
    const asked = [...nodes()].map(async (nodeId) => {
      if (nodeId === self) return replicas.absorbed.by(rangeId)
      if (!links.isUp(nodeId)) return undefined
      const answer = await links.ask(nodeId, 'absorbed', rangeId, ASK_TIMEOUT_MS).catch(onlyCoded)
      return typeof answer === 'number' ? answer : undefined
    })
    return (await Promise.all(asked)).find((by) => by !== undefined)
  }

  /** Has everybody who is there tell what he believes of ranges with these keys; the newest are passed on. Rejects for defects alone. */
  async survey(spans: readonly Span[]): Promise<void> {
    const { nodes, links, nodeId: self, onFound } = this.#parts
    const asked = [...nodes()].map(async (nodeId) => {
      if (nodeId === self || !links.isUp(nodeId)) return
      try {
        const answer = await links.ask(nodeId, 'believed', spans, ASK_TIMEOUT_MS)
        if (!Array.isArray(answer)) return
        for (const bytes of answer) if (bytes instanceof Uint8Array) onFound(decodeDescriptor(bytes))
      } catch (error) {
        if (!(error instanceof CordilleraError)) throw error
      }
    })
    await Promise.all(asked)
  }

  /** Answers another node: see {@link survey}. Throws `BAD_REQUEST`. */
  async onSurveyed(spans: unknown): Promise<unknown> {
    if (!Array.isArray(spans) || !spans.every(isSpan)) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'a survey that names no keys' })
    }
    return [...this.#parts.believed()]
      .filter((descriptor) => spans.some((span) => spansOverlap(span, descriptor)))
      .map(encodeDescriptor)
  }

  /** Answers another node: as {@link absorbedBy}, of this node alone; null: nothing is known. */
  async onAbsorbedAsked(rangeId: unknown): Promise<unknown> {
    return this.#parts.replicas.absorbed.by(Number(rangeId)) ?? null
  }

  /** Answers another node: the range here that has the key; null where none does. */
  async onRouteAsked(key: unknown): Promise<unknown> {
    const descriptor = typeof key === 'string' ? this.#holderOf(key) : undefined
    return descriptor === undefined ? null : encodeDescriptor(descriptor)
  }

  #holderOf(key: Key): Descriptor | undefined {
    for (const { descriptor } of this.#parts.replicas.replicas()) if (spanContains(descriptor, key)) return descriptor
    return undefined
  }

  async #askRoute(key: Key, nodes: Iterable<NodeId>): Promise<Descriptor[]> {
    const { links, nodeId: self, onFound } = this.#parts
    const told: Descriptor[] = []
    const asked = [...nodes].map(async (nodeId) => {
      if (nodeId === self || !links.isUp(nodeId)) return
      try {
        const answer = await links.ask(nodeId, 'route', key, ASK_TIMEOUT_MS)
        if (!(answer instanceof Uint8Array)) return
        told.push(decodeDescriptor(answer))
        onFound(told[told.length - 1]!)
      } catch (error) {
        if (!(error instanceof CordilleraError)) throw error
      }
    })
    await Promise.all(asked)
    return told
  }

  /** Answers another node: the range as this node's replica has it durably; null where none takes part. */
  async onAsked(rangeId: unknown): Promise<unknown> {
    const { replicas, state } = this.#parts
    const replica = replicas.replica(Number(rangeId))
    if (replica === undefined || !replica.isMember) return null
    const { replicaId, descriptor } = replica
    if (replica.state.flushedIndex < replica.state.appliedIndex) await state.flush()
    return [replicaId, encodeDescriptor(descriptor)]
  }

  /** What other nodes say of the range; the newest is passed on. Who does not answer says nothing. */
  async ask(rangeId: RangeId, nodes: Iterable<NodeId>): Promise<KnownDescriptor[]> {
    const { links, nodeId: self, onFound } = this.#parts
    const known: KnownDescriptor[] = []
    const asked = [...nodes].map(async (nodeId) => {
      if (nodeId === self || !links.isUp(nodeId)) return
      try {
        const answer = readAnswer(await links.ask(nodeId, 'range', rangeId, ASK_TIMEOUT_MS))
        if (answer?.descriptor.rangeId === rangeId) known.push(answer)
      } catch (error) {
        if (!(error instanceof CordilleraError)) throw error
      }
    })
    await Promise.all(asked)
    const newest = newestOf(known)
    if (newest !== undefined) onFound(newest)
    return known
  }
}

/** Undefined for a node without a replica of the range that takes part. Throws `CORRUPT`. */
function readAnswer(body: unknown): KnownDescriptor | undefined {
  if (body === null) return undefined
  const [replicaId, bytes] = Array.isArray(body) ? body : []
  if (!Number.isSafeInteger(replicaId) || !(bytes instanceof Uint8Array)) {
    throw new CordilleraError('CORRUPT', { detail: 'an answer that is no range' })
  }
  return { replicaId, descriptor: decodeDescriptor(bytes) }
}

function isSpan(value: unknown): value is Span {
  const { start, end } = (value ?? {}) as Record<string, unknown>
  return typeof start === 'string' && (end === null || typeof end === 'string')
}

function onlyCoded(error: unknown): undefined {
  if (!(error instanceof CordilleraError)) throw error
  return undefined
}
