import { type Clock, CordilleraError, type NodeId, type RangeId } from '@cordillera/base'
import type { PeerLinks } from '@cordillera/wire'

/**
 * Questions to whoever leads a range, here or on another node, asked again and again until there is an answer: each moves
 * something one step further, or says that it is done or impossible. Nobody keeps anything for it, so who asks may be
 * somebody else the next time, and so may the leader.
 */
export interface LeaderCallsParts {
  readonly nodeId: NodeId
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly clock: Clock
  /** Where the range may be led, the believed leader first; empty when nothing is known of it. */
  nodesOf(rangeId: RangeId): readonly NodeId[]
  /** Nobody there leads it: it may be elsewhere. */
  onLost(rangeId: RangeId): void
}

export interface LeaderQuestion<Answer extends string> {
  readonly rangeId: RangeId
  readonly method: string
  readonly body: unknown
  /** What ends it. */
  readonly answers: readonly Answer[]
  /** Answers on this node, as it would another one. */
  here(): Promise<Answer | Undecided>
}

/** `running`: nothing more can be done at the moment. */
export type Undecided = 'running' | 'not-leader'

const ASK_TIMEOUT_MS = 5_000
const PAUSE_MS = 50

export class LeaderCalls {
  readonly #parts: LeaderCallsParts
  #isClosed = false

  constructor(parts: LeaderCallsParts) {
    this.#parts = parts
  }

  /** Rejects with `UNAVAILABLE` when there is no answer after `timeoutMs`: what was asked for may come true all the same. */
  async ask<Answer extends string>(question: LeaderQuestion<Answer>, timeoutMs: number): Promise<Answer> {
    const { clock } = this.#parts
    const deadlineMs = clock.now() + timeoutMs
    for (;;) {
      let isLed = false
      for (const nodeId of this.#parts.nodesOf(question.rangeId)) {
        const answer = await this.#askOne(nodeId, question)
        if (answer !== 'running' && answer !== 'not-leader') return answer
        isLed = answer === 'running'
        if (isLed) break
      }
      if (!isLed) this.#parts.onLost(question.rangeId)
      if (this.#isClosed) throw new CordilleraError('CLOSED')
      if (clock.now() >= deadlineMs) {
        const detail = `range ${question.rangeId} has not come to an end of "${question.method}" yet`
        throw new CordilleraError('UNAVAILABLE', { detail })
      }
      await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve))
    }
  }

  /** Whoever waits is refused with `CLOSED` before long. */
  close(): void {
    this.#isClosed = true
  }

  async #askOne<Answer extends string>(
    nodeId: NodeId,
    { method, body, answers, here }: LeaderQuestion<Answer>,
  ): Promise<Answer | Undecided> {
    const { links, nodeId: self } = this.#parts
    try {
      if (nodeId === self) return await here()
      if (!links.isUp(nodeId)) return 'not-leader'
      const answer = (await links.ask(nodeId, method, body, ASK_TIMEOUT_MS)) as Answer | 'running'
      return answer === 'running' || answers.includes(answer) ? answer : 'not-leader'
    } catch (error) {
      if (error instanceof CordilleraError) return 'not-leader'
      throw error
    }
  }
}
