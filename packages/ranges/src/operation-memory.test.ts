import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OperationMemory, OUTCOMES_PER_SESSION_MAX, SESSIONS_MAX, type SessionMemory } from './operation-memory.js'
import { OUTCOME_EXPIRED } from './outcome.js'

function open(memory: OperationMemory, nodeId: number, lowest: number): SessionMemory {
  const session = memory.open({ nodeId, incarnation: 1 }, lowest)
  if (typeof session === 'string') throw new Error(session)
  return session
}

describe('the memory of operations', () => {
  it('agrees with a naive one, and survives encoding, whatever the order of numbers', () => {
    const step = fc.record({
      nodeId: fc.integer({ min: 1, max: 3 }),
      lowest: fc.nat(30),
      sequence: fc.nat(40),
      outcome: fc.integer({ min: -50, max: 50 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let memory = new OperationMemory()
        const naive = new Map<number, { floor: number; outcomes: Map<number, number> }>()
        for (const { nodeId, lowest, sequence, outcome } of steps) {
          const twin = naive.get(nodeId) ?? { floor: 0, outcomes: new Map() }
          naive.set(nodeId, twin)
          twin.floor = Math.max(twin.floor, lowest)
          const session = open(memory, nodeId, lowest)
          const expected = sequence < twin.floor ? OUTCOME_EXPIRED : twin.outcomes.get(sequence)
          expect(session.find(sequence)).toBe(expected)
          if (expected === undefined) {
            session.add(sequence, outcome)
            twin.outcomes.set(sequence, outcome)
          }
          const bytes = memory.encode()
          memory = OperationMemory.decode(bytes)
          expect(Buffer.compare(memory.encode(), bytes)).toBe(0)
        }
        const changes = memory.changes
        const copy = memory.copyWithin({ start: '', end: null })
        open(copy, 9, 1)
        expect(memory.changes).toBe(changes)
        expect(copy.encode().length).toBeGreaterThan(memory.encode().length)
      }),
    )
  })

  it('forgets the lowest numbers of a session that has too many, and refuses them from then on', () => {
    const session = open(new OperationMemory(), 1, 1)
    for (let sequence = 1; sequence <= OUTCOMES_PER_SESSION_MAX + 5; sequence++) session.add(sequence, sequence)
    expect(session.size).toBe(OUTCOMES_PER_SESSION_MAX)
    expect([5, 6].map((sequence) => session.find(sequence))).toEqual([OUTCOME_EXPIRED, 6])
  })

  it('takes no further node when it has as many as it may, and keeps those it has', () => {
    const memory = new OperationMemory()
    for (let nodeId = 1; nodeId <= SESSIONS_MAX; nodeId++) open(memory, nodeId, 1)
    expect(memory.open({ nodeId: SESSIONS_MAX + 1, incarnation: 1 }, 1)).toBe('memory-full')
    expect(memory.open({ nodeId: 1, incarnation: 2 }, 1)).toBeTypeOf('object')
  })

  it('is CORRUPT, or something, but nothing else, when its bytes are not its own', () => {
    const memory = new OperationMemory()
    open(memory, 1, 3).add(7, 70)
    memory.addIdempotent(Buffer.alloc(32, 1), -4)
    const valid = memory.encode()
    fc.assert(
      fc.property(fc.nat(valid.length - 1), fc.nat(255), fc.option(fc.nat(valid.length)), (at, byte, length) => {
        const bytes = Buffer.from(valid)
        bytes[at] = byte
        try {
          OperationMemory.decode(length === null ? bytes : bytes.subarray(0, length))
        } catch (error) {
          expect(error).toBeInstanceOf(CordilleraError)
          expect((error as CordilleraError).code).toBe('CORRUPT')
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('of two ranges that become one knows what either did, and runs nothing that one of them may have forgotten', () => {
    const [left, right] = [new OperationMemory(), new OperationMemory()]
    left.advanceAge(500_000)
    right.advanceAge(900_000)
    open(left, 1, 5).add(7, 70)
    open(right, 1, 9).add(9, 90)
    open(right, 1, 9).add(8, 80)
    open(left, 2, 1).add(3, 30)
    left.open({ nodeId: 3, incarnation: 1 }, 1)
    const later = right.open({ nodeId: 3, incarnation: 2 }, 1) as SessionMemory
    later.add(1, 10)
    const [a, b] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
    left.addIdempotent(a, 11)
    right.addIdempotent(b, 22)
    const united = OperationMemory.decode(left.unite(right).encode())
    expect(united.ageMs).toBe(900_000)
    const session = open(united, 1, 1)
    expect([7, 8, 9].map((sequence) => session.find(sequence))).toEqual([OUTCOME_EXPIRED, OUTCOME_EXPIRED, 90])
    expect(open(united, 2, 1).find(3)).toBe(30)
    expect(united.open({ nodeId: 3, incarnation: 1 }, 1)).toBe('expired')
    expect((united.open({ nodeId: 3, incarnation: 2 }, 1) as SessionMemory).find(1)).toBe(10)
    expect([united.findIdempotent(a), united.findIdempotent(b)]).toEqual([11, 22])
    // Both were as old as their ranges, and have the same time left.
    united.advanceAge(900_000 + 599_999)
    expect([united.findIdempotent(a), united.findIdempotent(b)]).toEqual([11, 22])
    united.advanceAge(900_000 + 600_000)
    expect([united.findIdempotent(a), united.findIdempotent(b)]).toEqual([undefined, undefined])
    // The two were left as they were.
    expect(open(left, 1, 1).find(7)).toBe(70)
  })
})
