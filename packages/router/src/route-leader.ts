import type { Clock, NodeId, Random, Timer } from '@cordillera/base'
import type { ReplicaPlace } from '@cordillera/ranges'
import type { RouterLimits } from './limits.js'
import { backoffBounds, chooseTarget, type NextStep } from './route-decision.js'

/**
 * Whom to send a range's requests to: the believed leader, or, while none is, one probe at a time.
 *
 * Settled, requests go out freely. After a refusal or silence everything for the range waits behind a single request,
 * the probe, which follows hints at once and otherwise tries one replica after the other with growing, jittered pauses,
 * so that a dead leader meets no herd. Each belief is a tenure: what is heard about an earlier tenure's requests does
 * not disturb the present one.
 */
export interface RouteLeaderContext {
  readonly self: NodeId
  isUp(node: NodeId): boolean
  readonly clock: Clock
  readonly random: Random
  readonly limits: RouterLimits
}

type Belief =
  | { readonly kind: 'settled'; readonly node: NodeId }
  /** The next request is the probe; `node` 0: choose whom to ask. */
  | { readonly kind: 'ready'; readonly node: NodeId }
  | { readonly kind: 'probing'; readonly node: NodeId }
  | { readonly kind: 'paused'; readonly node: NodeId; readonly timer: Timer }

const READY: Belief = { kind: 'ready', node: 0 }

export class RouteLeader {
  readonly #context: RouteLeaderContext
  readonly #onResume: () => void
  #belief: Belief = READY
  #tenure = 0
  /** Asked since the last pause without success. */
  #asked: NodeId[] = []
  #last: NodeId = 0
  #pauses = 0

  /** `onResume` runs when a pause has ended. */
  constructor(context: RouteLeaderContext, onResume: () => void) {
    this.#context = context
    this.#onResume = onResume
  }

  get tenure(): number {
    return this.#tenure
  }

  /** The node that surely answered as leader last, or 0. */
  get settledNode(): NodeId {
    return this.#belief.kind === 'settled' ? this.#belief.node : 0
  }

  get isSettled(): boolean {
    return this.#belief.kind === 'settled'
  }

  get asked(): readonly NodeId[] {
    return this.#asked
  }

  /** Whom to send the next request to; 0: it has to wait, for the probe or for a pause to end. */
  target(replicas: readonly ReplicaPlace[]): NodeId {
    const { self } = this.#context
    if (this.#belief.kind === 'settled' && !this.#context.isUp(this.#belief.node)) {
      this.#last = this.#belief.node
      this.#begin(READY)
    }
    switch (this.#belief.kind) {
      case 'settled':
        return this.#belief.node
      case 'ready': {
        const { node } = this.#belief
        if (node !== 0 && this.#context.isUp(node)) return node
        const isUp = (candidate: NodeId): boolean => this.#context.isUp(candidate)
        return chooseTarget({ replicas, self, last: this.#last, asked: this.#asked, isUp })
      }
      default:
        return 0
    }
  }

  /** A request leaves for what {@link target} named. */
  onSending(node: NodeId): void {
    if (this.#belief.kind === 'ready') this.#belief = { kind: 'probing', node }
  }

  /** A request that was sent to `node` under `tenure` has ended. */
  onEnded(next: NextStep, node: NodeId, tenure: number): void {
    if (tenure !== this.#tenure) return
    if (next.kind === 'settle') {
      this.#asked.length = 0
      this.#pauses = 0
      if (this.#belief.kind !== 'settled') this.#belief = { kind: 'settled', node }
      return
    }
    if (next.kind === 'keep') {
      if (this.#belief.kind === 'probing') this.#belief = { kind: 'ready', node }
      return
    }
    this.#last = node
    if (!this.#asked.includes(node)) this.#asked.push(node)
    if (next.kind === 'follow') this.#begin({ kind: 'ready', node: next.node })
    else this.#pause(next.kind === 'stay' ? node : 0)
  }

  /** Someone who should know says that `node` leads. Ends a pause, unless that node was asked just before it. */
  onLearned(node: NodeId): void {
    if (node === 0 || this.#belief.node === node) return
    if (this.#belief.kind === 'paused' && this.#asked.includes(node)) {
      this.#belief = { ...this.#belief, node }
    } else {
      this.#begin({ kind: 'ready', node })
      this.#onResume()
    }
  }

  /** A guess, for a range about which nothing is known yet. */
  guess(node: NodeId): void {
    if (this.#belief === READY) this.#belief = { kind: 'ready', node }
  }

  close(): void {
    if (this.#belief.kind === 'paused') this.#belief.timer.cancel()
    this.#belief = READY
  }

  /** A new tenure. */
  #begin(belief: Belief): void {
    if (this.#belief.kind === 'paused') this.#belief.timer.cancel()
    this.#belief = belief
    this.#tenure++
  }

  #pause(node: NodeId): void {
    const { clock, random, limits } = this.#context
    const { fromMs, toMs } = backoffBounds(this.#pauses++, limits)
    const delayMs = fromMs + ((toMs - fromMs) * random.below(1024)) / 1023
    this.#begin({ kind: 'paused', node, timer: clock.after(delayMs, () => this.#resume()) })
  }

  #resume(): void {
    if (this.#belief.kind !== 'paused') return
    this.#asked.length = 0
    this.#belief = { kind: 'ready', node: this.#belief.node }
    this.#onResume()
  }
}
