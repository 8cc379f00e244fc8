import { Buffer } from 'node:buffer'
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock, Timer } from '@cordillera/base'
import { PROTOCOL_VERSION } from '@cordillera/wire'
import {
  type DecodedHello,
  decodeHello,
  decodeProof,
  encodeHello,
  encodeProof,
  encodeRefusal,
  HANDSHAKE_BYTES_MAX,
  type Hello,
  NONCE_BYTES,
  type Refusal,
  tryDecodeRefusal,
} from './hello.js'
import type { MessageSocket } from './message-socket.js'

/** Why there was no connection. `refused-by-us` and `garbage` were told to the other side, as far as it listens. */
export type HandshakeFailure =
  | { readonly kind: 'refused-by-peer' | 'refused-by-us'; readonly refusal: Refusal; readonly peer: Hello | undefined }
  | { readonly kind: 'garbage'; readonly detail: string }
  | { readonly kind: 'lost' | 'timeout'; readonly proofSent: boolean }

/** What is said of this side, beside what every hello has. */
export type OwnHello = Pick<Hello, 'role' | 'clusterId' | 'nodeId' | 'incarnation' | 'expectedNodeId' | 'losses'>

export interface HandshakeHost {
  readonly clock: Clock
  readonly secret: string | undefined
  readonly handshakeMs: number
  /** `peer` is known to the acceptor alone. */
  ownHello(peer: Hello | undefined): OwnHello
  /** Judges who the other side says it is. Nothing is proved yet. */
  decideHello(peer: Hello): Refusal | undefined
  /** The last word: of the dialler before it sends its proof, of the acceptor once the other's proof is verified. */
  decideAdmission(peer: Hello): Refusal | undefined
  /** Both sides have agreed. The socket is the host's: it must `listen` before it returns. */
  onEstablished(peer: Hello): void
  /** The socket is ending or gone. Called at most once, and never after `onEstablished` or {@link Handshake.cancel}. */
  onFailed(failure: HandshakeFailure): void
}

/**
 * One handshake, of either side: hello both ways, then proof (dialler) and welcome (acceptor).
 *
 * Proofs are HMAC-SHA256 over both hellos, whose nonces are fresh, with a label of the side: they cannot be replayed or
 * reflected. Nothing that a stranger sends is decoded beyond these messages, all tiny, and all within `handshakeMs`.
 */
export class Handshake {
  readonly #side: 'dialler' | 'acceptor'
  readonly #socket: MessageSocket
  readonly #host: HandshakeHost
  readonly #timer: Timer
  #state: 'hello' | 'proof' | 'done' = 'hello'
  #ownHello: Buffer = Buffer.alloc(0)
  #peerHello: Buffer = Buffer.alloc(0)
  #peer: Hello | undefined

  constructor(side: 'dialler' | 'acceptor', socket: MessageSocket, host: HandshakeHost) {
    this.#side = side
    this.#socket = socket
    this.#host = host
    this.#timer = host.clock.after(host.handshakeMs, () => {
      socket.terminate()
      this.#fail({ kind: 'timeout', proofSent: this.isProofSent })
    })
    socket.listen({
      onMessage: (message) => this.#onMessage(message),
      onClose: () => this.#fail({ kind: 'lost', proofSent: this.isProofSent }),
    })
    if (side === 'dialler') this.#sendHello()
  }

  /** Of the dialler: from here on the other side may regard the connection as established. */
  get isProofSent(): boolean {
    return this.#side === 'dialler' && this.#state === 'proof'
  }

  /** As far as it is known by now. */
  get peer(): Hello | undefined {
    return this.#peer
  }

  /** Gives up without a word. */
  cancel(): void {
    if (this.#state === 'done') return
    this.#end()
    this.#socket.terminate()
  }

  /** Says why and ends. */
  refuse(refusal: Refusal): void {
    if (this.#state === 'done') return
    this.#socket.send(encodeRefusal(refusal))
    this.#socket.close()
    this.#fail({ kind: 'refused-by-us', refusal, peer: this.#peer })
  }

  #onMessage(message: Buffer): void {
    try {
      if (message.length > HANDSHAKE_BYTES_MAX) throw new Error('a message too large for a handshake')
      const refusal = tryDecodeRefusal(message)
      if (refusal !== undefined) this.#onRefusal(refusal)
      else if (this.#state === 'hello') this.#onHello(message)
      else this.#onProof(message)
    } catch (error) {
      this.#socket.terminate()
      this.#fail({ kind: 'garbage', detail: error instanceof Error ? error.message : String(error) })
    }
  }

  #onRefusal(refusal: Refusal): void {
    this.#socket.close()
    this.#fail({ kind: 'refused-by-peer', refusal, peer: this.#peer })
  }

  #onHello(message: Buffer): void {
    const hello = decodeHello(message, PROTOCOL_VERSION)
    if (!isWhole(hello)) {
      const detail = `protocol version ${hello.protocolVersion} is not ${PROTOCOL_VERSION}: use one release on all nodes`
      this.refuse({ reason: 'protocol-version', detail })
      return
    }
    this.#peer = hello
    this.#peerHello = Buffer.from(message)
    const refusal = this.#decideSecret(hello) ?? this.#host.decideHello(hello)
    if (refusal !== undefined) {
      this.refuse(refusal)
      return
    }
    if (this.#side === 'acceptor') {
      this.#sendHello()
      this.#state = 'proof'
      return
    }
    const last = this.#host.decideAdmission(hello)
    if (last !== undefined) {
      this.refuse(last)
      return
    }
    this.#socket.send(encodeProof('proof', this.#mac('dialler')))
    this.#state = 'proof'
  }

  #onProof(message: Buffer): void {
    const other = this.#side === 'dialler' ? 'acceptor' : 'dialler'
    const proof = decodeProof(message, this.#side === 'dialler' ? 'welcome' : 'proof')
    const expected = this.#mac(other)
    if (proof.length !== expected.length || !timingSafeEqual(proof, expected)) {
      this.refuse({ reason: 'secret', detail: 'the cluster secrets of the two nodes differ' })
      return
    }
    const peer = this.#peer!
    if (this.#side === 'acceptor') {
      const refusal = this.#host.decideAdmission(peer)
      if (refusal !== undefined) {
        this.refuse(refusal)
        return
      }
      this.#socket.send(encodeProof('welcome', this.#mac('acceptor')))
    }
    this.#end()
    this.#host.onEstablished(peer)
  }

  #decideSecret(peer: Hello): Refusal | undefined {
    if (peer.hasSecret === (this.#host.secret !== undefined)) return undefined
    return { reason: 'secret', detail: 'one of the two nodes has a cluster secret and the other has none' }
  }

  #sendHello(): void {
    const nonce = randomBytes(NONCE_BYTES)
    const hasSecret = this.#host.secret !== undefined
    const own = this.#host.ownHello(this.#peer)
    this.#ownHello = encodeHello({ ...own, protocolVersion: PROTOCOL_VERSION, hasSecret, nonce })
    this.#socket.send(this.#ownHello)
  }

  /** Over both hellos, the dialler's first; nothing without a secret. */
  #mac(side: 'dialler' | 'acceptor'): Buffer {
    const { secret } = this.#host
    if (secret === undefined) return Buffer.alloc(0)
    const isOwnFirst = this.#side === 'dialler'
    return createHmac('sha256', secret)
      .update(`cordillera ${side}`)
      .update(isOwnFirst ? this.#ownHello : this.#peerHello)
      .update(isOwnFirst ? this.#peerHello : this.#ownHello)
      .digest()
  }

  #fail(failure: HandshakeFailure): void {
    if (this.#state === 'done') return
    this.#end()
    this.#host.onFailed(failure)
  }

  #end(): void {
    this.#state = 'done'
    this.#timer.cancel()
    this.#socket.listen(undefined)
  }
}

function isWhole(hello: DecodedHello): hello is Hello {
  return hello.role !== undefined
}
