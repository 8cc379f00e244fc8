import { SeededRandom } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import type { Replica, Replicas } from '@cordillera/replicas'
import { expect, it } from 'vitest'
import { LoadMeter } from './load-meter.js'

interface FakeReplica {
  descriptor: Pick<Descriptor, 'rangeId' | 'start' | 'end' | 'epoch'>
  isUsable: boolean
  sampler: Replica['sampler']
  counts: { reads: number; writes: number }
}

it('samples what is led here and more than half as busy as what is to be split, anew once the range has changed', () => {
  const epoch = { version: 1, confVersion: 1 }
  const one: FakeReplica = {
    descriptor: { rangeId: 2, start: '', end: null, epoch },
    ...{ isUsable: true, sampler: undefined, counts: { reads: 0, writes: 0 } },
  }
  const replica = one as unknown as Replica
  const meter = new LoadMeter(new SeededRandom(1))
  const second = (reads: number): void => {
    for (let i = 0; i < reads; i++) {
      const read = { kind: 'read', rangeId: 2, epochVersion: 1, at: 0, byFollower: false } as const
      one.sampler?.onRequest({ ...read, keys: [String(i % 100)] })
    }
    one.counts.reads += reads
    meter.sample({ replicas: () => [replica].values() } as unknown as Replicas, 1)
  }
  for (let i = 0; i < 8; i++) second(100)
  expect(one.sampler, 'no range is to be split for its load').toBeUndefined()
  meter.splitLoadPerSec = 250
  second(100)
  expect(one.sampler, 'not busy enough').toBeUndefined()
  meter.splitLoadPerSec = 150
  second(100)
  const first = one.sampler
  expect(first).toBeDefined()
  for (let i = 0; i < 8; i++) second(100)
  expect(meter.splitOf(replica)).toMatchObject({ kind: 'key' })

  one.descriptor = { ...one.descriptor, epoch: { version: 2, confVersion: 1 } }
  expect(meter.splitOf(replica), 'of the range as it was').toBeUndefined()
  second(100)
  expect(one.sampler).not.toBe(first)
  expect(meter.splitOf(replica)).toBeUndefined()
  for (let i = 0; i < 8; i++) second(100)
  expect(meter.splitOf(replica)).toMatchObject({ kind: 'key' })

  one.isUsable = false
  second(100)
  expect([one.sampler, meter.splitOf(replica)], 'led elsewhere').toEqual([undefined, undefined])
  one.isUsable = true
  second(100)
  expect(one.sampler).toBeDefined()
  for (let i = 0; i < 8; i++) second(0)
  expect(one.sampler, 'at rest').toBeUndefined()
})

it('knows a steady load from the first second that a range is led, and is not moved by one that is another', () => {
  const one = {
    descriptor: { rangeId: 2, start: '', end: null, epoch: { version: 1, confVersion: 1 } },
    ...{ isUsable: false, sampler: undefined, counts: { reads: 0, writes: 0 } },
  }
  const held: (typeof one)[] = [one]
  const replicas = { replicas: () => held.values(), replica: () => held[0] } as unknown as Replicas
  const meter = new LoadMeter(new SeededRandom(1))
  const second = (reads: number): number => {
    one.counts.reads += reads
    meter.sample(replicas, 1)
    return meter.steadyOf(2).readsPerSec
  }
  second(0)
  one.isUsable = true
  expect(second(300)).toBe(300)
  for (let i = 0; i < 60; i++) expect(second(i % 2 === 0 ? 200 : 400)).toBeGreaterThan(240)
  expect(Math.abs(second(300) - 300)).toBeLessThan(20)
  expect(Math.abs(second(900) - 340)).toBeLessThan(20)
  for (let i = 0; i < 60; i++) second(100)
  expect(Math.abs(second(100) - 100)).toBeLessThan(10)
  // Led elsewhere, and here again: what was before is forgotten.
  one.isUsable = false
  expect(second(0)).toBe(0)
  one.isUsable = true
  expect(second(500)).toBe(500)
  held.pop()
  second(0)
  expect(meter.steadyOf(2).readsPerSec).toBe(0)
})
