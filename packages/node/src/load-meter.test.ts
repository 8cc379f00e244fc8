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
