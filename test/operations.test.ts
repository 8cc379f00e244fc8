import { checkLinearizable } from '@cordillera/simulator'
import { expect, test } from 'vitest'
import type { NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get } from './http-client.js'
import { RecordedClients } from './recorded-clients.js'
import { afterTest, newNode, startCluster } from './scratch.js'

/**
 * A day of operations in two minutes, under load: one range becomes 64, every leadership moves twice, replicas move to a fourth
 * node that joins, the first node is decommissioned, and 64 ranges become 16. No request fails, nothing acknowledged is lost,
 * and what was read fits one order of all operations.
 */
const CLIENTS = 24
const QUIET_MS = 10_000
/** Commands under way at once. */
const HANDS = 4
const RANGES = 64
const COMMAND_MS = 150_000
/** What writes may take meanwhile, at the 99th percentile, of what they take in the quiet cluster. */
const P99_FACTOR_MAX = 3

interface Range {
  readonly rangeId: number
  readonly start: string
  readonly leader: number | null
  readonly replicas: readonly { readonly replicaId: number; readonly nodeId: number }[]
}

class Operator {
  readonly #node: NodeProcess

  constructor(node: NodeProcess) {
    this.#node = node
  }

  async ranges(): Promise<Range[]> {
    const { ranges } = await this.#node.json('/v1/admin/ranges?limit=1000')
    return ranges.filter(({ rangeId }: Range) => rangeId !== 1)
  }

  async holderOf(key: string): Promise<Range> {
    return (await this.ranges()).filter(({ start }) => start <= key).at(-1)!
  }

  /** What goes on, for whoever reads why a command was not done. */
  async #running(): Promise<string> {
    const { operators } = await this.#node.json('/v1/admin/operators')
    return JSON.stringify(operators.filter(({ state }: { readonly state: string }) => state === 'running'))
  }

  /** Until it is done: placement, too, changes ranges, and what a command is about may be another range by then. */
  async command(path: () => Promise<string | undefined>, name: string, body: object = {}): Promise<void> {
    await eventually(
      `${name} ${JSON.stringify(body)}`,
      async () => {
        const target = await path()
        if (target === undefined) return true
        const answer = await fetch(`${this.#node.url}${target}/${name}?wait=true&timeoutMs=60000`, {
          method: 'POST',
          body: JSON.stringify(body),
        })
        const text = `${await answer.text()}${answer.status === 200 ? '' : await this.#running()}`
        expect([answer.status, text]).toEqual([200, expect.stringContaining('"state":"done"')])
        return true
      },
      COMMAND_MS,
    )
  }
}

async function withHands<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const hand = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: HANDS }, hand))
}

/** The first keys of all ranges but the first. */
const CUTS = Array.from({ length: RANGES - 1 }, (_, i) => ((i + 1) * 4).toString(16).padStart(2, '0'))
const pathOf = ({ rangeId }: Range): string => `/v1/admin/ranges/${rangeId}`

test('splits, transfers, a node that joins, moves, a decommission and merges, under load', {
  timeout: 400_000,
}, async () => {
  const cluster = await startCluster({ initialRanges: 1 })
  const [first] = cluster.nodes
  const clients = new RecordedClients(cluster, CLIENTS)
  afterTest(() => clients.stop().catch(() => {}))
  const operator = new Operator(cluster.nodes[1]!)
  clients.start()
  const steps: string[] = []
  let beganAt = performance.now()
  const step = (name: string): void => {
    const writeMs = clients.takeWriteMs()
    const p99 = writeMs[Math.floor(writeMs.length * 0.99)] ?? 0
    const seconds = (performance.now() - beganAt) / 1_000
    steps.push(
      `${name}: ${seconds.toFixed(1)} s, ${(writeMs.length / seconds).toFixed(0)} writes/s, p99 ${p99.toFixed(0)} ms`,
    )
    beganAt = performance.now()
    all = all.concat(writeMs)
  }
  let all: number[] = []
  await new Promise((resolve) => setTimeout(resolve, QUIET_MS))
  step('quiet')
  const quiet = all
  all = []

  await withHands(CUTS, (key) =>
    operator.command(
      async () => {
        const holder = await operator.holderOf(key)
        return holder.start === key ? undefined : pathOf(holder)
      },
      'split',
      { key },
    ),
  )
  expect(await operator.ranges()).toHaveLength(RANGES)
  step(`${CUTS.length} splits`)

  for (const round of [1, 2]) {
    await withHands(await operator.ranges(), async ({ rangeId, replicas, leader }) => {
      const node = replicas.find(({ nodeId }) => nodeId !== leader)!.nodeId
      await operator.command(async () => `/v1/admin/ranges/${rangeId}`, 'transfer-leader', { node })
    })
    step(`leaderships, round ${round}`)
  }

  const fourth = await newNode({ name: 'fourth', flags: ['--join', first!.peerAddress] })
  fourth.start()
  await fourth.waitUntilReady()
  step('a fourth node')
  await withHands((await operator.ranges()).slice(0, 8), async ({ rangeId, replicas }) => {
    const has = replicas.some(({ nodeId }) => nodeId === 4)
    if (!has) await operator.command(async () => `/v1/admin/ranges/${rangeId}`, 'replicas', { add: 4, remove: 1 })
  })
  step('moves')
  await operator.command(async () => '/v1/admin/nodes/1', 'decommission')
  for (const { replicas } of await operator.ranges()) {
    expect(replicas.map(({ nodeId }) => nodeId).sort()).toEqual([2, 3, 4])
  }
  step('decommission')

  const going = CUTS.filter((_, i) => (i + 1) % 4 !== 0)
  const leftOf = async (key: string): Promise<string | undefined> => {
    const ranges = await operator.ranges()
    const at = ranges.findIndex(({ start }) => start === key)
    return at < 0 ? undefined : pathOf(ranges[at - 1]!)
  }
  await withHands(going, async (key) => {
    // Who asks for what is under way already is answered with that: it may be the merge with the neighbour before this one.
    while ((await leftOf(key)) !== undefined) await operator.command(() => leftOf(key), 'merge')
  })
  expect(await operator.ranges()).toHaveLength(16)
  step('merges')
  await clients.stop()

  const p99Of = (sorted: readonly number[]): number => sorted[Math.floor(sorted.length * 0.99)]!
  const factor = p99Of(all.sort((a, b) => a - b)) / p99Of(quiet)
  console.log(`${steps.join('\n')}\np99 of writes: ${factor.toFixed(2)} times that of the quiet cluster`)
  console.log(`${clients.history.length} operations, ${clients.kept.size} keys kept`)
  expect([clients.unknownWrites, clients.unserved]).toEqual([0, []])
  expect(factor).toBeLessThan(P99_FACTOR_MAX)
  const nodes = [...cluster.nodes, fourth]
  for (const { url } of nodes) for (const key of clients.keys) await clients.readBack(url, key)
  let i = 0
  for (const [key, value] of clients.kept) expect(await get(nodes[i++ % 4]!.url, key)).toBe(value)
  expect(checkLinearizable(clients.history)).toEqual({ ok: true })
})
