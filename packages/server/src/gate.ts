import { CordilleraError } from '@cordillera/base'
import type { ServedNode } from './served-node.js'

/**
 * Where the node that is served stands: one state for the hot path, the health checks and the shutdown.
 *
 * `starting` and `failed` refuse every request of data; `draining` still answers what comes, but is not ready for more.
 * A failed store stays failed.
 */
export type GateState =
  | { readonly kind: 'starting' }
  | { readonly kind: 'serving'; readonly node: ServedNode }
  | { readonly kind: 'draining'; readonly node: ServedNode | undefined }
  | { readonly kind: 'failed'; readonly reason: string }

export type Readiness = { readonly ready: true } | { readonly ready: false; readonly reason: string }

export class Gate {
  #state: GateState = { kind: 'starting' }
  #closing = false
  readonly #closers = new Set<() => void>()

  /** From now on every answer says that its connection is closed after it. */
  get closing(): boolean {
    return this.#closing
  }

  /** Calls back when the server closes, or now if it does already. The result takes that back. */
  onClosing(callback: () => void): () => void {
    if (this.#closing) callback()
    else this.#closers.add(callback)
    return () => void this.#closers.delete(callback)
  }

  serve(node: ServedNode): void {
    if (this.#state.kind === 'starting') this.#state = { kind: 'serving', node }
  }

  drain(): void {
    const node = this.tryNode()
    if (this.#state.kind !== 'failed') this.#state = { kind: 'draining', node }
  }

  fail(reason: string): void {
    this.#state = { kind: 'failed', reason }
  }

  close(): void {
    this.#closing = true
    for (const callback of this.#closers) callback()
    this.#closers.clear()
  }

  tryNode(): ServedNode | undefined {
    return this.#state.kind === 'serving' || this.#state.kind === 'draining' ? this.#state.node : undefined
  }

  /** Throws UNAVAILABLE when there is no node that could answer. */
  node(): ServedNode {
    const node = this.tryNode()
    if (node === undefined) throw new CordilleraError('UNAVAILABLE', { detail: this.#absence() })
    return node
  }

  /** The process answers and its store has not failed. */
  liveness(): Readiness {
    return this.#state.kind === 'failed' ? { ready: false, reason: this.#state.reason } : { ready: true }
  }

  readiness(): Readiness {
    switch (this.#state.kind) {
      case 'serving': {
        const reason = this.#state.node.whyUnready()
        return reason === undefined ? { ready: true } : { ready: false, reason }
      }
      case 'draining':
        return { ready: false, reason: 'the node is draining' }
      default:
        return { ready: false, reason: this.#absence() }
    }
  }

  #absence(): string {
    return this.#state.kind === 'failed' ? `the store has stopped: ${this.#state.reason}` : 'the node is starting'
  }
}
