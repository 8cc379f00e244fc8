import { Buffer } from 'node:buffer'
import type { CordilleraError, Key, Random, Version } from '@cordillera/base'
import type { CordilleraNode } from '@cordillera/node'
import { keyspacePrefix } from '@cordillera/ranges'
import type { ScanResult } from '@cordillera/router'
import type { Operation } from './operation.js'
import type { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'

/**
 * Clients that put, put on condition, delete, get and scan, one operation at a time each, through the router of whichever
 * node they like, and write down what they saw. A scan is written down as a get of every key: what one at a timestamp of
 * its own sees of a key was there at some moment of it.
 *
 * A write that failed with OUTCOME_UNKNOWN, or whose gateway died, is of unknown outcome; one that failed otherwise was
 * surely not applied and is left out, so that its value must never be read. A condition that failed names a version: that
 * is a read of what has it.
 */
export interface WorkloadOptions {
  readonly clients: number
  /** Keys, spread over the ranges: few, so that clients meet. */
  readonly keys: number
  /** Share of the operations that concern the first key. */
  readonly hotShare: number
  readonly thinkMsMax: number
  readonly timeoutMsMax: number
}

export const defaultWorkload: WorkloadOptions = {
  clients: 8,
  keys: 6,
  hotShare: 0,
  thinkMsMax: 60,
  timeoutMsMax: 2_000,
}

export type OperationKind = Operation['kind'] | 'put-if'

interface Pending {
  readonly kind: OperationKind
  readonly key: string
  readonly value: string | null
  readonly condition: Seen | undefined
  readonly invokedAt: number
}

/** A version that a client came across, and what has it; 0 and null for "absent". */
interface Seen {
  readonly version: Version
  readonly value: string | null
}

const NOTHING: Seen = { version: 0, value: null }

/** How an operation ended: for a get what it read, else what the key is now, or was, when a condition failed. */
interface End {
  readonly outcome: string
  readonly seen: Seen
}

export class Workload {
  readonly history: Operation[] = []
  /** How operations ended: `ok`, `lost`, or the code. */
  readonly outcomes = new Map<string, number>()
  readonly #cluster: SimulatedCluster
  readonly #random: Random
  readonly #options: WorkloadOptions
  readonly #keys: readonly string[]
  /** What was seen of each key last, by anyone. */
  readonly #lastSeen = new Map<string, Seen>()
  readonly #valueOf = new Map<Version, string>()
  /** Conditions that failed against a version of which nothing was known yet. */
  #unexplained: {
    readonly client: number
    readonly pending: Pending
    readonly version: Version
    readonly returnedAt: number
  }[] = []
  #clients = 0
  #values = 0
  #stamp = 0
  #busy = 0
  #isStopped = false

  constructor(cluster: SimulatedCluster, options: WorkloadOptions = defaultWorkload) {
    this.#cluster = cluster
    this.#random = cluster.fork()
    this.#options = options
    this.#keys = Array.from({ length: options.keys }, (_, i) => hexFraction(i / options.keys))
  }

  get isIdle(): boolean {
    return this.#busy === 0
  }

  start(): void {
    for (let i = 0; i < this.#options.clients; i++) this.#think(++this.#clients)
  }

  /** Nothing new begins; what is under way ends by itself. */
  stop(): void {
    this.#isStopped = true
  }

  /** One operation outside of the clients' loops, in the same history. Resolves with how it ended. */
  operate(machine: SimulatedNode, kind: OperationKind, key: string, timeoutMs: number): Promise<string> {
    return new Promise((resolve) => this.#invoke(++this.#clients, machine, { kind, key, timeoutMs }, resolve))
  }

  #think(client: number): void {
    const { clock } = this.#cluster
    clock.after(this.#random.below(this.#options.thinkMsMax * 1_000) / 1_000, () => this.#act(client))
  }

  #act(client: number): void {
    if (this.#isStopped) return
    const random = this.#random
    const up = this.#cluster.machines.filter(({ node }) => node !== undefined)
    if (up.length === 0) {
      this.#think(client)
      return
    }
    const machine = up[random.below(up.length)]!
    const timeoutMs = 20 + random.below(this.#options.timeoutMsMax)
    const onEnd = (outcome: string): void => {
      // A client that does not know what became of its operation goes on as another one.
      const next = outcome === 'ok' ? client : ++this.#clients
      this.#think(next)
    }
    if (random.below(12) === 0) {
      this.#scan(client, machine, timeoutMs, onEnd)
      return
    }
    const kinds = ['put', 'put', 'put-if', 'put-if', 'delete', 'get', 'get', 'get', 'get', 'get'] as const
    const kind = kinds[random.below(kinds.length)]!
    const isHot = random.below(1_000) < this.#options.hotShare * 1_000
    const key = this.#keys[isHot ? 0 : random.below(this.#keys.length)]!
    this.#invoke(client, machine, { kind, key, timeoutMs }, onEnd)
  }

  #invoke(
    client: number,
    machine: SimulatedNode,
    operation: { readonly kind: OperationKind; readonly key: string; readonly timeoutMs: number },
    onEnd: (outcome: string) => void,
  ): void {
    const { node } = machine
    if (node === undefined) {
      onEnd('down')
      return
    }
    const { kind, key, timeoutMs } = operation
    const { clock } = this.#cluster
    const pending: Pending = {
      kind,
      key,
      value: kind === 'put' || kind === 'put-if' ? this.#nextValue() : null,
      condition: kind === 'put-if' ? (this.#lastSeen.get(key) ?? NOTHING) : undefined,
      invokedAt: this.#now(),
    }
    const end = this.#watched(machine, node, (ended: End | undefined) => {
      const known = ended ?? { outcome: 'lost', seen: NOTHING }
      this.#record(client, pending, known)
      onEnd(known.outcome)
    })
    send(node, pending, clock.now() + timeoutMs, end)
  }

  /** The clients' keys at one snapshot, in one page; the keys of other clients lie between them. */
  #scan(client: number, machine: SimulatedNode, timeoutMs: number, onEnd: (outcome: string) => void): void {
    const node = machine.node!
    const invokedAt = this.#now()
    const prefix = keyspacePrefix('default')
    const end = this.#watched(machine, node, (page: ScanResult | CordilleraError | undefined) => {
      const outcome = page === undefined ? 'lost' : page instanceof Error ? page.code : 'ok'
      this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
      const returnedAt = this.#now()
      if (page !== undefined && !(page instanceof Error)) {
        const values = new Map(page.entries.map(({ key, value }) => [key, Buffer.from(value).toString()]))
        for (const key of this.#keys) {
          const value = values.get(prefix + key) ?? null
          this.history.push({ client, key, kind: 'get', value, expected: undefined, invokedAt, returnedAt })
        }
      }
      this.#cluster.trace.noteText(`${this.#cluster.clock.now()} ${client} scan ${outcome}`)
      onEnd(outcome)
    })
    const plan = {
      start: prefix,
      end: `${prefix}\xff`,
      reverse: false,
      limit: 1_000,
      bytesMax: 1 << 20,
      values: true,
      at: 0,
    }
    node.router.scan(plan, this.#cluster.clock.now() + timeoutMs).then(end, end)
  }

  /**
   * What an answer is to be given to, once. The router answers within a moment of the deadline; from a gateway that died
   * nothing is ever heard, which is `undefined`.
   */
  #watched<T>(
    machine: SimulatedNode,
    node: CordilleraNode,
    onEnd: (answer: T | undefined) => void,
  ): (answer: T | undefined) => void {
    const { clock } = this.#cluster
    this.#busy++
    let isOver = false
    const end = (answer: T | undefined): void => {
      if (isOver) return
      isOver = true
      this.#busy--
      onEnd(answer)
    }
    const watch = (): void => {
      if (isOver) return
      if (machine.runs(node)) clock.after(20, watch)
      else end(undefined)
    }
    clock.after(20, watch)
    return end
  }

  #record(client: number, pending: Pending, { outcome, seen }: End): void {
    const { kind, key, invokedAt, condition } = pending
    const { version } = seen
    this.#cluster.trace.noteText(
      `${this.#cluster.clock.now()} ${client} ${kind} ${key} ${outcome} ${version} ${seen.value}`,
    )
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
    const returnedAt = this.#now()
    if (outcome === 'VERSION_MISMATCH') {
      this.#unexplained.push({ client, pending, version, returnedAt })
      return
    }
    const value = kind === 'get' ? seen.value : pending.value
    const operation = { client, key, kind: kind === 'put-if' ? 'put' : kind, value, invokedAt } as const
    const expected = condition?.value
    if (outcome === 'ok') {
      if (version !== 0 && value !== null) this.#valueOf.set(version, value)
      this.#lastSeen.set(key, value === null ? NOTHING : { version, value })
      this.history.push({ ...operation, expected, returnedAt })
    } else if (kind !== 'get' && (outcome === 'lost' || outcome === 'OUTCOME_UNKNOWN')) {
      this.history.push({ ...operation, expected, returnedAt: Number.POSITIVE_INFINITY })
    }
  }

  /** When nothing is under way: what conditions failed against counts as read, as far as it is known. */
  explain(): void {
    for (const { client, pending, version, returnedAt } of this.#unexplained.splice(0)) {
      const value = version === 0 ? null : this.#valueOf.get(version)
      const { key, invokedAt } = pending
      if (value !== undefined) this.history.push({ client, key, kind: 'get', value, invokedAt, returnedAt })
    }
  }

  /** Virtual time, never the same twice. */
  #now(): number {
    this.#stamp = Math.max(this.#stamp + 1e-6, this.#cluster.clock.now())
    return this.#stamp
  }

  /** A value nobody else writes, now and then a large one. */
  #nextValue(): string {
    const value = `v${++this.#values}`
    return this.#random.below(20) === 0 ? value.padEnd(600, '.') : value
  }
}

/** The key of the default keyspace as clients name it, at a fraction of the hex digits that ranges are cut by. */
export function hexFraction(fraction: number): string {
  return Math.floor(fraction * 0x10000)
    .toString(16)
    .padStart(4, '0')
}

function send(node: CordilleraNode, pending: Pending, deadlineMs: number, onEnd: (end: End) => void): void {
  const key: Key = keyspacePrefix('default') + pending.key
  const { router } = node
  const { value, condition } = pending
  const onWritten = (error: CordilleraError | undefined, version: Version): void => {
    const mismatched = error?.code === 'VERSION_MISMATCH' ? (error.details!.version as Version) : version
    onEnd({ outcome: error?.code ?? 'ok', seen: { version: mismatched, value } })
  }
  if (pending.kind === 'delete') router.delete(key, deadlineMs, onWritten)
  else if (pending.kind !== 'get') {
    const guard = condition && { ifVersion: condition.version }
    router.put(key, Buffer.from(value!), deadlineMs, onWritten, guard)
  } else {
    router.get(key, deadlineMs, (error, found) => {
      const seen =
        found === undefined ? NOTHING : { version: found.version, value: Buffer.from(found.value).toString() }
      onEnd({ outcome: error?.code ?? 'ok', seen })
    })
  }
}
