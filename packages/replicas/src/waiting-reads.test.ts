import { describe, expect, it } from 'vitest'
import { type WaitingRead, WaitingReads } from './waiting-reads.js'

function read(key: string, indexMin = 0): WaitingRead {
  return {
    request: { kind: 'read', rangeId: 2, epochVersion: 1, at: 0, byFollower: false, keys: [key] },
    reply: () => {},
    indexMin,
  }
}

describe('WaitingReads', () => {
  it('serves a round once it is confirmed and its index has applied', () => {
    const reads = new WaitingReads()
    const [a, b, c] = [read('a'), read('b'), read('c')]
    reads.add(a)
    reads.add(b)
    reads.onAsked(1)
    reads.add(c)
    expect(reads.tryTake(100)).toBeUndefined()
    reads.onConfirmed(1, 7)
    expect(reads.tryTake(6)).toBeUndefined()
    expect(reads.tryTake(7)).toEqual([a, b])
    expect(reads.tryTake(100)).toBeUndefined()
    expect(reads.size).toBe(1)
    expect(reads.hasGathered).toBe(true)
  })

  it('never serves a read by a round asked for before it came', () => {
    const reads = new WaitingReads()
    reads.add(read('a'))
    reads.onAsked(1)
    const late = read('late')
    reads.add(late)
    reads.onConfirmed(1, 3)
    reads.tryTake(3)
    expect(reads.tryTake(3)).toBeUndefined()
    reads.onAsked(2)
    reads.onConfirmed(2, 4)
    expect(reads.tryTake(4)).toEqual([late])
  })

  it('serves older rounds with a newer one: leadership still held later', () => {
    const reads = new WaitingReads()
    const [a, b] = [read('a'), read('b')]
    reads.add(a)
    reads.onAsked(1)
    reads.add(b)
    reads.onAsked(2)
    reads.onConfirmed(2, 9)
    expect([reads.tryTake(9), reads.tryTake(9)]).toEqual([[a], [b]])
    expect(reads.size).toBe(0)
  })

  it('serves a read no earlier than it wants, and lets others pass', () => {
    const reads = new WaitingReads()
    const [patient, a, b] = [read('patient', 20), read('a'), read('b')]
    reads.add(patient)
    reads.add(a)
    reads.onAsked(1)
    reads.add(b)
    reads.onAsked(2)
    reads.onConfirmed(2, 9)
    expect([reads.tryTake(19), reads.tryTake(19), reads.tryTake(19)]).toEqual([[a], [b], undefined])
    expect(reads.size).toBe(1)
    expect(reads.tryTake(20)).toEqual([patient])
  })

  it('gives back dropped rounds, and what had gathered, exactly once', () => {
    const reads = new WaitingReads()
    const [a, b, c] = [read('a'), read('b'), read('c')]
    reads.add(a)
    reads.onAsked(1)
    reads.add(b)
    reads.onAsked(2)
    reads.add(c)
    expect(reads.takeDropped(1)).toEqual([a])
    expect(reads.takeDropped(1)).toEqual([])
    expect(reads.takeDropped(undefined)).toEqual([c])
    expect(reads.takeAll()).toEqual([b])
    expect(reads.size).toBe(0)
  })
})
