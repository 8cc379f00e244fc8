import { CordilleraError, type Key, type Version } from '@cordillera/base'
import type { ClusterInfo, NodeInfo, RangeInfo } from '../admin-schemas.js'
import type { ScannedPage, ScanPage, ServedNode, ServedRangeFilter, ServedRouter } from '../served-node.js'

/** A node in memory: a sorted map, a version a write, and switches that make it fail or wait. */
export class FakeNode implements ServedNode {
  readonly data = new Map<Key, { version: Version; value: Uint8Array }>()
  readonly deadlines: number[] = []
  readonly filters: ServedRangeFilter[] = []
  ready = true
  /** What every operation answers instead. */
  failure: CordilleraError | undefined
  /** While true, answers wait in {@link held}. */
  holding = false
  readonly held: (() => void)[] = []
  pagesMax = Number.POSITIVE_INFINITY
  rangeList: RangeInfo[] = [range(1, '', '', null), range(2, 'default', '', '8'), range(3, 'default', '8', null)]
  #version = 0

  readonly router: ServedRouter = {
    put: (key, value, deadlineMs, done) => {
      this.deadlines.push(deadlineMs)
      this.#answer(() => {
        if (this.failure !== undefined) return done(this.failure, 0)
        this.data.set(key, { version: ++this.#version, value })
        done(undefined, this.#version)
      })
    },
    delete: (key, deadlineMs, done) => {
      this.deadlines.push(deadlineMs)
      this.#answer(() => {
        if (this.failure !== undefined) return done(this.failure, 0)
        this.data.delete(key)
        done(undefined, ++this.#version)
      })
    },
    get: (key, deadlineMs, done) => {
      this.deadlines.push(deadlineMs)
      this.#answer(() => done(this.failure, this.failure === undefined ? this.data.get(key) : undefined))
    },
    scan: async (page, deadlineMs) => {
      this.deadlines.push(deadlineMs)
      if (this.failure !== undefined) throw this.failure
      if (this.pagesMax-- <= 0) throw new CordilleraError('UNAVAILABLE', { detail: 'no leader' })
      return this.#scan(page)
    },
  }

  async cluster(): Promise<ClusterInfo> {
    const rangeCount = this.rangeList.length
    return { clusterId: 'c1', version: '0.1.0', nodeCount: 1, rangeCount, healthy: true, health: 'all is well' }
  }

  async nodes(): Promise<NodeInfo[]> {
    return [node(1), node(2)]
  }

  async ranges(filter: ServedRangeFilter): Promise<{ ranges: RangeInfo[] }> {
    this.filters.push(filter)
    return { ranges: this.rangeList }
  }

  metrics(): object {
    return { routerWritesTotal: 7, ranges: 3, logFsyncTotal: 99, nested: {} }
  }

  isReady(): boolean {
    return this.ready
  }

  #answer(callback: () => void): void {
    if (this.holding) this.held.push(callback)
    else queueMicrotask(callback)
  }

  #scan({ start, end, reverse, limit, values, bytesMax }: ScanPage): ScannedPage {
    const keys = [...this.data.keys()].filter((key) => key >= start && (end === null || key < end)).sort()
    if (reverse) keys.reverse()
    const entries = []
    let bytes = 0
    for (const key of keys) {
      const { version, value } = this.data.get(key)!
      bytes += key.length + value.length
      if (entries.length >= limit || (entries.length > 0 && bytes > bytesMax)) return { entries, more: true }
      entries.push({ key, version, value: values ? value : new Uint8Array() })
    }
    return { entries, more: false }
  }
}

function node(nodeId: number): NodeInfo {
  return {
    nodeId,
    peerAddress: `127.0.0.1:710${nodeId}`,
    httpAddress: `127.0.0.1:707${nodeId}`,
    locality: '',
    state: 'live',
    replicas: 3,
    leaders: 1,
    bytes: 0,
    readsPerSec: 0.5,
    writesPerSec: 0,
    fsyncP50Ms: 0.2,
    fsyncP99Ms: 1.25,
  }
}

export function range(rangeId: number, keyspace: string, start: Key, end: Key | null): RangeInfo {
  return {
    rangeId,
    keyspace,
    start,
    end,
    epoch: { version: 1, confVersion: 1 },
    leader: rangeId === 3 ? null : 1,
    term: 2,
    bytes: 0,
    readsPerSec: 0,
    writesPerSec: 0,
    replicas: [{ replicaId: rangeId * 10, nodeId: 1, type: 'voter', commitIndex: 5, appliedIndex: null, lag: null }],
  }
}
