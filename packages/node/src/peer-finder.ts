import type { Incarnation, Logger, NodeId } from '@cordillera/base'
import type { Transport } from '@cordillera/wire'
import type { FoundedIdentity } from './founding.js'
import { decodeAnswer, encodeQuestion, type NodeAt, readMembers } from './join-messages.js'

/**
 * Finds members of this node's cluster, whatever the registry says of them: at the addresses that `--join` names, and by
 * what members say of each other.
 *
 * Each address is asked, as a guest asks, who is there; an answer counts only from a member of the same cluster.
 * Addresses that do not answer are asked again with every {@link ask}. A node has one address in each of its starts, and
 * the newest start counts, whoever tells of it.
 */
export class PeerFinder {
  readonly #parts: PeerFinderParts
  readonly #found = new Map<NodeId, NodeAt>()

  constructor(parts: PeerFinderParts) {
    this.#parts = parts
  }

  /**
   * Where the node listens: `registered`, with the incarnation that registered it (0 when that is not known), unless a
   * process at least as new has answered elsewhere.
   */
  addressOf(nodeId: NodeId, registered: string, incarnation: Incarnation): string {
    const found = this.#found.get(nodeId)
    return found !== undefined && found.incarnation >= incarnation ? found.peerAddress : registered
  }

  /** Asks every address once; `onFound` runs for each answer that is news. Never rejects. */
  async ask(onFound: () => void): Promise<void> {
    const { transport, identity, addresses, own, logger } = this.#parts
    const { clusterId } = identity.document
    const question = encodeQuestion({ token: MEMBERS_TOKEN, clusterId, ...own })
    await Promise.all(
      addresses.map(async (address) => {
        try {
          const answer = decodeAnswer(await transport.ask(address, question, ASK_TIMEOUT_MS))
          if (answer.kind === 'begin') this.#onFound(answer.member, onFound)
        } catch (error) {
          logger.debug('peer-not-found', { address, error: String(error) })
        }
      }),
    )
  }

  /** Other nodes, as they have answered, or others said. */
  found(): Iterable<NodeAt> {
    return this.#found.values()
  }

  /** Where this node is, and the others are that it was told of: plain data, for {@link hear} elsewhere. */
  places(): NodeAt[] {
    const { identity, own } = this.#parts
    const { nodeId, incarnation } = identity
    return [{ nodeId, incarnation, peerAddress: own.peerAddress }, ...this.#found.values()]
  }

  /** Another member's {@link places}; `onFound` runs for each that is news. Throws `BAD_REQUEST`. */
  hear(places: unknown, onFound: () => void): void {
    for (const member of readMembers(places)) this.#onFound(member, onFound)
  }

  #onFound(member: NodeAt, onFound: () => void): void {
    if (!this.#isNews(member)) return
    const { nodeId, peerAddress } = member
    this.#found.set(nodeId, member)
    this.#parts.logger.info('peer-found', { node: nodeId, address: peerAddress })
    onFound()
  }

  #isNews({ nodeId, incarnation, peerAddress }: NodeAt): boolean {
    if (nodeId === this.#parts.identity.nodeId) return false
    const former = this.#found.get(nodeId)
    if (former === undefined) return true
    return incarnation >= former.incarnation && peerAddress !== former.peerAddress
  }
}

export interface PeerFinderParts {
  readonly transport: Pick<Transport, 'ask'>
  readonly logger: Logger
  readonly identity: FoundedIdentity
  /** `host:port`, as named by `--join`. */
  readonly addresses: readonly string[]
  readonly own: { readonly peerAddress: string; readonly httpAddress: string; readonly locality: string }
}

const ASK_TIMEOUT_MS = 1_000
/** A member's question asks for no place. */
const MEMBERS_TOKEN = '0'.repeat(32)
