import { Buffer } from 'node:buffer'
import type { Key, Version } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyEntry } from './apply-entry.js'
import type { Descriptor } from './descriptor.js'
import { OperationMemory } from './operation-memory.js'
import { OUTCOME_ABORTED, OUTCOME_EXPIRED, OUTCOME_LOCKED } from './outcome.js'
import type { Mutation, TransactionId, TransactionStep } from './transaction-command.js'
import { checkWriteBlock, decodeWriteBlock, holdsPut, joinBlocks, WriteBlockBuilder } from './write-block.js'

const whole: Descriptor = {
  rangeId: 2,
  start: 'a',
  end: 'z',
  epoch: { version: 5, confVersion: 1 },
  replicas: [{ replicaId: 1, nodeId: 1, type: 'voter' }],
}
const session = { nodeId: 7, incarnation: 1 }
const bytes = (text: string): Buffer => Buffer.from(text)
const put = (key: Key, value: string, guard?: Mutation['guard']): Mutation => ({
  ...{ kind: 'put', key, value: bytes(value) },
  ...(guard && { guard }),
})

/** A range's state, as far as applying sees and changes it. */
class TestRange {
  memory = new OperationMemory()
  readonly data = new Map<Key, { version: Version; value: string }>()
  #timestamp = 100
  #sequence = 1

  constructor(readonly descriptor = whole) {}

  versionOf(key: Key): Version {
    return this.data.get(key)?.version ?? 0
  }

  /** Applies one command; its outcome. Each has an entry of its own, ten timestamps above the one before. */
  step(key: Key, step: TransactionStep, sequence = ++this.#sequence): number {
    return this.#apply((builder) => builder.transact(sequence, key, step), sequence)
  }

  put(key: Key, value: string): number {
    const sequence = ++this.#sequence
    return this.#apply((builder) => builder.put(sequence, key, bytes(value)), sequence)
  }

  begin(transaction: TransactionId, home: Key, mutation: Mutation, participants: Key[] = []): number {
    const step = { step: 'lock', transaction, home, mutations: [mutation], participants } as const
    return this.step(mutation.key, step, mutation.key === home ? transaction.sequence : undefined)
  }

  #apply(add: (builder: WriteBlockBuilder) => void, sequence: number): number {
    const builder = new WriteBlockBuilder(this.descriptor.epoch.version, session)
    add(builder)
    const block = builder.take(Math.min(2, sequence))
    checkWriteBlock(block)
    this.#timestamp += 10
    const entry = joinBlocks(0, { timestamp: this.#timestamp, ageMs: 0 }, [block])
    const view = { descriptor: this.descriptor, memory: this.memory, versionOf: (key: Key) => this.versionOf(key) }
    const { writes, results } = applyEntry(view, entry)
    for (const { key, version, value } of writes) {
      if (value === undefined) this.data.delete(key)
      else this.data.set(key, { version, value: Buffer.from(value).toString() })
    }
    const [result] = results
    if (result?.kind !== 'applied') throw new Error('the block was refused')
    return result.outcomes[0]!
  }
}

const transaction = (sequence: number): TransactionId => ({ ...session, sequence })

describe('a group', () => {
  it('is written whole, at one version', () => {
    const range = new TestRange()
    const version = range.step('b', { step: 'group', mutations: [put('b', '1'), put('c', '2')] })
    expect(Object.fromEntries(range.data)).toEqual({ b: { version, value: '1' }, c: { version, value: '2' } })
  })

  it('is not written at all when one of its conditions fails, or one of its keys is locked', () => {
    const range = new TestRange()
    const old = range.put('c', 'old')
    const group = (guard: Mutation['guard']): number =>
      range.step('b', { step: 'group', mutations: [put('b', '1'), put('c', '2', guard)] })
    expect(group({ ifVersion: old + 1 })).toBe(-old)
    expect(group({ notAfter: old - 1 })).toBe(-old)
    range.begin(transaction(1000), 'c', put('c', 'new'))
    expect(group({ ifVersion: old })).toBe(OUTCOME_LOCKED)
    expect([...range.data.keys()]).toEqual(['c'])
  })

  it('has its outcome again when it comes again', () => {
    const range = new TestRange()
    const step = { step: 'group', mutations: [put('b', '1')] } as const
    const version = range.step('b', step, 50)
    range.put('b', '2')
    expect(range.step('b', step, 50)).toBe(version)
    expect(range.data.get('b')!.value).toBe('2')
  })
})

describe('a transaction', () => {
  it('keeps others from its keys, and takes effect when it commits, at that version', () => {
    const range = new TestRange()
    const before = range.put('b', 'old')
    const since = range.begin(transaction(1000), 'b', put('b', 'new'), ['q'])
    expect(since).toBeGreaterThan(before)
    expect(range.put('b', 'other')).toBe(OUTCOME_LOCKED)
    expect(range.begin(transaction(1001), 'b', put('b', 'rival'))).toBe(OUTCOME_LOCKED)
    expect(range.data.get('b')).toEqual({ version: before, value: 'old' })
    const version = range.step('b', { step: 'commit', transaction: transaction(1000) })
    expect(range.data.get('b')).toEqual({ version, value: 'new' })
    expect(range.put('b', 'later')).toBeGreaterThan(version)
  })

  it('is one or the other, for ever: committed or aborted', () => {
    const range = new TestRange()
    const [kept, lost] = [transaction(1000), transaction(1001)]
    range.begin(kept, 'b', put('b', 'kept'))
    range.begin(lost, 'c', put('c', 'lost'))
    const version = range.step('b', { step: 'commit', transaction: kept })
    expect(range.step('b', { step: 'abort', transaction: kept })).toBe(version)
    expect(range.step('c', { step: 'abort', transaction: lost })).toBe(OUTCOME_ABORTED)
    expect(range.step('c', { step: 'commit', transaction: lost })).toBe(OUTCOME_ABORTED)
    for (const one of [kept, lost]) range.step(one === kept ? 'b' : 'c', { step: 'forget', transaction: one })
    expect(range.memory.transactions.isEmpty).toBe(true)
    expect(range.step('b', { step: 'abort', transaction: kept })).toBe(version)
    expect(range.step('c', { step: 'abort', transaction: lost })).toBe(OUTCOME_ABORTED)
    expect([...range.data.keys()]).toEqual(['b'])
  })

  it('does not begin once it was aborted, however late its first lock comes', () => {
    const range = new TestRange()
    expect(range.step('b', { step: 'abort', transaction: transaction(1000) })).toBe(OUTCOME_ABORTED)
    expect(range.begin(transaction(1000), 'b', put('b', 'late'))).toBe(OUTCOME_ABORTED)
    expect(range.memory.transactions.isEmpty).toBe(true)
  })

  it('of an earlier start of its node is over', () => {
    const range = new TestRange()
    range.put('b', 'by incarnation 1')
    const earlier = { nodeId: 7, incarnation: 0, sequence: 5 }
    expect(range.step('b', { step: 'abort', transaction: earlier })).toBe(OUTCOME_EXPIRED)
  })

  it('has its other locks resolved once, by itself alone, with what it came to', () => {
    const range = new TestRange()
    const one = transaction(1000)
    range.begin(one, 'home', put('b', 'new'))
    range.step('b', { step: 'resolve', transaction: transaction(1001), version: 400, keys: ['b'] })
    expect(range.memory.transactions.hasLocks).toBe(true)
    range.step('b', { step: 'resolve', transaction: one, version: 115, keys: ['b'] })
    range.step('b', { step: 'resolve', transaction: one, version: 116, keys: ['b'] })
    expect(range.data.get('b')).toEqual({ version: 115, value: 'new' })
    range.begin(one, 'home', { kind: 'delete', key: 'b' })
    range.step('b', { step: 'resolve', transaction: one, version: 0, keys: ['b'] })
    expect(range.data.get('b')!.value).toBe('new')
  })

  it('undoes nothing with a copy of a lock that comes when all is over', () => {
    const range = new TestRange()
    const one = transaction(1000)
    const step = {
      step: 'lock',
      transaction: one,
      home: 'home',
      mutations: [put('b', 'new')],
      participants: [],
    } as const
    range.begin(transaction(900), 'home', put('b', 'rival'))
    expect(range.step('b', step, 1001)).toBe(OUTCOME_LOCKED)
    range.step('b', { step: 'resolve', transaction: transaction(900), version: 0, keys: ['b'] })
    // What met a lock is not remembered, what has locked is.
    const since = range.step('b', step, 1001)
    range.step('b', { step: 'resolve', transaction: one, version: since + 1, keys: ['b'] })
    range.put('b', 'later')
    expect(range.step('b', step, 1001)).toBe(since)
    expect(range.memory.transactions.hasLocks).toBe(false)
    // Under another number it is a lock, which has come behind the commit.
    range.step('b', step, 1002)
    range.step('b', { step: 'resolve', transaction: one, version: since + 1, keys: ['b'] })
    expect(range.data.get('b')!.value).toBe('later')
  })

  it('locks its keys in a range together or not at all, and resolves those beside its record as it is decided', () => {
    const range = new TestRange()
    const [one, other] = [transaction(1000), transaction(1001)]
    const both = (id: TransactionId) => {
      const mutations = [put('b', '1'), put('c', '2')]
      return range.step('b', { step: 'lock', transaction: id, home: 'b', mutations, participants: ['c'] }, id.sequence)
    }
    range.begin(other, 'q', put('c', 'rival'))
    expect(both(one)).toBe(OUTCOME_LOCKED)
    expect([...range.memory.transactions.locks()].map(({ mutation }) => mutation.key)).toEqual(['c'])
    range.step('c', { step: 'resolve', transaction: other, version: 0, keys: ['c'] })
    expect(both(one)).toBeGreaterThan(0)
    const version = range.step('b', { step: 'commit', transaction: one })
    expect(Object.fromEntries(range.data)).toEqual({ b: { version, value: '1' }, c: { version, value: '2' } })
    expect(range.memory.transactions.hasLocks).toBe(false)
  })

  it('that is pending is not forgotten', () => {
    const range = new TestRange()
    range.begin(transaction(1000), 'b', put('b', 'new'))
    range.step('b', { step: 'forget', transaction: transaction(1000) })
    expect(range.memory.transactions.recordOf(transaction(1000))?.state).toBe('pending')
  })

  it('locks what it only looked at, and writes nothing there', () => {
    const range = new TestRange()
    const version = range.put('b', 'seen')
    const check = { kind: 'check', key: 'b', guard: { ifVersion: version } } as const
    range.begin(transaction(1000), 'b', check)
    expect(range.put('b', 'other')).toBe(OUTCOME_LOCKED)
    range.step('b', { step: 'commit', transaction: transaction(1000) })
    expect(range.data.get('b')).toEqual({ version, value: 'seen' })
  })
})

describe('locks and records', () => {
  const cut = 'm'
  const left = { start: 'a', end: cut }
  const right = { start: cut, end: 'z' }

  it('go with their keys when the range is cut, and are all there when it is whole again', () => {
    const range = new TestRange()
    const one = transaction(1000)
    range.begin(one, 'b', put('b', '1'), ['q'])
    range.begin(one, 'b', put('q', '2'))
    const [l, r] = [range.memory.copyWithin(left), range.memory.copyWithin(right)]
    expect([l.transactions.recordOf(one)?.state, r.transactions.recordOf(one)]).toEqual(['pending', undefined])
    expect([...l.transactions.locks(), ...r.transactions.locks()].map(({ mutation }) => mutation.key)).toEqual([
      'b',
      'q',
    ])
    const united = l.unite(r)
    expect(united.transactions.recordOf(one)).toEqual(range.memory.transactions.recordOf(one))
    expect(OperationMemory.decode(united.encode()).encode()).toEqual(united.encode())
  })

  it('of a transaction that was decided after the cut are remembered as that, on whichever side the record was', () => {
    for (const home of ['b', 'q']) {
      for (const step of ['commit', 'abort'] as const) {
        const range = new TestRange()
        const one = transaction(1000)
        range.begin(one, home, put(home, '1'))
        const halves = [left, right].map((span) => {
          const half = new TestRange({ ...whole, ...span })
          half.memory = range.memory.copyWithin(span)
          return half
        }) as [TestRange, TestRange]
        const half = halves[home === 'b' ? 0 : 1]
        const outcome = half.step(home, { step, transaction: one }, 2000)
        half.step(home, { step: 'forget', transaction: one }, 2001)
        const again = new TestRange()
        again.memory = halves[0].memory.unite(halves[1].memory)
        expect(again.step(home, { step: 'abort', transaction: one }, 2002)).toBe(outcome)
      }
    }
  })
})

describe('parts of transactions', () => {
  const key = fc.uint8Array({ maxLength: 8 }).map((raw) => Buffer.from(raw).toString('latin1'))
  const value = fc.uint8Array({ maxLength: 30 }).map((raw) => Buffer.from(raw))
  const number = fc.nat(Number.MAX_SAFE_INTEGER)
  const guard = fc.record(
    { ifVersion: number, notAfter: number, ifPresent: fc.constant(true as const) },
    { requiredKeys: [] },
  )
  const guarded = fc.oneof(
    fc.constant({}),
    guard.filter((one) => Object.keys(one).length > 0).map((one) => ({ guard: one })),
  )
  const mutation: fc.Arbitrary<Mutation> = fc.oneof(
    fc.tuple(key, value, guarded).map(([k, v, g]) => ({ kind: 'put' as const, key: k, value: v, ...g })),
    fc
      .tuple(fc.constantFrom('delete' as const, 'check' as const), key, guarded)
      .map(([kind, k, g]) => ({ kind, key: k, ...g })),
  )
  const id = fc.record({ nodeId: number.map((n) => Math.max(1, n)), incarnation: number, sequence: number })
  const step: fc.Arbitrary<TransactionStep> = fc.oneof(
    fc.array(mutation, { minLength: 1, maxLength: 4 }).map((mutations) => ({ step: 'group' as const, mutations })),
    fc.record({
      ...{ step: fc.constant('lock' as const), transaction: id, home: key },
      mutations: fc.array(mutation, { minLength: 1, maxLength: 3 }),
      participants: fc.array(key, { maxLength: 3 }),
    }),
    fc.record({ step: fc.constantFrom('commit' as const, 'abort' as const, 'forget' as const), transaction: id }),
    fc.record({
      ...{ step: fc.constant('resolve' as const), transaction: id, version: number },
      keys: fc.array(key, { maxLength: 3 }),
    }),
    fc.constant({ step: 'recall' as const }),
  )

  it('are read as they were written, and any other bytes are refused without harm', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(key, step), { minLength: 1, maxLength: 4 }),
        number,
        fc.nat(),
        (steps, seed, at) => {
          const builder = new WriteBlockBuilder(1, session)
          for (const [i, [k, s]] of steps.entries()) builder.transact(i + 1, k, s)
          const block = builder.take()
          const { commands } = decodeWriteBlock(block)
          expect(commands).toEqual(
            steps.map(([k, s], i) => ({ kind: 'transaction', sequence: i + 1, key: k, step: s })),
          )
          const bringsPut = steps.some(
            ([, s]) => (s.step === 'group' || s.step === 'lock') && s.mutations.some(({ kind }) => kind === 'put'),
          )
          expect(holdsPut(block)).toBe(bringsPut)
          const damaged = Buffer.from(block)
          damaged[at % damaged.length]! ^= 1 + (seed % 255)
          for (const read of [checkWriteBlock, decodeWriteBlock]) {
            try {
              read(damaged)
            } catch (error) {
              expect(error).toMatchObject({ code: 'CORRUPT' })
            }
          }
        },
      ),
    )
  })
})
