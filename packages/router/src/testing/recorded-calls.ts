import {
  CordilleraError,
  type Key,
  keyFromText,
  type NodeId,
  SeededRandom,
  silentLogger,
  type Version,
} from '@cordillera/base'
import { type Command, type Descriptor, decodeWriteBlock } from '@cordillera/ranges'
import type { RangeReply, RangeRequest, ReadRequest, ScanRequest, VersionedValue, WriteRequest } from '@cordillera/wire'
import { defaultRouterLimits, type RangeCall, Router, type RouterLimits, type SnapshotSource } from '../index.js'
import { VirtualClock } from './virtual-clock.js'

/** A request that was sent, and the way to end it. */
export interface Sent {
  readonly node: NodeId
  readonly request: RangeRequest
  readonly atMs: number
  reply(reply: RangeReply | undefined): void
}

/** A `RangeCall` that keeps what is sent until the test answers it. */
export class RecordedCalls implements RangeCall {
  readonly self = 1
  readonly down = new Set<NodeId>()
  readonly refusesToSend = new Set<NodeId>()
  readonly sent: Sent[] = []
  /** Answers by itself when set and not undefined. */
  script: ((node: NodeId, request: RangeRequest) => RangeReply | 'lost' | undefined) | undefined
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  send(node: NodeId, request: RangeRequest, onReply: (reply: RangeReply | undefined) => void): boolean {
    const isRefused = this.down.has(node) || this.refusesToSend.has(node)
    if (isRefused) return false
    this.sent.push({ node, request, atMs: this.#clock.now(), reply: onReply })
    const reply = this.script?.(node, request)
    if (reply !== undefined) this.#clock.defer(() => onReply(reply === 'lost' ? undefined : reply))
    return true
  }

  isUp(node: NodeId): boolean {
    return !this.down.has(node)
  }

  /** The last request sent. */
  get last(): Sent {
    return this.sent.at(-1)!
  }
}

/** New snapshots are at 77. */
export class RecordedSnapshots implements SnapshotSource {
  readonly opened: Version[] = []
  readonly closed: [Version, boolean][] = []

  open(at: Version, _deadlineMs: number, done: (error: undefined, at: Version) => void): void {
    this.opened.push(at)
    done(undefined, at === 0 ? 77 : at)
  }

  close(at: Version, mayGoOn: boolean): void {
    this.closed.push([at, mayGoOn])
  }
}

export type Answer<Result> = CordilleraError | Result

/** A router over recorded calls, on a virtual clock. Nodes are 1 (this one), 2 and 3. */
export function setUp(limits: Partial<RouterLimits> = {}, descriptors: Descriptor[] = [range({ rangeId: 5 })]) {
  const clock = new VirtualClock()
  const calls = new RecordedCalls(clock)
  const missing: Key[] = []
  const snapshots = new RecordedSnapshots()
  const router = new Router({
    rangeCall: calls,
    incarnation: 1,
    snapshots,
    clock,
    random: new SeededRandom(7),
    logger: silentLogger,
    limits: { ...defaultRouterLimits, ...limits },
    onRouteMissing: (key) => missing.push(key),
  })
  router.learn(descriptors)
  const within = (ms = 5000): number => clock.now() + ms
  return {
    clock,
    calls,
    router,
    missing,
    snapshots,
    /** Runs `put` and collects its answers: a version or an error. */
    put(key: string, value = 'v', deadlineMs = within()): Answer<Version>[] {
      const answers: Answer<Version>[] = []
      router.put(keyFromText(key), Buffer.from(value), deadlineMs, (error, version) => answers.push(error ?? version))
      return answers
    },
    delete(key: string, deadlineMs = within()): Answer<Version>[] {
      const answers: Answer<Version>[] = []
      router.delete(key, deadlineMs, (error, version) => answers.push(error ?? version))
      return answers
    },
    get(key: string, deadlineMs = within()): Answer<VersionedValue | undefined>[] {
      const answers: Answer<VersionedValue | undefined>[] = []
      router.get(key, deadlineMs, (error, value) => answers.push(error ?? value))
      return answers
    },
  }
}

export function range(parts: Partial<Descriptor> & { version?: number; confVersion?: number }): Descriptor {
  const { version = 1, confVersion = 1, rangeId = 5, start = '', end = null } = parts
  const replicas =
    parts.replicas ?? [1, 2, 3].map((nodeId) => ({ replicaId: rangeId * 10 + nodeId, nodeId, type: 'voter' as const }))
  return { rangeId, start, end, epoch: parts.epoch ?? { version, confVersion }, replicas }
}

export function written(request: RangeRequest, version = 1): RangeReply {
  return { kind: 'written', outcomes: Array.from({ length: (request as WriteRequest).count }, () => version) }
}

/** Values that are the keys. */
export function values(request: RangeRequest): RangeReply {
  const { keys } = request as ReadRequest
  return { kind: 'values', values: keys.map((key) => ({ version: 1, value: Buffer.from(key) })) }
}

export function success(request: RangeRequest): RangeReply {
  if (request.kind === 'write') return written(request)
  if (request.kind === 'read') return values(request)
  return { kind: 'scanned', entries: [], more: false }
}

type Refused = Extract<RangeReply, { kind: 'refused' }>

export function refused(reason: Refused['reason'], leader = 0, descriptors: readonly Descriptor[] = []): Refused {
  return { kind: 'refused', reason, leader, descriptors }
}

export function commandsOf(request: RangeRequest): readonly Command[] {
  return decodeWriteBlock((request as WriteRequest).block).commands
}

export function epochOf(request: RangeRequest): number {
  if (request.kind === 'timestamps' || request.kind === 'index') return 0
  return request.kind === 'write' ? decodeWriteBlock(request.block).epochVersion : request.epochVersion
}

export function keysOf(request: RangeRequest): Key[] {
  if (request.kind === 'read') return [...request.keys]
  return request.kind === 'write' ? commandsOf(request).map(({ key }) => key) : [(request as ScanRequest).start]
}

/** The code of the only answer. */
export function codeOf(answers: readonly unknown[]): string | undefined {
  const [answer] = answers
  return answers.length === 1 && answer instanceof CordilleraError ? answer.code : undefined
}
