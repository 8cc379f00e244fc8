import { assert, CordilleraError, type Incarnation, type NodeId, type Random } from '@cordillera/base'
import type { NodeConfig, NodePorts } from './config.js'
import { foundingDocument } from './founding-document.js'
import type { FoundingDocument, FoundingNode, Identity, Place, PreparedIdentity } from './identity.js'
import { readIdentity, writeIdentity } from './identity.js'
import {
  decodeAnswer,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
  type JoinAnswer,
  type JoinQuestion,
  type NodeAt,
} from './join-messages.js'
import { isShortText, SHORT_TEXT_CHARS_MAX } from './json-shapes.js'

/**
 * How a cluster begins (DESIGN, "Bootstrap"): the founder hands out places, then one document, then the word to begin.
 *
 * Everything is asked for by the joiners, again and again, and every answer follows from what is durable, so any crash
 * of anyone at any step is made good by asking again. The founder says "begin" only once every joiner has said that
 * the document is durable with it: no election takes place before that anywhere, because no replica exists. A
 * directory with an identity never founds and never asks for a place again, whatever the flags say.
 *
 * Who comes later joins: any member that reaches the system range gives it an id of its own, durably under its token, and the
 * document, which names the cluster. It holds nothing before placement gives it replicas.
 */
export interface FoundedIdentity {
  readonly clusterId: string
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
  readonly document: FoundingDocument
  /** Whether the document's replicas were made by an earlier start. */
  readonly replicasCreated: boolean
}

/** The id of a node that joins, by its token; durable when it resolves. Rejects with a coded error, to be tried again. */
export type Admit = (token: string) => Promise<NodeId>

const ASK_MS = 500
const ASK_TIMEOUT_MS = 2_000

export { foundingDocument }

export class Founding {
  readonly #config: NodeConfig
  readonly #ports: NodePorts
  #identity: Identity | undefined
  /** Questions are answered one after the other, and none before the identity is known. */
  #queue: Promise<unknown>
  #onLoaded: () => void = () => {}
  #onFounded: () => void = () => {}
  #onFailed: (error: unknown) => void = () => {}
  /** At the founder: rejects when its disk failed. */
  readonly #founded: Promise<void>
  #failure: unknown
  /** Addresses at which another cluster was met: told once each. */
  readonly #refusedBy = new Set<string>()
  /** Joiners that have the document durably, by token. */
  readonly #prepared = new Set<string>()
  #admit: Admit | undefined

  constructor(config: NodeConfig, ports: NodePorts) {
    this.#config = config
    this.#ports = ports
    this.#queue = new Promise<void>((resolve) => {
      this.#onLoaded = resolve
    })
    this.#founded = new Promise<void>((resolve, reject) => {
      this.#onFounded = resolve
      this.#onFailed = reject
    })
    // Whoever writes sees the failure as well; nobody has to wait here.
    this.#founded.catch(() => {})
  }

  /**
   * Resolves once this node is a member of a founded cluster; a joiner, or a founder short of joiners, may wait for
   * ever. Rejects with JOIN_REFUSED, DIRECTORY_INVALID, CONFIG_INVALID, or the disk's error.
   */
  async found(): Promise<FoundedIdentity> {
    checkTexts(this.#config)
    const former = await readIdentity(this.#ports.identityDisk)
    await this.#write(former === undefined ? this.#firstIdentity() : countUp(former))
    if (former !== undefined) this.#logIgnoredFlags()
    if (this.#identity!.phase === 'founding') await this.#tryPrepare()
    else if (this.#isFounder()) await this.#tryFound()
    this.#onLoaded()
    while (this.#identity!.phase !== 'founded') {
      if (this.#isFounder()) await this.#founded
      else await this.#askForPlace()
    }
    const identity = this.#identity!
    assert(identity.phase === 'founded', 'founding ends founded')
    const { nodeId, incarnation, document, replicasCreated } = identity
    return { clusterId: document.clusterId, nodeId, incarnation, document, replicasCreated }
  }

  /** The document's replicas are durable in the state database. */
  async markReplicasCreated(): Promise<void> {
    assert(this.#identity?.phase === 'founded', 'replicas are made by members')
    await this.#write({ ...this.#identity, replicasCreated: true })
  }

  /** From now on this node can ask the system range for the ids of nodes that join. */
  admitWith(admit: Admit): void {
    this.#admit = admit
  }

  /** Answers a question that came over the transport. Rejects with a coded error, which the asker is told. */
  async onGuest(body: Uint8Array): Promise<Uint8Array> {
    const question = decodeQuestion(body)
    const answer = this.#queue.then(() => this.#answer(question))
    this.#queue = answer.catch(() => {})
    return encodeAnswer((await answer) ?? (await this.#answerLater(question)))
  }

  // --- the founder ---

  /** Undefined: the question is of somebody who joins the founded cluster. */
  async #answer(question: JoinQuestion): Promise<JoinAnswer | undefined> {
    const identity = this.#identity!
    if (identity.phase === 'joining') return { kind: 'not-founder' }
    if (identity.phase === 'founding') return this.#answerFounding(question)
    const { clusterId } = identity.document
    if (identity.phase === 'founded' && question.clusterId === clusterId) return this.#begin(identity)
    if (question.clusterId !== undefined && question.clusterId !== clusterId) throw refused('it is another cluster')
    if (identity.phase === 'prepared' && !this.#isFounder()) return { kind: 'not-founder' }
    const place = this.#isFounder() ? identity.places.find(({ token }) => token === question.token) : undefined
    if (place === undefined) return identity.phase === 'founded' ? undefined : { kind: 'wait' }
    if (question.clusterId === undefined) {
      return { kind: 'document', nodeId: place.node.nodeId, document: identity.document }
    }
    this.#prepared.add(question.token)
    await this.#tryFound()
    const after = this.#identity!
    return after.phase === 'founded' ? this.#begin(after) : { kind: 'wait' }
  }

  #begin(member: { readonly nodeId: NodeId; readonly incarnation: Incarnation }): JoinAnswer {
    return { kind: 'begin', member: this.#placeOf(member) }
  }

  #placeOf({ nodeId, incarnation }: { readonly nodeId: NodeId; readonly incarnation: Incarnation }): NodeAt {
    return { nodeId, incarnation, peerAddress: this.#config.peerAddress }
  }

  async #answerLater({ token, peerAddress }: JoinQuestion): Promise<JoinAnswer> {
    const identity = this.#identity!
    assert(identity.phase === 'founded', 'only a founded cluster is joined')
    const { logger } = this.#ports
    try {
      const nodeId = await this.#admit?.(token)
      if (nodeId === undefined) return { kind: 'wait' }
      logger.info('node-admitted', { nodeId, peerAddress })
      return { kind: 'member', nodeId, document: identity.document, member: this.#placeOf(identity) }
    } catch (error) {
      if (!(error instanceof CordilleraError)) throw error
      logger.debug('admission-retried', { peerAddress, code: error.code })
      return { kind: 'wait' }
    }
  }

  async #answerFounding(question: JoinQuestion): Promise<JoinAnswer> {
    const identity = this.#identity!
    assert(identity.phase === 'founding', 'places are given while founding')
    if (question.clusterId !== undefined) throw refused('it is another cluster')
    const { places } = identity
    // A joiner that lost its directory comes with another token from the address of its place: nobody was told of either.
    const former =
      places.find(({ token }) => token === question.token) ??
      places.find(({ node }) => node.peerAddress === question.peerAddress)
    const nodeId = former?.node.nodeId ?? places.length + 2
    const { token, peerAddress, httpAddress, locality } = question
    const place: Place = { token, node: { nodeId, peerAddress, httpAddress, locality } }
    if (former?.token === token && isSamePlace(former, place)) return { kind: 'wait' }
    // A joiner that was started again elsewhere keeps its place; nobody has been told its former address yet.
    const others = places.filter((other) => other !== former)
    await this.#write({ ...identity, places: [...others, place].sort((a, b) => a.node.nodeId - b.node.nodeId) })
    this.#ports.logger.info('place-given', { nodeId, peerAddress })
    await this.#tryPrepare()
    return { kind: 'wait' }
  }

  /** Fixes the document once every place is taken. */
  async #tryPrepare(): Promise<void> {
    const identity = this.#identity!
    assert(identity.phase === 'founding', 'a document is made by the founder')
    const { clusterId, incarnation, nodes, places, ranges } = identity
    if (places.length < nodes - 1) return
    const self: FoundingNode = {
      nodeId: FOUNDER,
      peerAddress: this.#config.peerAddress,
      httpAddress: this.#config.httpAddress,
      locality: this.#config.locality,
    }
    const document = foundingDocument(clusterId, [self, ...places.map(({ node }) => node)], ranges)
    await this.#write({ phase: 'prepared', incarnation, nodeId: FOUNDER, document, places })
    await this.#tryFound()
  }

  async #tryFound(): Promise<void> {
    const identity = this.#identity!
    if (identity.phase !== 'prepared') return
    if (!identity.places.every(({ token }) => this.#prepared.has(token))) return
    await this.#write({ ...identity, phase: 'founded', replicasCreated: false })
    this.#ports.logger.info('cluster-founded', { clusterId: identity.document.clusterId })
    this.#onFounded()
  }

  #isFounder(): boolean {
    const identity = this.#identity!
    if (identity.phase === 'joining') return false
    return identity.phase === 'founding' || identity.nodeId === FOUNDER
  }

  // --- the joiner ---

  /** Asks every known address once, then waits. */
  async #askForPlace(): Promise<void> {
    const { transport, logger, clock } = this.#ports
    for (const address of this.#addresses()) {
      let answer: JoinAnswer
      try {
        answer = decodeAnswer(await transport.ask(address, encodeQuestion(this.#question()), ASK_TIMEOUT_MS))
      } catch (error) {
        if (error instanceof CordilleraError && error.code === 'JOIN_REFUSED') this.#onRefused(address, error)
        logger.debug('join-unanswered', { address, error: String(error) })
        continue
      }
      await this.#onAnswer(answer)
      if (this.#identity!.phase === 'founded') return
    }
    await new Promise<void>((resolve) => clock.after(ASK_MS, resolve))
  }

  /** A node that has a document has a cluster, whatever another cluster at a mistaken address says. */
  #onRefused(address: string, error: CordilleraError): void {
    if (this.#identity!.phase === 'joining') throw error
    if (this.#refusedBy.has(address)) return
    this.#refusedBy.add(address)
    this.#ports.logger.warn('join-refused-by-another', { address, detail: error.message })
  }

  async #onAnswer(answer: JoinAnswer): Promise<void> {
    const identity = this.#identity!
    if (answer.kind === 'document' && identity.phase === 'joining') {
      const { incarnation, token } = identity
      const { document, nodeId } = answer
      const node = document.nodes.find((candidate) => candidate.nodeId === nodeId)
      assert(node !== undefined, 'a document is for a node that it names')
      await this.#write({ phase: 'prepared', incarnation, nodeId, document, places: [{ token, node }] })
    } else if (answer.kind === 'member' && identity.phase === 'joining') {
      const { incarnation } = identity
      const { document, nodeId, member } = answer
      this.#ports.logger.info('cluster-joined', { clusterId: document.clusterId, nodeId, member: member.nodeId })
      await this.#write({ phase: 'founded', incarnation, nodeId, document, places: [], replicasCreated: true })
    } else if (answer.kind === 'begin' && identity.phase === 'prepared') {
      await this.#write({ ...(identity as PreparedIdentity), phase: 'founded', replicasCreated: false })
    }
  }

  #question(): JoinQuestion {
    const identity = this.#identity!
    const { peerAddress, httpAddress, locality } = this.#config
    const at = { peerAddress, httpAddress, locality }
    if (identity.phase === 'joining') return { token: identity.token, clusterId: undefined, ...at }
    assert(identity.phase === 'prepared', 'who asks is no member yet')
    return { token: identity.places[0]!.token, clusterId: identity.document.clusterId, ...at }
  }

  #addresses(): string[] {
    const { founding, peerAddress } = this.#config
    const addresses = new Set<string>(founding.kind === 'join' ? founding.addresses : [])
    if (this.#identity?.phase === 'prepared') {
      for (const node of this.#identity.document.nodes) addresses.add(node.peerAddress)
    }
    addresses.delete(peerAddress)
    if (addresses.size === 0) {
      throw new CordilleraError('CONFIG_INVALID', { detail: 'nobody to join: name other nodes with --join' })
    }
    return [...addresses]
  }

  // --- both ---

  #firstIdentity(): Identity {
    const { founding } = this.#config
    const { random } = this.#ports
    switch (founding.kind) {
      case 'init': {
        const { nodes, ranges } = founding
        return { phase: 'founding', incarnation: 1, clusterId: randomHex(random), nodes, ranges, places: [] }
      }
      case 'join':
        return { phase: 'joining', incarnation: 1, token: randomHex(random) }
      default:
        throw new CordilleraError('CONFIG_INVALID', {
          detail: 'the data directory is empty: found a cluster with --init, or join one with --join',
        })
    }
  }

  #logIgnoredFlags(): void {
    const { kind } = this.#config.founding
    if (kind === 'init') this.#ports.logger.info('init-ignored', { reason: 'the directory has an identity' })
    if (kind === 'join')
      this.#ports.logger.info('join-names-addresses-only', { reason: 'the directory has an identity' })
  }

  /** After a failure nothing more is written, nor said to anybody that would follow from it. */
  async #write(identity: Identity): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    try {
      await writeIdentity(this.#ports.identityDisk, identity)
    } catch (error) {
      this.#failure = error
      this.#onFailed(error)
      throw error
    }
    this.#identity = identity
  }
}

const FOUNDER: NodeId = 1

/** Others refuse what is longer, and so would this node when it reads it back. */
function checkTexts({ peerAddress, httpAddress, locality }: NodeConfig): void {
  if (isShortText(peerAddress) && isShortText(httpAddress) && isShortText(locality)) return
  throw new CordilleraError('CONFIG_INVALID', {
    detail: `addresses and the locality have at most ${SHORT_TEXT_CHARS_MAX} characters`,
  })
}

function countUp(identity: Identity): Identity {
  return { ...identity, incarnation: identity.incarnation + 1 }
}

function isSamePlace(a: Place, b: Place): boolean {
  const { peerAddress, httpAddress, locality } = b.node
  return a.node.peerAddress === peerAddress && a.node.httpAddress === httpAddress && a.node.locality === locality
}

/** 128 bits. */
function randomHex(random: Random): string {
  let hex = ''
  for (let i = 0; i < 4; i++) hex += random.u32().toString(16).padStart(8, '0')
  return hex
}

function refused(why: string): CordilleraError {
  return new CordilleraError('JOIN_REFUSED', { detail: `the cluster does not take this node: ${why}` })
}
