import { silentLogger } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PeerHandlers } from './peer-handlers.js'
import { PeerLinks } from './peer-links.js'
import type { RangeReply } from './range-call.js'
import { ManualClock } from './testing/manual-clock.js'
import { MemoryNetwork, type MemoryTransport } from './testing/memory-network.js'

/**
 * Whatever connections, full queues, deaf peers and late replies do: ups and downs alternate, every accepted call is
 * settled exactly once and with its own answer, and what arrives of one connection is what was sent over it, in order
 * and without a gap.
 */
type Step =
  | { readonly kind: 'connect' | 'cut' | 'settle' | 'raft' | 'call' | 'answer' | 'late-answer' }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'mode'; readonly node: 1 | 2; readonly mode: MemoryTransport['mode'] }

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'connect' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'cut' }) },
  { weight: 4, arbitrary: fc.constant<Step>({ kind: 'settle' }) },
  { weight: 6, arbitrary: fc.constantFrom<Step>({ kind: 'raft' }, { kind: 'call' }) },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ kind: 'answer' }, { kind: 'late-answer' }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(600) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('mode' as const),
      node: fc.constantFrom(1 as const, 2 as const),
      mode: fc.constantFrom('open' as const, 'open' as const, 'open' as const, 'full' as const, 'deaf' as const),
    }),
  },
)

interface Outcome {
  readonly call: number
  readonly replies: (RangeReply | undefined)[]
}

/** Node 1 calls and sends, node 2 answers; everything that the test looks at is written down. */
class Model {
  readonly clock = new ManualClock()
  readonly network = new MemoryNetwork(this.clock)
  readonly #events = new Map<number, string[]>([
    [1, []],
    [2, []],
  ])
  readonly outcomes: Outcome[] = []
  readonly #waiting: (() => void)[] = []
  readonly fatal: unknown[] = []
  /** Terms of the heartbeats that arrived since the last connection, and those sent over it. */
  arrived: number[] = []
  sent: number[] = []
  #links!: PeerLinks
  #lastTerm = 0

  async start(): Promise<void> {
    for (const node of [2, 1] as const) this.#links = await this.#open(node)
    this.network.connect(1, 2)
    this.clock.settle()
  }

  async #open(node: 1 | 2): Promise<PeerLinks> {
    const transport = this.network.transport(node)
    const handlers: PeerHandlers = {
      onRaft: (_from, _rangeId, message) => this.arrived.push(message.term),
      onRangeRequest: (_from, request, reply) => {
        this.#waiting.push(() => reply({ kind: 'written', outcomes: [Number(request.rangeId)] }))
      },
      onSnapshot: () => {},
      onAsk: async () => null,
      onLinkUp: () => this.#events.get(node)!.push('up'),
      onLinkDown: () => this.#events.get(node)!.push('down'),
      onNodeGone: () => {},
      onOutdated: (_by, detail) => this.fatal.push(detail),
      onGuest: async (body) => body,
      onFatal: (error) => this.fatal.push(error),
    }
    const links = new PeerLinks({ transport, clock: this.clock, logger: silentLogger, handlers, durableBatch: () => 0 })
    await links.start()
    return links
  }

  run(step: Step): void {
    switch (step.kind) {
      case 'connect':
        this.#cut()
        this.#checkArrived()
        this.arrived = []
        this.sent = []
        this.network.connect(1, 2)
        this.clock.settle()
        break
      case 'cut':
        this.#cut()
        break
      case 'settle':
        this.clock.settle()
        break
      case 'raft': {
        const message = { kind: 'timeout-now', from: 1, to: 2, term: ++this.#lastTerm } as const
        if (this.#links.sendRaft(2, 1, message)) this.sent.push(message.term)
        break
      }
      case 'call':
        this.#call()
        break
      case 'answer':
        this.#waiting.shift()?.()
        break
      case 'late-answer':
        this.#waiting.pop()?.()
        break
      case 'pass':
        this.clock.pass(step.ms)
        break
      case 'mode':
        this.network.nodes.get(step.node)!.mode = step.mode
        break
    }
    this.#checkArrived()
  }

  #cut(): void {
    this.network.cut(1, 2)
  }

  #call(): void {
    const outcome: Outcome = { call: this.outcomes.length + 1, replies: [] }
    const request = { kind: 'write', rangeId: outcome.call, count: 1, block: Buffer.from('block') } as const
    const wasUp = this.#links.isUp(2)
    const isSent = this.#links.call(2, request, (reply) => outcome.replies.push(reply))
    expect(outcome.replies).toEqual([])
    expect(isSent && !wasUp).toBe(false)
    this.outcomes.push(isSent ? outcome : { call: outcome.call, replies: [undefined] })
  }

  /** What arrived is a subsequence of what was sent over this very connection, in order, each at most once. */
  #checkArrived(): void {
    let at = 0
    for (const term of this.arrived) {
      at = this.sent.indexOf(term, at) + 1
      expect(at).toBeGreaterThan(0)
    }
  }

  end(): void {
    this.#cut()
    this.clock.settle()
    expect(this.fatal).toEqual([])
    for (const events of this.#events.values()) {
      expect(events).toEqual(events.map((_, i) => (i % 2 === 0 ? 'up' : 'down')))
      expect(events.length % 2).toBe(0)
    }
    for (const { call, replies } of this.outcomes) {
      expect(replies.length).toBe(1)
      const [reply] = replies
      if (reply !== undefined) expect(reply).toEqual({ kind: 'written', outcomes: [call] })
    }
  }
}

describe('two nodes', () => {
  it('agree on what was said, whatever happens to their connections', async () => {
    let answered = 0
    let lost = 0
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { minLength: 20, maxLength: 150 }), async (all) => {
        const model = new Model()
        await model.start()
        for (const step of all) model.run(step)
        model.end()
        for (const { replies } of model.outcomes) {
          if (replies[0] === undefined) lost++
          else answered++
        }
      }),
      { numRuns: 600 },
    )
    expect(answered).toBeGreaterThan(100)
    expect(lost).toBeGreaterThan(100)
  })
})
