import type { Descriptor } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { ClusterIndex, decodeHeartbeat, encodeHeartbeat, type RangeBeat } from './cluster-index.js'

function range(rangeId: number, start: string, end: string | null, version = 1, confVersion = 1): Descriptor {
  const replicas = [{ replicaId: rangeId * 10, nodeId: 1, type: 'voter' as const }]
  return { rangeId, start, end, epoch: { version, confVersion }, replicas }
}

function beat(descriptor: Descriptor, term = 1, bytes = 7): RangeBeat {
  const load = { readsPerSec: 1.5, writesPerSec: 2, loadMaxPerSec: 9 }
  return { descriptor, term, bytes, ...load, unchangedMs: 100, behind: [3] }
}

function withSplit(split: unknown): unknown {
  const [sequence, isFull, [row]] = encodeHeartbeat({
    ...{ sequence: 1, isFull: true },
    ranges: [beat(range(1, 'm', 'p'))],
  }) as [number, boolean, [unknown[]]]
  return [sequence, isFull, [[...row, split]]]
}

function idsOf(index: ClusterIndex): number[] {
  return index.ranges().map(({ descriptor }) => descriptor.rangeId)
}

describe('the index of ranges', () => {
  it('is whole once every key is in it, and wants everything of who cannot be followed', () => {
    const index = new ClusterIndex()
    expect(index.onHeartbeat(1, { sequence: 5, isFull: false, ranges: [] }, 1_000)).toBe(false)
    expect(index.heardAtMs(1)).toBeUndefined()
    expect(index.onHeartbeat(1, { sequence: 6, isFull: true, ranges: [beat(range(1, '', 'm'))] }, 1_000)).toBe(true)
    expect(index.isWhole).toBe(false)
    expect(index.onHeartbeat(2, { sequence: 1, isFull: true, ranges: [beat(range(2, 'm', null))] }, 1_200)).toBe(true)
    expect(index.isWhole).toBe(true)
    expect(index.onHeartbeat(1, { sequence: 8, isFull: false, ranges: [] }, 1_300)).toBe(false)
    expect(index.onHeartbeat(1, { sequence: 7, isFull: false, ranges: [] }, 1_400)).toBe(true)
    expect([index.heardAtMs(1), index.heardAtMs(2)]).toEqual([1_400, 1_200])
    expect(index.ranges()[0]).toMatchObject({ leader: 1, lastChangedMs: 900, bytes: 7, behind: [3] })
  })

  it('goes by epochs, and within one by terms, and has no two ranges that overlap', () => {
    const index = new ClusterIndex()
    const full = (nodeId: number, ...ranges: RangeBeat[]): boolean =>
      index.onHeartbeat(nodeId, { sequence: 1, isFull: true, ranges }, 0)
    full(1, beat(range(1, '', null), 4))
    full(2, beat(range(1, '', null), 3))
    expect(index.ranges()[0]!.leader).toBe(1)
    full(2, beat(range(1, '', null), 5))
    expect(index.ranges()[0]!.leader).toBe(2)
    full(3, beat(range(1, '', null, 1, 2), 1))
    expect(index.ranges()[0]!.leader).toBe(3)
    // Cut: whichever half is heard first.
    full(1, beat(range(2, 'm', null, 2)))
    expect([idsOf(index), index.isWhole]).toEqual([[2], false])
    full(2, beat(range(1, '', 'm', 2, 2)))
    full(3, beat(range(1, '', null, 1, 2), 9))
    expect([idsOf(index), index.isWhole]).toEqual([[1, 2], true])
    // Merged.
    full(2, beat(range(1, '', null, 3, 2)))
    full(1, beat(range(2, 'm', null, 2), 9))
    expect([idsOf(index), index.isWhole]).toEqual([[1], true])
  })

  it('takes what nobody leads as others know it, the newest of that, and never over what somebody leads', () => {
    const index = new ClusterIndex()
    const full = (nodeId: number, ...ranges: RangeBeat[]): boolean =>
      index.onHeartbeat(nodeId, { sequence: 1, isFull: true, ranges }, 0)
    full(1, beat(range(1, '', 'c')), beat(range(4, 'p', null, 2)))
    expect(index.unled()).toEqual([{ start: 'c', end: 'p' }])
    // The third is older than what is led.
    index.fillGaps([range(2, 'c', 'g'), range(3, 'g', 'k'), range(9, 'k', null)], 5)
    expect([idsOf(index), index.gaps(), index.unled()]).toEqual([
      [1, 2, 3, 4],
      [{ start: 'k', end: 'p' }],
      [{ start: 'c', end: 'p' }],
    ])
    expect(index.get(2)).toMatchObject({ leader: 0, bytes: 0, lastChangedMs: 5 })
    expect([index.isWholeBut([{ start: 'h', end: null }]), index.isWholeBut([{ start: 'l', end: 'p' }])]).toEqual([
      true,
      false,
    ])
    // One was moved, and the other one cut, before they were left alone.
    index.fillGaps(
      [range(2, 'c', 'g', 1, 3), range(3, 'g', 'i', 2), range(5, 'i', 'p', 2), range(2, 'c', 'g', 1, 2)],
      6,
    )
    expect([idsOf(index), index.isWhole]).toEqual([[1, 2, 3, 5, 4], true])
    expect(index.get(2)!.descriptor.epoch.confVersion).toBe(3)
    full(2, beat(range(2, 'c', 'g', 1, 3)))
    index.fillGaps([range(2, 'c', 'g', 1, 4)], 7)
    expect([index.get(2)!.leader, index.unled()]).toEqual([2, [{ start: 'g', end: 'p' }]])
  })

  it('reads heartbeats as they were written, and refuses what is none', () => {
    const cut = { ...beat(range(3, 'n', 'p')), loadSplit: { kind: 'key', key: 'n\xff' } } as const
    const hot = { ...beat(range(4, 'p', null)), loadSplit: { kind: 'one-hot-key', key: 'p' } } as const
    const ranges = [beat(range(1, '', null)), beat(range(2, 'm', 'n', 4)), cut, hot]
    const heartbeat = { sequence: 3, isFull: true, ranges }
    expect(decodeHeartbeat(encodeHeartbeat(heartbeat))).toEqual(heartbeat)
    const refused = expect.objectContaining({ code: 'BAD_REQUEST' })
    for (const body of [
      null,
      [],
      [1, true],
      ['1', true, []],
      [1, true, [[1]]],
      [1, true, [[new Uint8Array(1), [1], []]]],
      withSplit(null),
      withSplit(['other', 'n']),
      withSplit(['key', 7]),
      withSplit(['key', 'm']),
      withSplit(['key', 'z']),
      withSplit(['one-hot-key', 'a']),
    ]) {
      expect(() => decodeHeartbeat(body)).toThrow(refused)
    }
  })
})
