import { Buffer } from 'node:buffer'
import { CordilleraError, type Key, type Version } from '@cordillera/base'
import type { Mutation, WriteGuard } from '@cordillera/ranges'
import type { ClusterInfo, NodeInfo, RangeInfo } from '../admin-schemas.js'
import type { OperatorInfo, RangeExplanation, RangeHashes } from '../operator-schemas.js'
import type {
  OperatorRequest,
  ScannedPage,
  ScanPage,
  ServedNode,
  ServedPlacement,
  ServedRangeFilter,
  ServedRouter,
  ServedValue,
  WriteDone,
} from '../served-node.js'
import type { ClusterSettings } from '../settings-schema.js'
import { FakeOperators, holds } from './fake-operators.js'

/** A version, or the refusal. */
type Outcome = Version | CordilleraError

interface Operation {
  readonly fingerprint: string
  readonly outcome: Outcome
}

/**
 * A node in memory: a sorted map, a version a write, conditions, writes that take effect once, snapshots for scans, and
 * switches that make it fail or wait.
 */
export class FakeNode implements ServedNode, ServedPlacement {
  readonly placement: ServedPlacement = this
  readonly data = new Map<Key, ServedValue>()
  readonly deadlines: number[] = []
  /** Of every write, in order. */
  readonly guards: (WriteGuard | undefined)[] = []
  /** Of every page of a scan, in order. */
  readonly pages: ScanPage[] = []
  /** By version: what a scan that began then sees. Cleared, they have expired. */
  readonly snapshots = new Map<Version, ReadonlyMap<Key, ServedValue>>()
  readonly filters: ServedRangeFilter[] = []
  unready: string | undefined
  /** What every operation answers instead. */
  failure: CordilleraError | undefined
  /** While true, answers wait in {@link held}. */
  holding = false
  readonly held: (() => void)[] = []
  pagesMax = Number.POSITIVE_INFINITY
  /** After so many pages every snapshot has expired. */
  expireAfterPages = Number.POSITIVE_INFINITY
  rangeList: RangeInfo[] = [range(1, '', '', '\x01'), range(2, 'default', '', '8'), range(3, 'default', '8', null)]
  operatorLog = new FakeOperators({
    range: (rangeId) => this.rangeList.some((one) => one.rangeId === rangeId),
    node: (nodeId) => nodeId <= 2,
  })
  #version = 0
  readonly #operations = new Map<string, Operation>()

  readonly router: ServedRouter = {
    put: (key, value, deadlineMs, done, guard) => this.#write(key, value, deadlineMs, done, guard),
    delete: (key, deadlineMs, done, guard) => this.#write(key, undefined, deadlineMs, done, guard),
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
    transactions: {
      write: async (mutations, deadlineMs, idempotency) => {
        this.deadlines.push(deadlineMs)
        this.#failIfAsked()
        const outcome = this.#once(() => this.#runAll(mutations), idempotency)
        if (outcome instanceof Error) throw outcome
        return outcome
      },
    },
    scanMerged: async (page, deadlineMs) => {
      this.deadlines.push(deadlineMs)
      if (this.failure !== undefined) throw this.failure
      if (this.pagesMax-- <= 0) throw new CordilleraError('UNAVAILABLE', { detail: 'no leader' })
      return this.#scan(page, page.prefixes)
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
    const { key } = filter
    return { ranges: key === undefined ? this.rangeList : this.rangeList.filter((one) => holds(one, key)) }
  }

  async startOperator(request: OperatorRequest): Promise<OperatorInfo> {
    this.#failIfAsked()
    return this.operatorLog.start(request)
  }

  async operators(): Promise<OperatorInfo[]> {
    return this.operatorLog.list
  }

  awaitOperator(operatorId: number, timeoutMs: number): Promise<OperatorInfo> {
    return this.operatorLog.await(operatorId, timeoutMs)
  }

  async cancelOperator(operatorId: number): Promise<OperatorInfo> {
    return this.operatorLog.cancel(operatorId)
  }

  async explain(rangeId: number): Promise<RangeExplanation> {
    return this.operatorLog.explain(rangeId)
  }

  async settings(): Promise<ClusterSettings> {
    this.#failIfAsked()
    return this.operatorLog.current
  }

  async setSettings(patch: Partial<ClusterSettings>): Promise<ClusterSettings> {
    this.#failIfAsked()
    return this.operatorLog.set(patch)
  }

  async hashes(rangeId: number | undefined): Promise<RangeHashes[]> {
    const ids = this.rangeList.map((one) => one.rangeId)
    return this.operatorLog.hashes(ids, rangeId)
  }

  async recoverRange(rangeId: number, acceptDataLoss: boolean): Promise<OperatorInfo> {
    return this.operatorLog.recover(rangeId, acceptDataLoss)
  }

  metrics(): object {
    return { routerWritesTotal: 7, ranges: 3, logFsyncTotal: 99, nested: {} }
  }

  whyUnready(): string | undefined {
    return this.unready
  }

  #failIfAsked(): void {
    if (this.failure !== undefined) throw this.failure
  }

  #answer(callback: () => void): void {
    if (this.holding) this.held.push(callback)
    else queueMicrotask(callback)
  }

  #write(
    key: Key,
    value: Uint8Array | undefined,
    deadlineMs: number,
    done: WriteDone,
    guard: WriteGuard | undefined,
  ): void {
    this.deadlines.push(deadlineMs)
    this.guards.push(guard)
    this.#answer(() => {
      const outcome = this.failure ?? this.#once(() => this.#run(key, value, guard), guard?.idempotency)
      if (outcome instanceof Error) done(outcome, 0)
      else done(undefined, outcome)
    })
  }

  #once(run: () => Outcome, idempotency: Uint8Array | undefined): Outcome {
    if (idempotency === undefined) return run()
    const hex = Buffer.from(idempotency).toString('hex')
    const [id, fingerprint] = [hex.slice(0, 32), hex.slice(32)]
    const known = this.#operations.get(id)
    if (known !== undefined && known.fingerprint !== fingerprint) return new CordilleraError('IDEMPOTENCY_KEY_REUSED')
    const outcome = known?.outcome ?? run()
    this.#operations.set(id, { fingerprint, outcome })
    return outcome
  }

  /** All of it at one version, or nothing. */
  #runAll(mutations: readonly Mutation[]): Outcome {
    for (const { key, guard } of mutations) {
      const version = this.data.get(key)?.version ?? 0
      const isMet = (guard?.ifVersion ?? version) === version
      if (!isMet) return new CordilleraError('VERSION_MISMATCH', { details: { version } })
    }
    const written = ++this.#version
    for (const mutation of mutations) {
      if (mutation.kind === 'put') this.data.set(mutation.key, { version: written, value: mutation.value })
      else if (mutation.kind === 'delete') this.data.delete(mutation.key)
    }
    return written
  }

  #run(key: Key, value: Uint8Array | undefined, guard: WriteGuard | undefined): Outcome {
    const version = this.data.get(key)?.version ?? 0
    const holds = (guard?.ifVersion ?? version) === version && !(guard?.ifPresent && version === 0)
    if (!holds) return new CordilleraError('VERSION_MISMATCH', { details: { version } })
    const written = ++this.#version
    if (value === undefined) this.data.delete(key)
    else this.data.set(key, { version: written, value })
    return written
  }

  /** The span behind each prefix, in the order of what stands behind it. */
  #scan(page: ScanPage, prefixes: readonly Key[] = ['']): ScannedPage {
    const { start, end, reverse, limit, values, bytesMax } = page
    this.pages.push(page)
    const at = page.at === 0 ? ++this.#version : page.at
    if (page.at === 0) this.snapshots.set(at, new Map(this.data))
    if (this.expireAfterPages-- <= 0) this.snapshots.clear()
    const data = this.snapshots.get(at)
    if (data === undefined) throw new CordilleraError('SNAPSHOT_EXPIRED')
    const rest = (key: Key): Key => key.slice(prefixes[0]!.length)
    const keys = [...data.keys()]
      .filter((key) => prefixes.some((prefix) => key.startsWith(prefix)))
      .filter((key) => rest(key) >= start && (end === null || rest(key) < end))
      .sort((a, b) => (rest(a) < rest(b) ? -1 : 1))
    if (reverse) keys.reverse()
    const entries = []
    let bytes = 0
    for (const key of keys) {
      const { version, value } = data.get(key)!
      bytes += key.length + value.length
      if (entries.length >= limit || (entries.length > 0 && bytes > bytesMax)) return { entries, more: true, at }
      entries.push({ key, version, value: values ? value : new Uint8Array() })
    }
    return { entries, more: false, at }
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
