import { existsSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bin, LocalCluster } from '../tools/local-cluster.mjs'
import { KEY_KINDS, VALUE_BYTES } from './keys.mjs'
import { DATA_PATH, describeRun, keepLine, makeRunDirectory } from './run-record.mjs'

/**
 * `npm run bench -- balance`: an uneven load on three nodes, and what placement makes of it. Keys are drawn from a Zipf
 * distribution; then others are the hot ones (the hotspot has moved). Each time placement has `--seconds` to balance the
 * leaders' load; then the load stays as it is for as long, and nothing may move any more.
 *
 * Claims: no request fails; the nodes' shares of the load are within a tenth of each other's mean, or one range alone is
 * more than a node's share; no leadership and no replica moves in the time after. Exits with 1 when one is broken.
 */
const HELP = `npm run bench -- balance [options]
  --seconds N       for placement, and then without a change (60)
  --keys N          keys (1000000)
  --exponent X      of the Zipf distribution (0.99)
  --connections N   (64)
  --split N         rangeSplitLoadPerSec (0: ranges are not split for their load)
  --data DIR        bench/.data`

const SPREAD_MAX = 0.1
const SAMPLE_MS = 1_000

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    keys: { type: 'string', default: '1000000' },
    exponent: { type: 'string', default: '0.99' },
    connections: { type: 'string', default: '64' },
    split: { type: 'string', default: '0' },
    data: { type: 'string', default: DATA_PATH },
    help: { type: 'boolean', default: false },
  },
})
async function main() {
  if (!existsSync(bin)) {
    console.error('nothing is built: npm run build')
    return 1
  }
  const directory = makeRunDirectory(options.data)
  const cluster = await LocalCluster.create({ directory })
  const load = new ZipfLoad(cluster.nodes.map(({ url }) => url))
  try {
    await cluster.start()
    await putSettings(cluster.nodes[0], { rangeSplitLoadPerSec: Number(options.split) })
    load.start()
    const phases = []
    for (const [name, salt] of [
      ['zipf', 0],
      ['hotspot', 1],
    ]) {
      load.salt = salt
      await pause(Number(options.seconds) * 1_000)
      const before = await movesOf(cluster.nodes[0])
      const shares = await measureShares(cluster.nodes, Number(options.seconds))
      const moves = (await movesOf(cluster.nodes[0])).filter(({ operatorId }) =>
        before.every((one) => one.operatorId !== operatorId),
      )
      phases.push(describe(name, before.length, shares, moves))
    }
    const failures = await load.stop()
    const { seconds, keys, exponent, connections, split } = options
    const chosen = { seconds, keys, exponent, connections, split }
    const line = { ...describeRun(), benchmark: 'balance', ...chosen, failures, requests: load.requests, phases }
    console.log(JSON.stringify(line, null, 1))
    const isBroken = failures > 0 || phases.some(({ balanced, still }) => !balanced || !still)
    keepLine(line)
    return isBroken ? 1 : 0
  } finally {
    await load.stop()
    await cluster.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

function describe(name, movesBefore, { nodes, hottestRange, total }, moves) {
  const shares = nodes.map((perSec) => perSec / total)
  const spread = Math.max(...shares.map((share) => Math.abs(share * nodes.length - 1)))
  const isExplained = hottestRange / total > (1 / nodes.length) * (1 + SPREAD_MAX)
  return {
    phase: name,
    requestsPerSec: Math.round(total),
    shares: shares.map((share) => Number(share.toFixed(3))),
    hottestRange: Number((hottestRange / total).toFixed(3)),
    spread: Number(spread.toFixed(3)),
    balanced: spread <= SPREAD_MAX || isExplained,
    movesBefore,
    still: moves.length === 0,
    moves: moves.map(({ kind, reason }) => `${kind}: ${reason}`),
  }
}

/** Requests a second at the leaders, the mean over the time. */
async function measureShares(nodes, seconds) {
  const sums = nodes.map(() => 0)
  let samples = 0
  let hottest = 0
  for (const endsAt = performance.now() + seconds * 1_000; performance.now() < endsAt; samples++) {
    const { ranges } = await nodes[0].json('/v1/admin/ranges?limit=10000')
    const loads = ranges.map(({ readsPerSec, writesPerSec }) => readsPerSec + writesPerSec)
    for (const [i, { leader, rangeId }] of ranges.entries())
      if (leader !== null && rangeId !== 1) sums[leader - 1] += loads[i]
    hottest += Math.max(...loads)
    await pause(SAMPLE_MS)
  }
  const means = sums.map((sum) => sum / samples)
  return { nodes: means, total: means.reduce((a, b) => a + b), hottestRange: hottest / samples }
}

/** What placement did by itself. */
async function movesOf(node) {
  const { operators } = await node.json('/v1/admin/operators')
  return operators.filter(({ reason }) => reason !== 'by command')
}

async function putSettings(node, settings) {
  const answer = await fetch(`${node.url}/v1/admin/settings`, { method: 'PUT', body: JSON.stringify(settings) })
  if (!answer.ok) throw new Error(await answer.text())
}

/** As many requests under way as there are connections, half of them writes, spread evenly over the nodes. */
class ZipfLoad {
  salt = 0
  requests = 0
  #failures = 0
  #urls
  #agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  #isStopped = false
  #running = Promise.resolve([])
  #sums

  constructor(urls) {
    this.#urls = urls
    const count = Number(options.keys)
    this.#sums = new Float64Array(count)
    let sum = 0
    for (let rank = 0; rank < count; rank++) {
      sum += 1 / (rank + 1) ** Number(options.exponent)
      this.#sums[rank] = sum
    }
  }

  start() {
    this.#running = Promise.all(Array.from({ length: Number(options.connections) }, (_, i) => this.#run(i)))
  }

  async stop() {
    this.#isStopped = true
    await this.#running
    this.#agent.destroy()
    return this.#failures
  }

  async #run(i) {
    const value = Buffer.alloc(VALUE_BYTES, 'v')
    const base = new URL(this.#urls[i % this.#urls.length])
    for (let n = 0; !this.#isStopped; n++) {
      const path = `/v1/kv/${KEY_KINDS.hex(`${this.salt}-${this.#rank()}`)}`
      const isWrite = n % 2 === 0
      const status = await this.#send(base, path, isWrite ? value : undefined).catch(() => 0)
      this.requests++
      if (status !== (isWrite ? 204 : 200) && (isWrite || status !== 404)) this.#failures++
    }
  }

  #rank() {
    const at = Math.random() * this.#sums[this.#sums.length - 1]
    let [low, high] = [0, this.#sums.length - 1]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sums[middle] < at) low = middle + 1
      else high = middle
    }
    return low
  }

  #send({ hostname, port }, path, body) {
    return new Promise((resolve, reject) => {
      const method = body === undefined ? 'GET' : 'PUT'
      const sent = request({ hostname, port, path, method, agent: this.#agent }, (answer) => {
        answer.resume()
        answer.on('end', () => resolve(answer.statusCode))
      })
      sent.on('error', reject)
      sent.end(body)
    })
  }
}

if (options.help) console.log(HELP)
else process.exitCode = await main()
