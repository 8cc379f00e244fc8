import { Buffer } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import type { Descriptor } from './descriptor.js'
import { spanContains, spansOverlap } from './descriptor.js'
import { decodeDescriptor, encodeDescriptor } from './descriptor-codec.js'
import { compareEpochs, isNewerDescriptor } from './epoch.js'

const descriptor: Descriptor = {
  rangeId: 7,
  start: 'default\x00\xff',
  end: null,
  epoch: { version: 3, confVersion: 2 },
  replicas: [
    { replicaId: 70, nodeId: 1, type: 'voter' },
    { replicaId: 2 ** 40, nodeId: 2, type: 'learner' },
    { replicaId: 3, nodeId: 2, type: 'outgoing' },
    { replicaId: 4, nodeId: 3, type: 'incoming' },
  ],
}

function refuses(broken: Descriptor): void {
  const bytes = encodeDescriptor(broken)
  expect(() => decodeDescriptor(bytes)).toThrow(expect.objectContaining({ code: 'CORRUPT' }))
}

describe('a descriptor', () => {
  it('is read as it was written, bounded or not', () => {
    expect(decodeDescriptor(encodeDescriptor(descriptor))).toEqual(descriptor)
    const bounded = { ...descriptor, start: '', end: '\x01' }
    expect(decodeDescriptor(encodeDescriptor(bounded))).toEqual(bounded)
    const merges: Descriptor[] = [
      { ...descriptor, merge: { kind: 'absorbing', rightId: 8, attempt: 2 ** 40 }, lastMerge: 2 ** 40 },
      { ...descriptor, merge: { kind: 'aborted', rightId: 8, attempt: 1 }, lastMerge: 1 },
      { ...descriptor, merge: { kind: 'frozen', leftId: 6, attempt: 3 } },
    ]
    for (const one of merges) expect(decodeDescriptor(encodeDescriptor(one))).toEqual(one)
  })

  it('that is not well-formed is refused', () => {
    refuses({ ...descriptor, end: descriptor.start })
    refuses({ ...descriptor, rangeId: 0 })
    refuses({ ...descriptor, merge: { kind: 'frozen', leftId: 0, attempt: 3 } })
    refuses({ ...descriptor, replicas: [...descriptor.replicas, { replicaId: 70, nodeId: 3, type: 'voter' }] })
    refuses({ ...descriptor, replicas: [{ replicaId: 0, nodeId: 1, type: 'voter' }] })
  })

  it('that is cut off or followed by something is refused', () => {
    const bytes = encodeDescriptor(descriptor)
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeDescriptor(bytes.subarray(0, length))).toThrow(CordilleraError)
    }
    expect(() => decodeDescriptor(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(CordilleraError)
  })
})

describe('spans', () => {
  const span = { start: 'b', end: 'd' }

  it('include their start and exclude their end', () => {
    expect(['a\xff', 'b', 'c', 'd'].map((key) => spanContains(span, key))).toEqual([false, true, true, false])
    expect(spanContains({ start: 'b', end: null }, '\xff\xff')).toBe(true)
  })

  it('that touch do not overlap', () => {
    expect(spansOverlap(span, { start: 'd', end: null })).toBe(false)
    expect(spansOverlap({ start: '', end: 'b' }, span)).toBe(false)
    expect(spansOverlap(span, { start: 'c\xff', end: null })).toBe(true)
    expect(spansOverlap({ start: '', end: null }, span)).toBe(true)
  })
})

describe('epochs', () => {
  it('of one range are ordered by version, then confVersion', () => {
    expect(compareEpochs({ version: 1, confVersion: 9 }, { version: 2, confVersion: 0 })).toBeLessThan(0)
    expect(compareEpochs({ version: 2, confVersion: 1 }, { version: 2, confVersion: 0 })).toBeGreaterThan(0)
    expect(compareEpochs({ version: 2, confVersion: 1 }, { version: 2, confVersion: 1 })).toBe(0)
  })

  it('of two ranges are compared by version alone, and a tie keeps what is known', () => {
    const other = { ...descriptor, rangeId: 8, epoch: { version: 3, confVersion: 9 } }
    expect(isNewerDescriptor(other, descriptor)).toBe(false)
    expect(isNewerDescriptor({ ...other, epoch: { version: 4, confVersion: 0 } }, descriptor)).toBe(true)
    expect(isNewerDescriptor({ ...descriptor, epoch: { version: 3, confVersion: 3 } }, descriptor)).toBe(true)
  })
})
