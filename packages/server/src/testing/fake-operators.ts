import { CordilleraError, type Key } from '@cordillera/base'
import { keyspacePrefix } from '@cordillera/ranges'
import type { OperatorInfo, RangeExplanation, RangeHashes } from '../operator-schemas.js'
import type { OperatorRequest } from '../served-node.js'
import type { ClusterSettings } from '../settings-schema.js'

/** The operators and settings of a node in memory: what was asked for, and operators that end when they are told to. */
export class FakeOperators {
  readonly requests: OperatorRequest[] = []
  readonly waits: number[] = []
  readonly patches: Partial<ClusterSettings>[] = []
  list: OperatorInfo[] = []
  /** What a new operator becomes at once. */
  next: Pick<OperatorInfo, 'state' | 'error' | 'result' | 'goal'> = { state: 'running' }
  /** What waiting rejects with. */
  waitFailure: Error | undefined
  current: ClusterSettings = {
    placementEnabled: true,
    replicas: 3,
    rangeSplitBytes: 64 << 20,
    rangeMergeBytes: 16 << 20,
    rangeMergeCooldownMs: 300_000,
    rangeSplitLoadPerSec: 0,
    deadNodeAfterMs: 300_000,
    movesPerNodeMax: 2,
    snapshotBytesPerSecMax: 32 << 20,
    balanceTolerance: 0.05,
  }
  readonly #waiting = new Set<() => void>()
  readonly #knows: { readonly range: (rangeId: number) => boolean; readonly node: (nodeId: number) => boolean }

  constructor(knows: { range: (rangeId: number) => boolean; node: (nodeId: number) => boolean }) {
    this.#knows = knows
  }

  start(request: OperatorRequest): OperatorInfo {
    this.requests.push(request)
    const rangeId = 'rangeId' in request ? request.rangeId : null
    const nodeIds = request.kind === 'change-replicas' ? [request.add, request.remove] : [nodeOf(request)]
    this.#check(rangeId, nodeIds)
    const same = (one: OperatorInfo): boolean =>
      one.state === 'running' && one.kind === request.kind && one.rangeId === rangeId && one.nodeId === nodeOf(request)
    return this.list.find(same) ?? this.#add(request.kind, rangeId, nodeOf(request) ?? null)
  }

  recover(rangeId: number, acceptDataLoss: boolean): OperatorInfo {
    this.#check(rangeId, [])
    if (acceptDataLoss) return this.#add('recover', rangeId, null)
    throw new CordilleraError('BAD_REQUEST', { detail: 'the last 3 entries of node 2 may be lost' })
  }

  find(operatorId: number): OperatorInfo {
    const found = this.list.find((one) => one.operatorId === operatorId)
    if (found === undefined) throw new CordilleraError('NOT_FOUND', { detail: `there is no operator ${operatorId}` })
    return found
  }

  async await(operatorId: number, timeoutMs: number): Promise<OperatorInfo> {
    this.waits.push(timeoutMs)
    if (this.waitFailure !== undefined) throw this.waitFailure
    if (this.find(operatorId).state === 'running' && timeoutMs > 0) {
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve)
        setTimeout(resolve, timeoutMs).unref()
      })
    }
    return this.find(operatorId)
  }

  get waitingCount(): number {
    return this.#waiting.size
  }

  end(operatorId: number, change: Partial<OperatorInfo>): OperatorInfo {
    const ended = { ...this.find(operatorId), endedAt: '2026-01-01T00:00:05.000Z', ...change }
    this.list = this.list.map((one) => (one.operatorId === operatorId ? ended : one))
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
    return ended
  }

  cancel(operatorId: number): OperatorInfo {
    if (this.find(operatorId).state !== 'running') throw new CordilleraError('CONFLICT', { detail: 'it has ended' })
    return this.end(operatorId, { state: 'cancelled' })
  }

  explain(rangeId: number): RangeExplanation {
    this.#check(rangeId, [])
    const at = '2026-01-01T00:00:00.000Z'
    return {
      rangeId,
      decisions: [{ at, kind: 'merge', verdict: 'no', code: 'warm', detail: 'it has 12 writes a second' }],
    }
  }

  set(patch: Partial<ClusterSettings>): ClusterSettings {
    this.patches.push(patch)
    const merged = { ...this.current, ...patch }
    if (merged.rangeMergeBytes * 2 > merged.rangeSplitBytes) {
      throw new CordilleraError('BAD_REQUEST', { detail: 'rangeMergeBytes must be at most half of rangeSplitBytes' })
    }
    this.current = merged
    return merged
  }

  hashes(rangeIds: readonly number[], rangeId: number | undefined): RangeHashes[] {
    if (rangeId !== undefined) this.#check(rangeId, [])
    return rangeIds
      .filter((id) => rangeId === undefined || id === rangeId)
      .map((id) => ({
        rangeId: id,
        index: 9,
        replicas: [{ nodeId: 1, appliedIndex: 9, hash: id === 1 ? null : 'c0ffee' }],
      }))
  }

  #check(rangeId: number | null, nodeIds: readonly (number | undefined)[]): void {
    if (rangeId !== null && !this.#knows.range(rangeId)) {
      throw new CordilleraError('NOT_FOUND', { detail: `there is no range ${rangeId}` })
    }
    for (const nodeId of nodeIds) {
      if (nodeId === undefined || this.#knows.node(nodeId)) continue
      throw new CordilleraError('NOT_FOUND', { detail: `there is no node ${nodeId}` })
    }
  }

  #add(kind: OperatorInfo['kind'], rangeId: number | null, nodeId: number | null): OperatorInfo {
    const operator: OperatorInfo = {
      operatorId: this.list.length + 1,
      kind,
      rangeId,
      nodeId,
      reason: 'asked for',
      step: 'begins',
      startedAt: '2026-01-01T00:00:00.000Z',
      deadline: '2026-01-01T00:10:00.000Z',
      endedAt: this.next.state === 'running' ? null : '2026-01-01T00:00:01.000Z',
      ...this.next,
    }
    this.list = [operator, ...this.list]
    return operator
  }
}

function nodeOf(request: OperatorRequest): number | undefined {
  return 'nodeId' in request ? request.nodeId : undefined
}

/** Whether a range with these bounds of a user's keys holds the whole key. */
export function holds(range: { keyspace: string; spread?: boolean; start: Key; end: Key | null }, key: Key): boolean {
  const prefix = range.keyspace === '' ? '' : keyspacePrefix(range.keyspace, range.spread)
  return key >= prefix + range.start && (range.end === null || key < prefix + range.end)
}
