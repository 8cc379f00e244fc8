import { type Clock, CordilleraError } from '@cordillera/base'
import { dial } from './dial.js'
import { Handshake, type HandshakeFailure } from './handshake.js'
import { decodeAnswer, encodeQuestion } from './hello.js'
import type { MessageSocket } from './message-socket.js'

export interface GuestQuestion {
  /** `host:port`, valid. */
  readonly address: string
  readonly body: Uint8Array
  readonly timeoutMs: number
  readonly clock: Clock
  readonly secret: string | undefined
  /** What to call when the transport closes; the question is in it while it is under way. */
  readonly underWay: Set<() => void>
}

/**
 * One question to a node that is known by its address alone, over a connection of its own.
 *
 * Rejects with the code that the other side sent, `HANDSHAKE_REFUSED` (details: `reason`), or `UNAVAILABLE` when it
 * could not be reached or did not answer in time; `CLOSED` when this transport closes.
 */
export function askAsGuest(question: GuestQuestion): Promise<Uint8Array> {
  return new Promise((resolve, reject) => new GuestAsk(question, resolve, reject))
}

const AS_GUEST = { role: 'guest', clusterId: '', nodeId: 0, incarnation: 0, expectedNodeId: 0, losses: 0 } as const

class GuestAsk {
  readonly #question: GuestQuestion
  readonly #resolve: (answer: Uint8Array) => void
  readonly #reject: (error: unknown) => void
  readonly #onAbort = (): void => this.#fail(new CordilleraError('CLOSED'))
  readonly #cancelTimeout: () => void
  /** Ends whatever is under way. */
  #cancel: () => void

  constructor(question: GuestQuestion, resolve: (answer: Uint8Array) => void, reject: (error: unknown) => void) {
    const { address, clock, timeoutMs, underWay } = question
    this.#question = question
    this.#resolve = resolve
    this.#reject = reject
    const timer = clock.after(timeoutMs, () => this.#fail(unavailable(`no answer from ${address} in ${timeoutMs} ms`)))
    this.#cancelTimeout = () => timer.cancel()
    underWay.add(this.#onAbort)
    this.#cancel = dial(address, clock, timeoutMs, {
      onOpen: (socket) => this.#greet(socket),
      onFailed: (error) => this.#fail(unavailable(`${address} cannot be reached: ${error.message}`, error)),
    })
  }

  #greet(socket: MessageSocket): void {
    const { clock, secret, timeoutMs } = this.#question
    const handshake = new Handshake('dialler', socket, {
      clock,
      secret,
      handshakeMs: timeoutMs,
      ownHello: () => AS_GUEST,
      decideHello: () => undefined,
      decideAdmission: () => undefined,
      onEstablished: () => this.#ask(socket),
      onFailed: (failure) => this.#fail(this.#failureError(failure)),
    })
    this.#cancel = () => handshake.cancel()
  }

  #ask(socket: MessageSocket): void {
    const { address, body } = this.#question
    this.#cancel = () => socket.terminate()
    socket.allow(Number.POSITIVE_INFINITY)
    socket.listen({
      onMessage: (message) => {
        socket.listen(undefined)
        try {
          const answer = decodeAnswer(message)
          this.#end()
          this.#resolve(answer)
        } catch (error) {
          this.#fail(error)
        }
        socket.close()
      },
      onClose: () => this.#fail(unavailable(`${address} ended the connection without an answer`)),
    })
    socket.send(encodeQuestion(body))
  }

  #failureError(failure: HandshakeFailure): CordilleraError {
    const { address } = this.#question
    if (failure.kind === 'garbage') return unavailable(`${address} is no node of this release: ${failure.detail}`)
    if (!('refusal' in failure)) return unavailable(`${address} ended the handshake`)
    const { reason, detail } = failure.refusal
    return new CordilleraError('HANDSHAKE_REFUSED', {
      detail: `${address}: ${detail}`,
      details: { reason, by: failure.kind === 'refused-by-us' ? 'us' : 'peer' },
    })
  }

  #fail(error: unknown): void {
    const cancel = this.#end()
    this.#reject(error)
    cancel()
  }

  #end(): () => void {
    const cancel = this.#cancel
    this.#cancel = () => {}
    this.#cancelTimeout()
    this.#question.underWay.delete(this.#onAbort)
    return cancel
  }
}

function unavailable(detail: string, cause?: unknown): CordilleraError {
  return new CordilleraError('UNAVAILABLE', { detail, cause })
}
