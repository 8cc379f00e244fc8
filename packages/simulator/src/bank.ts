import { Buffer } from 'node:buffer'
import type { CordilleraError, Key, Random, Version } from '@cordillera/base'
import type { CordilleraNode } from '@cordillera/node'
import { keyspacePrefix, type Mutation } from '@cordillera/ranges'
import { checkLinearizable } from './linearizability.js'
import type { Operation } from './operation.js'
import type { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'
import { hexFraction } from './workload.js'

/**
 * Clients that move money between accounts that lie in different ranges: they read all accounts at one snapshot, and write two or
 * three of them in one atomic batch, on condition that nobody has written them since. Now and then one writes a single account
 * (the same balance) or reads one, past whatever has locked it.
 *
 * Whatever happens, the accounts hold the same sum in every snapshot, nothing of a batch that failed is ever read, and each account
 * by itself is linearizable.
 */
export interface BankOptions {
  readonly clients: number
  readonly accounts: number
}

const OPENING_BALANCE = 100
const THINK_MS_MAX = 150

interface Account {
  readonly key: string
  readonly version: Version
  readonly balance: number
  /** As it is stored; null: nobody has written it yet. */
  readonly stored: string | null
}

export class Bank {
  readonly violations: string[] = []
  readonly counts = { transfers: 0, conflicts: 0, unknown: 0, refused: 0, audits: 0 }
  readonly #cluster: SimulatedCluster
  readonly #random: Random
  readonly #options: BankOptions
  readonly #keys: readonly string[]
  readonly #history: Operation[] = []
  #tags = 0
  #stamp = 0
  #busy = 0
  #isStopped = false

  constructor(cluster: SimulatedCluster, options: BankOptions) {
    this.#cluster = cluster
    this.#random = cluster.fork()
    this.#options = options
    this.#keys = Array.from(
      { length: options.accounts },
      (_, i) => `${hexFraction((i + 0.5) / options.accounts)}-account`,
    )
  }

  get isIdle(): boolean {
    return this.#busy === 0
  }

  /** Operations that were answered as they should be. */
  get operations(): number {
    return this.counts.transfers + this.counts.conflicts + this.counts.audits
  }

  start(): void {
    for (let i = 0; i < this.#options.clients; i++) void this.#work(i)
  }

  /** Nothing new begins; what is under way ends by itself. */
  stop(): void {
    this.#isStopped = true
  }

  /** When nothing is under way. */
  check(): void {
    const verdict = checkLinearizable(this.#history)
    if (!verdict.ok) this.violations.push(`not linearizable: account ${verdict.key}: ${verdict.detail}`)
  }

  async #work(client: number): Promise<void> {
    const { clock } = this.#cluster
    while (!this.#isStopped) {
      await new Promise<void>((resolve) => clock.after(this.#random.below(THINK_MS_MAX * 1_000) / 1_000, resolve))
      const up = this.#cluster.machines.filter(({ node }) => node !== undefined)
      if (this.#isStopped || up.length === 0) continue
      this.#busy++
      await this.#act(client, up[this.#random.below(up.length)]!)
      this.#busy--
    }
  }

  async #act(client: number, machine: SimulatedNode): Promise<void> {
    const deadlineMs = this.#cluster.clock.now() + 200 + this.#random.below(2_000)
    if (this.#random.below(6) === 0) {
      await this.#look(client, machine, deadlineMs)
      return
    }
    const accounts = await this.#audit(client, machine, deadlineMs)
    if (accounts === undefined || machine.node === undefined) return
    if (this.#random.below(8) === 0) await this.#write(client, machine, [this.#pick(accounts, 1)[0]!], [0], deadlineMs)
    else {
      const chosen = this.#pick(accounts, this.#random.below(3) === 0 ? 3 : 2)
      const amount = 1 + this.#random.below(20)
      const changes = chosen.length === 3 ? [-2 * amount, amount, amount] : [-amount, amount]
      await this.#write(client, machine, chosen, changes, deadlineMs)
    }
  }

  #pick(accounts: readonly Account[], count: number): Account[] {
    const left = [...accounts]
    return Array.from({ length: count }, () => left.splice(this.#random.below(left.length), 1)[0]!)
  }

  /** All accounts at one snapshot; undefined: it could not be read. */
  async #audit(client: number, machine: SimulatedNode, deadlineMs: number): Promise<readonly Account[] | undefined> {
    const prefix = keyspacePrefix('default')
    const invokedAt = this.#now()
    const span = { start: prefix, end: `${prefix}\xff`, reverse: false, limit: 1_000, bytesMax: 1 << 20, values: true }
    const page = await this.#answer(machine, (node) => node.router.scan({ ...span, at: 0 }, deadlineMs))
    if (page === undefined || page instanceof Error) return undefined
    const returnedAt = this.#now()
    const entries = new Map(page.entries.map((entry) => [entry.key, entry]))
    const accounts = this.#keys.map((key): Account => {
      const entry = entries.get(prefix + key)
      const stored = entry === undefined ? null : Buffer.from(entry.value).toString()
      this.#history.push({ client, key, kind: 'get', value: stored, invokedAt, returnedAt })
      return { key, version: entry?.version ?? 0, stored, balance: balanceOf(stored) }
    })
    const sum = accounts.reduce((total, { balance }) => total + balance, 0)
    this.counts.audits++
    if (sum !== this.#keys.length * OPENING_BALANCE) {
      const shown = accounts.map(({ key, version, stored }) => `${key}=${stored}@${version}`).join(', ')
      this.violations.push(`bank: at ${page.at} the accounts hold ${sum}: ${shown}`)
    }
    return accounts
  }

  /** One account, as it is now. */
  async #look(client: number, machine: SimulatedNode, deadlineMs: number): Promise<void> {
    const key = this.#keys[this.#random.below(this.#keys.length)]!
    const invokedAt = this.#now()
    const read = (node: CordilleraNode): Promise<string | null> =>
      new Promise((resolve, reject) => {
        node.router.get(keyspacePrefix('default') + key, deadlineMs, (error, found) => {
          if (error !== undefined) reject(error)
          else resolve(found === undefined ? null : Buffer.from(found.value).toString())
        })
      })
    const value = await this.#answer(machine, read)
    if (value === undefined || value instanceof Error) return
    this.counts.audits++
    this.#history.push({ client, key, kind: 'get', value, invokedAt, returnedAt: this.#now() })
  }

  async #write(
    client: number,
    machine: SimulatedNode,
    accounts: readonly Account[],
    changes: readonly number[],
    deadlineMs: number,
  ): Promise<void> {
    const tag = ++this.#tags
    const values = accounts.map(({ balance }, i) => `${balance + changes[i]!} #${tag}`)
    const mutations = accounts.map(({ key, version }, i): Mutation => {
      const guard = { ifVersion: version }
      return { kind: 'put', key: keyspacePrefix('default') + key, value: Buffer.from(values[i]!), guard }
    })
    const invokedAt = this.#now()
    const answer = await this.#answer(machine, (node) => writeThrough(node, mutations, deadlineMs))
    const outcome = answer === undefined ? 'lost' : answer instanceof Error ? answer.code : 'ok'
    this.#cluster.trace.noteText(`${this.#cluster.clock.now()} ${client} bank ${tag} ${outcome} ${answer}`)
    const isUnknown = outcome === 'lost' || outcome === 'OUTCOME_UNKNOWN'
    if (outcome === 'ok') this.counts.transfers++
    else if (isUnknown) this.counts.unknown++
    else if (outcome === 'VERSION_MISMATCH') this.counts.conflicts++
    else this.counts.refused++
    if (outcome !== 'ok' && !isUnknown) return
    const returnedAt = isUnknown ? Number.POSITIVE_INFINITY : this.#now()
    for (const [i, { key, stored: expected }] of accounts.entries()) {
      this.#history.push({ client, key, kind: 'put', value: values[i]!, expected, invokedAt, returnedAt })
    }
  }

  /** What comes of it; undefined when the gateway has died, of which nothing is ever heard. */
  #answer<T>(
    machine: SimulatedNode,
    ask: (node: CordilleraNode) => Promise<T>,
  ): Promise<T | CordilleraError | undefined> {
    const { node } = machine
    if (node === undefined) return Promise.resolve(undefined)
    const { clock } = this.#cluster
    return new Promise((resolve) => {
      let isOver = false
      const end = (answer: T | CordilleraError | undefined): void => {
        isOver = true
        resolve(answer)
      }
      const watch = (): void => {
        if (isOver) return
        if (machine.runs(node)) clock.after(20, watch)
        else end(undefined)
      }
      clock.after(20, watch)
      ask(node).then(end, end)
    })
  }

  /** Virtual time, never the same twice. */
  #now(): number {
    this.#stamp = Math.max(this.#stamp + 1e-6, this.#cluster.clock.now())
    return this.#stamp
  }
}

function writeThrough(node: CordilleraNode, mutations: readonly Mutation[], deadlineMs: number): Promise<Version> {
  const [only, ...others] = mutations
  if (others.length > 0 || only?.kind !== 'put') return node.router.transactions.write(mutations, deadlineMs)
  const key: Key = only.key
  return new Promise((resolve, reject) => {
    const done = (error: CordilleraError | undefined, version: Version): void =>
      error === undefined ? resolve(version) : reject(error)
    node.router.put(key, only.value, deadlineMs, done, only.guard)
  })
}

function balanceOf(stored: string | null): number {
  return stored === null ? OPENING_BALANCE : Number(stored.split(' ')[0])
}
