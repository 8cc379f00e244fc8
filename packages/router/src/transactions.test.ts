import { CordilleraError, type Key, ManualClock, SeededRandom, silentLogger } from '@cordillera/base'
import type { Command, Mutation, TransactionStep } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { defaultRouterLimits } from './limits.js'
import { OutstandingSequences } from './outstanding.js'
import { Transactions, type TransactionsParts } from './transactions.js'

/** What the coordinator sends, and what it makes of the answers. Every key is in a range of its own. */
class World {
  readonly clock = new ManualClock()
  readonly sent: Command[] = []
  readonly transactions: Transactions
  #timestamp = 100

  /** `refusal`: of the command, sent for the n-th time at this key with this step, from 1. */
  constructor(refusal: (step: TransactionStep['step'], key: Key, times: number) => CordilleraError | undefined) {
    const parts: TransactionsParts = {
      ...{ clock: this.clock, random: new SeededRandom(1), logger: silentLogger, limits: defaultRouterLimits },
      ...{ session: { nodeId: 1, incarnation: 1 }, outstanding: new OutstandingSequences() },
      rangeOf: (key) => key.charCodeAt(0),
      tryAdmit: () => undefined,
      onAnswered: () => {},
      send: (command, _deadlineMs, done) => {
        this.sent.push(command)
        const refused = refusal(stepOf(command), command.key, this.sentTo(stepOf(command), command.key).length)
        this.#timestamp += 10
        if (refused === undefined) done(undefined, this.#timestamp)
        else done(refused, undefined as never)
      },
      askOutcome: () => {},
    }
    this.transactions = new Transactions(parts)
  }

  sentTo(step: TransactionStep['step'], key: Key): Command[] {
    return this.sent.filter((command) => stepOf(command) === step && command.key === key)
  }

  write(...mutations: Mutation[]): Promise<number> {
    return this.clock.run(this.transactions.write(mutations, 10_000))
  }
}

function stepOf(command: Command): TransactionStep['step'] {
  if (command.kind !== 'transaction') throw new Error(`a command of kind ${command.kind}`)
  return command.step.step
}

const put = (key: Key, guard?: Mutation['guard']): Mutation => {
  return { kind: 'put', key, value: new Uint8Array(1), ...(guard && { guard }) }
}
const locked = new CordilleraError('CONFLICT', { detail: 'locked', details: { locked: true } })

describe('a lock that meets another one', () => {
  it('is sent again under its own number, so that a late copy of it finds what it came to', async () => {
    // The first try waits for nobody; the second one waits until the lock is gone.
    const world = new World((step, key, times) => (step === 'lock' && key === 'b' && times < 5 ? locked : undefined))
    expect(await world.write(put('a'), put('b'))).toBeGreaterThan(0)
    const [first, ...second] = world.sentTo('lock', 'b')
    expect(second.length).toBe(4)
    expect(new Set(second.map(({ sequence }) => sequence)).size).toBe(1)
    expect(second[0]!.sequence).not.toBe(first!.sequence)
  })
})

describe('a transaction whose commit is refused', () => {
  it('leaves no locks behind, whatever the reason', async () => {
    const reused = new CordilleraError('IDEMPOTENCY_KEY_REUSED', { detail: 'reused' })
    const world = new World((step) => (step === 'commit' ? reused : undefined))
    await expect(world.write(put('a'), put('b'))).rejects.toBe(reused)
    await world.clock.run(new Promise<void>((resolve) => world.clock.after(100, resolve)))
    expect(world.sentTo('abort', 'a').length).toBe(1)
    expect(world.sentTo('resolve', 'b').length).toBe(1)
  })
})

describe('several mutations of one key', () => {
  it('are the last one, but none with a condition, which would not be looked at', async () => {
    const world = new World(() => undefined)
    await world.write(put('a'), put('a'), put('b'))
    expect(world.sentTo('lock', 'a').length).toBe(1)
    const conditional = world.write(put('a', { ifVersion: 0 }), put('a'), put('b'))
    await expect(conditional).rejects.toMatchObject({ code: 'BAD_REQUEST' })
    expect(await world.write(put('a'), put('a', { ifVersion: 0 }), put('b'))).toBeGreaterThan(0)
  })
})
