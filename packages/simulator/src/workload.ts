import { Buffer } from 'node:buffer'
import type { CordilleraError, Key, Random } from '@cordillera/base'
import type { CordilleraNode } from '@cordillera/node'
import { keyspacePrefix } from '@cordillera/ranges'
import type { Operation } from './operation.js'
import type { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'

/**
 * Clients that put, delete and get, one operation at a time each, through the router of whichever node they like, and
 * write down what they saw.
 *
 * A write that failed with OUTCOME_UNKNOWN, or whose gateway died, is of unknown outcome; one that failed otherwise was
 * surely not applied and is left out, so that its value must never be read.
 */
export interface WorkloadOptions {
  readonly clients: number
  /** Keys, spread over the ranges: few, so that clients meet. */
  readonly keys: number
  readonly thinkMsMax: number
  readonly timeoutMsMax: number
}

export const defaultWorkload: WorkloadOptions = { clients: 8, keys: 6, thinkMsMax: 60, timeoutMsMax: 2_000 }

interface Pending {
  readonly kind: Operation['kind']
  readonly key: string
  readonly value: string | null
  readonly invokedAt: number
}

export class Workload {
  readonly history: Operation[] = []
  /** How operations ended: `ok`, `lost`, or the code. */
  readonly outcomes = new Map<string, number>()
  readonly #cluster: SimulatedCluster
  readonly #random: Random
  readonly #options: WorkloadOptions
  readonly #keys: readonly string[]
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
  operate(machine: SimulatedNode, kind: Operation['kind'], key: string, timeoutMs: number): Promise<string> {
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
    const kind = (['put', 'put', 'put', 'delete', 'get', 'get', 'get', 'get', 'get'] as const)[random.below(9)]!
    const key = this.#keys[random.below(this.#keys.length)]!
    const timeoutMs = 20 + random.below(this.#options.timeoutMsMax)
    this.#invoke(client, machine, { kind, key, timeoutMs }, (outcome) => {
      // A client that does not know what became of its operation goes on as another one.
      const next = outcome === 'ok' ? client : ++this.#clients
      this.#think(next)
    })
  }

  #invoke(
    client: number,
    machine: SimulatedNode,
    operation: { readonly kind: Operation['kind']; readonly key: string; readonly timeoutMs: number },
    onEnd: (outcome: string) => void,
  ): void {
    const { node } = machine
    if (node === undefined) {
      onEnd('down')
      return
    }
    const { kind, key, timeoutMs } = operation
    const { clock } = this.#cluster
    const pending: Pending = { kind, key, value: kind === 'put' ? this.#nextValue() : null, invokedAt: this.#now() }
    this.#busy++
    let isOver = false
    const end = (outcome: string, value: string | null): void => {
      if (isOver) return
      isOver = true
      this.#busy--
      this.#record(client, pending, outcome, value)
      onEnd(outcome)
    }
    // The router answers within a moment of the deadline; from a gateway that died nothing is ever heard.
    const watch = (): void => {
      if (isOver) return
      if (machine.runs(node)) clock.after(20, watch)
      else end('lost', null)
    }
    clock.after(20, watch)
    send(node, pending, clock.now() + timeoutMs, (error, value) => end(error?.code ?? 'ok', value))
  }

  #record(client: number, pending: Pending, outcome: string, read: string | null): void {
    const { kind, key, invokedAt } = pending
    this.#cluster.trace.noteText(`${this.#cluster.clock.now()} ${client} ${kind} ${key} ${outcome} ${read}`)
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
    const value = kind === 'get' ? read : pending.value
    if (outcome === 'ok') this.history.push({ client, key, kind, value, invokedAt, returnedAt: this.#now() })
    else if (kind !== 'get' && (outcome === 'lost' || outcome === 'OUTCOME_UNKNOWN')) {
      this.history.push({ client, key, kind, value, invokedAt, returnedAt: Number.POSITIVE_INFINITY })
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

function send(
  node: CordilleraNode,
  pending: Pending,
  deadlineMs: number,
  done: (error: CordilleraError | undefined, value: string | null) => void,
): void {
  const key: Key = keyspacePrefix('default') + pending.key
  const { router } = node
  if (pending.kind === 'put') {
    router.put(key, Buffer.from(pending.value!), deadlineMs, (error) => done(error, pending.value))
  } else if (pending.kind === 'delete') {
    router.delete(key, deadlineMs, (error) => done(error, null))
  } else {
    router.get(key, deadlineMs, (error, found) => {
      done(error, found === undefined ? null : Buffer.from(found.value).toString())
    })
  }
}
