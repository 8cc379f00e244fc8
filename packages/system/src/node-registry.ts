import { type Clock, type Incarnation, type Key, type Logger, type NodeId, prefixEnd } from '@cordillera/base'
import { systemKey } from '@cordillera/ranges'
import type { Router } from '@cordillera/router'

/**
 * Who the nodes are and where they listen, kept in the system range under `node/<id>`, one JSON value a node.
 *
 * A node registers at each start, again and again until that is durable; a registration of an older incarnation is
 * never written over a newer one by the same node, because a node registers only itself and its starts are ordered.
 * What was read last is kept for when the system range cannot be read.
 */
export interface Registration {
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
  readonly peerAddress: string
  readonly httpAddress: string
  readonly locality: string
}

export interface NodeRegistryParts {
  readonly router: Pick<Router, 'put' | 'scan'>
  readonly clock: Clock
  readonly logger: Logger
}

const TIMEOUT_MS = 5_000
const RETRY_MS = 1_000
const NODES_MAX = 10_000
const PREFIX = systemKey('node')

export class NodeRegistry {
  readonly #parts: NodeRegistryParts
  #known: readonly Registration[] = []
  #isReading = false
  #isClosed = false

  constructor(parts: NodeRegistryParts) {
    this.#parts = parts
  }

  /** What was read last; empty before that. */
  known(): readonly Registration[] {
    return this.#known
  }

  /** Writes the registration, in the background, until it is durable or the registry is closed. */
  register(registration: Registration, onDone: () => void): void {
    const { router, clock, logger } = this.#parts
    const value = new TextEncoder().encode(JSON.stringify(registration))
    const attempt = (): void => {
      if (this.#isClosed) return
      router.put(systemKey('node', registration.nodeId), value, clock.now() + TIMEOUT_MS, (error) => {
        if (this.#isClosed) return
        if (error === undefined) {
          logger.info('node-registered', { nodeId: registration.nodeId })
          onDone()
        } else {
          // The same value under the same key: writing it twice is writing it once.
          logger.debug('registration-retried', { code: error.code })
          clock.after(RETRY_MS, attempt)
        }
      })
    }
    attempt()
  }

  /** Reads all registrations and calls back if that succeeded. Nothing happens while a read is under way. */
  refresh(onRead: () => void): void {
    if (this.#isReading || this.#isClosed) return
    this.#isReading = true
    const { router, clock, logger } = this.#parts
    const span = {
      start: PREFIX,
      end: prefixEnd(PREFIX)!,
      reverse: false,
      limit: NODES_MAX,
      values: true,
      bytesMax: 8 << 20,
      at: 0,
    }
    router.scan(span, clock.now() + TIMEOUT_MS).then(
      ({ entries }) => {
        this.#isReading = false
        if (this.#isClosed) return
        this.#known = entries.flatMap((entry) => tryReadRegistration(entry.key, entry.value) ?? [])
        onRead()
      },
      (error) => {
        this.#isReading = false
        logger.debug('registry-unread', { error: String(error) })
      },
    )
  }

  /** Nothing more is written, read or called back. */
  close(): void {
    this.#isClosed = true
  }
}

/** Undefined when it is no registration of this version, or not of the node whose key it is under. */
function tryReadRegistration(key: Key, value: Uint8Array): Registration | undefined {
  try {
    const read = JSON.parse(new TextDecoder().decode(value)) as Record<string, unknown>
    const { nodeId, incarnation, peerAddress, httpAddress, locality } = read
    if (!isCount(nodeId) || !isCount(incarnation) || key !== systemKey('node', nodeId)) return undefined
    if (typeof peerAddress !== 'string' || typeof httpAddress !== 'string') return undefined
    if (typeof locality !== 'string') return undefined
    return { nodeId, incarnation, peerAddress, httpAddress, locality }
  } catch {
    return undefined
  }
}

/** From 1: an id or an incarnation. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1
}
