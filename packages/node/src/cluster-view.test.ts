import { keyspaceSpan } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import type { NodeReport } from './admin.js'
import {
  describeCluster,
  describeNode,
  describeRange,
  indexReports,
  type Picture,
  selectDescriptors,
} from './cluster-view.js'
import { foundingDocument } from './founding.js'

const nodes = [1, 2, 3].map((nodeId) => ({ nodeId, peerAddress: `h:${nodeId}`, httpAddress: '', locality: '' }))
const { descriptors } = foundingDocument('0'.repeat(32), nodes, 4)

function reportOf(nodeId: number, leads: readonly number[]): NodeReport {
  const ranges = descriptors.map(({ rangeId, epoch, replicas }) => ({
    rangeId,
    epoch,
    replicaId: replicas.find((place) => place.nodeId === nodeId)!.replicaId,
    isLeader: leads.includes(rangeId),
    leader: 0,
    term: 3,
    commitIndex: 10,
    appliedIndex: 10 - nodeId,
    lastIndex: 10,
    quiescent: false,
    bytes: 5,
    readsPerSec: 1.234,
    writesPerSec: 0,
  }))
  return {
    nodeId,
    membership: 'member',
    decommissioned: [],
    store: { condition: 'healthy', space: 'ample' },
    bytes: 25,
    readsPerSec: 0,
    writesPerSec: 0,
    fsyncP50Ms: 1,
    fsyncP99Ms: 2,
    ranges,
    silenced: [],
  }
}

function pictureOf(...reports: NodeReport[]): Picture {
  const byNode = new Map(reports.map((report) => [report.nodeId, report]))
  return {
    clusterId: 'c',
    version: '1',
    registered: nodes,
    descriptors,
    reports: byNode,
    reportOf: indexReports(byNode),
  }
}

describe('the picture of a cluster', () => {
  it('is healthy when every node answers and every range has a leader', () => {
    const picture = pictureOf(reportOf(1, [1, 2, 3, 4, 5]), reportOf(2, []), reportOf(3, []))
    expect(describeCluster(picture)).toMatchObject({ nodeCount: 3, rangeCount: 5, healthy: true })
    expect(describeNode(picture, nodes[0]!)).toMatchObject({ state: 'live', leaders: 5, replicas: 5, bytes: 25 })
  })

  it('says what is wrong, and shows what it does not know as unknown', () => {
    const picture = pictureOf(reportOf(1, [1]), reportOf(2, [2, 3, 4]))
    expect(describeCluster(picture)).toMatchObject({
      healthy: false,
      health: '1 range without a leader; 1 node not reachable (3)',
    })
    expect(describeNode(picture, nodes[2]!)).toMatchObject({ state: 'dead', replicas: 5 })
    const range = describeRange(picture, descriptors[1]!)
    expect(range).toMatchObject({ keyspace: 'default', start: '', end: '4', leader: 2, term: 3, readsPerSec: 1.23 })
    const lags = new Map(range.replicas.map(({ nodeId, lag, appliedIndex }) => [nodeId, [lag, appliedIndex]]))
    expect(lags).toEqual(
      new Map([
        [1, [1, 9]],
        [2, [2, 8]],
        [3, [null, null]],
      ] as [number, unknown[]][]),
    )
    expect(describeRange(picture, descriptors[4]!)).toMatchObject({ leader: null, start: 'c', end: null })
  })

  it('misses nobody who was decommissioned, and is switched off', () => {
    const picture = pictureOf({ ...reportOf(1, [1, 2, 3, 4, 5]), decommissioned: [3] }, reportOf(2, []))
    expect(describeCluster(picture)).toMatchObject({ healthy: true, health: '2 nodes live, every range has a leader' })
    expect(describeNode(picture, nodes[2]!).state).toBe('decommissioned')
  })

  it('counts nobody as live who is drained or decommissioned, whether or not he is there', () => {
    const as = (nodeId: number, membership: string) => ({ ...reportOf(nodeId, []), membership })
    const leader = reportOf(1, [1, 2, 3, 4, 5])
    const healthOf = (...reports: NodeReport[]) => describeCluster(pictureOf(leader, ...reports)).health
    expect(healthOf(as(2, 'draining'), as(3, 'decommissioning'))).toBe(
      '1 node live, 1 draining (2), 1 decommissioning (3), every range has a leader',
    )
    expect(healthOf(as(2, 'member'), as(3, 'decommissioned'))).toBe('2 nodes live, every range has a leader')
  })

  it('says which replicas are damaged, and which ranges stopped for it', () => {
    const silence = (nodeId: number, ...rangeIds: number[]): NodeReport => {
      const report = reportOf(nodeId, nodeId === 1 ? [1, 2, 3, 4, 5] : [])
      const silenced = rangeIds.map(
        (rangeId) => [rangeId, report.ranges.find((range) => range.rangeId === rangeId)!.replicaId] as const,
      )
      return { ...report, silenced }
    }
    const one = pictureOf(silence(1), silence(2), silence(3, 3, 4))
    expect(describeCluster(one)).toMatchObject({ healthy: false, health: '2 replicas with a damaged log' })
    const most = pictureOf(silence(1), silence(2, 4), silence(3, 3, 4))
    expect(describeCluster(most).health).toBe(
      '1 range stopped, most replicas damaged (4); 3 replicas with a damaged log',
    )
  })

  it('says whose disks are slow, nearly full or full', () => {
    const as = (nodeId: number, store: NodeReport['store']): NodeReport => {
      return { ...reportOf(nodeId, nodeId === 1 ? [1, 2, 3, 4, 5] : []), store }
    }
    const picture = pictureOf(
      as(1, { condition: 'slow', space: 'short' }),
      as(2, { condition: 'stalled', space: 'ample' }),
      as(3, { condition: 'healthy', space: 'out' }),
    )
    expect(describeCluster(picture)).toMatchObject({
      healthy: false,
      health: '2 slow or stalled disks (of 1, 2); 1 nearly full disk (of 1); 1 full disk (of 3)',
    })
  })

  it('finds the ranges of a key, a node and a keyspace', () => {
    const starts = (filter: object): number[] => selectDescriptors(descriptors, filter).map(({ rangeId }) => rangeId)
    expect(starts({})).toEqual([1, 2, 3, 4, 5])
    expect(starts({ key: 'default\x008' })).toEqual([4])
    expect(starts({ span: keyspaceSpan('default') })).toEqual([2, 3, 4, 5])
    expect(starts({ span: keyspaceSpan('zebra') })).toEqual([5])
    expect(starts({ node: 9 })).toEqual([])
  })

  it('tells spread keyspaces from plain ones, and shows their bounds with buckets', () => {
    const bounds = [
      'orders\x00',
      'orders\x00x',
      'orders\x01',
      'orders\x018',
      'orders\x01forder-7',
      'p\x00',
      null,
    ] as const
    const cut = bounds.slice(1).map((end, i) => ({ ...descriptors[1]!, rangeId: i + 1, start: bounds[i]!, end }))
    const picture = { ...pictureOf(), descriptors: cut }
    const shown = cut.map((descriptor) => {
      const { keyspace, spread, start, end } = describeRange(picture, descriptor)
      return [keyspace, spread, start, end]
    })
    expect(shown).toEqual([
      ['orders', undefined, '', 'x'],
      ['orders', undefined, 'x', null],
      ['orders', true, '', '8'],
      ['orders', true, '8', 'forder-7'],
      ['orders', true, 'forder-7', null],
      ['p', undefined, '', null],
    ])
    const idsIn = (spread: boolean) =>
      selectDescriptors(cut, { span: keyspaceSpan('orders', spread) }).map(({ rangeId }) => rangeId)
    expect([idsIn(false), idsIn(true)]).toEqual([
      [1, 2],
      [3, 4, 5],
    ])
  })
})
