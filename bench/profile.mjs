import { rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { WebSocket } from 'ws'
import { LocalCluster } from '../tools/local-cluster.mjs'
import { fill, measure } from './measure.mjs'
import { selfTimes } from './profile/self-times.mjs'
import { DATA_PATH, makeRunDirectory } from './run-record.mjs'

/**
 * `npm run bench -- profile`: where the CPU time of loaded nodes goes. Three processes under the load of the default
 * benchmark; each records a CPU profile (V8's sampling profiler, through the inspector) while the measured window is open.
 * Prints the self times of all nodes together by package and by function, in microseconds a request. Keeps no figures.
 */
const HELP = `npm run bench -- profile [options]
  --method put|get     the load (put)
  --connections N      (64)
  --target one|all     all requests to the first node, or spread over the three (one)
  --seconds N          how long is sampled (6), after a warm-up of 4
  --keys N             how many (20000)
  --top N              functions that are printed (40)
  --node N             only this node's profile (0 is the target), instead of all three
  --data DIR           where the cluster keeps its data (bench/.data)`

const SAMPLING_MICROS = 250

const { values: flags } = parseArgs({
  options: {
    method: { type: 'string', default: 'put' },
    connections: { type: 'string', default: '64' },
    target: { type: 'string', default: 'one' },
    seconds: { type: 'string', default: '6' },
    keys: { type: 'string', default: '20000' },
    top: { type: 'string', default: '40' },
    node: { type: 'string' },
    data: { type: 'string', default: DATA_PATH },
    help: { type: 'boolean', default: false },
  },
})

async function main() {
  const directory = makeRunDirectory(flags.data)
  const cluster = await LocalCluster.create({ directory, runtimeFlags: ['--inspect=127.0.0.1:0'] })
  try {
    await cluster.start()
    const nodes = flags.node === undefined ? cluster.nodes : cluster.nodes.slice(Number(flags.node)).slice(0, 1)
    const job = {
      method: flags.method.toUpperCase(),
      connections: Number(flags.connections),
      keys: Number(flags.keys),
      kind: 'hex',
      seconds: Number(flags.seconds),
      warmupSeconds: 4,
      urls: (flags.target === 'one' ? cluster.nodes.slice(0, 1) : cluster.nodes).map(({ url }) => url),
    }
    await fill({ ...job, urls: cluster.nodes.map(({ url }) => url), connections: 64 })
    const profilers = await Promise.all(nodes.map(Profiler.of))
    /** @type {Promise<unknown[]> | undefined} */
    let profiles
    const figures = await measure(job, cluster.nodes, (/** @type {string} */ kind) => {
      if (kind === 'opened') for (const one of profilers) one.start()
      else profiles = Promise.all(profilers.map((one) => one.stop()))
    })
    report(figures, await profiles, figures.requestsPerSec * job.seconds)
    for (const one of profilers) one.close()
  } finally {
    await Promise.all(cluster.nodes.map((node) => node.stop()))
    rmSync(directory, { recursive: true, force: true })
  }
}

/** A node's inspector. */
class Profiler {
  #nextId = 1
  #waiting = new Map()

  static async of(node) {
    const address = /Debugger listening on (ws:\/\/\S+)/.exec(node.log(1000))?.[1]
    if (address === undefined) throw new Error(`${node.name} has no inspector`)
    const profiler = new Profiler(new WebSocket(address, { maxPayload: 1 << 30, perMessageDeflate: false }))
    await profiler.#open()
    return profiler
  }

  constructor(socket) {
    this.socket = socket
  }

  async #open() {
    await new Promise((resolve, reject) => this.socket.once('open', resolve).once('error', reject))
    this.socket.on('message', (data) => {
      const { id, result } = JSON.parse(data)
      this.#waiting.get(id)?.(result)
      this.#waiting.delete(id)
    })
    await this.#call('Profiler.enable')
    await this.#call('Profiler.setSamplingInterval', { interval: SAMPLING_MICROS })
  }

  #call(method, params) {
    const id = this.#nextId++
    this.socket.send(JSON.stringify({ id, method, params }))
    return new Promise((resolve) => this.#waiting.set(id, resolve))
  }

  start() {
    return this.#call('Profiler.start')
  }

  async stop() {
    return (await this.#call('Profiler.stop')).profile
  }

  close() {
    this.socket.close()
  }
}

function report(figures, profiles, requests) {
  const { byPackage, byFunction, byCaller } = selfTimes(profiles)
  const perRequest = (micros) => (micros / requests).toFixed(2).padStart(8)
  console.log(
    `${figures.requestsPerSec.toFixed(0)} req/s, ${figures.cpuMicrosPerRequest.toFixed(0)} µs of CPU a request\n`,
  )
  console.log('µs/req   package')
  for (const [name, micros] of byPackage) console.log(`${perRequest(micros)} ${name}`)
  console.log('\nµs/req   function')
  for (const [name, micros] of byFunction.slice(0, Number(flags.top))) console.log(`${perRequest(micros)} ${name}`)
  console.log('\nµs/req   native function ← for whom')
  for (const [name, micros] of byCaller.slice(0, Number(flags.top))) console.log(`${perRequest(micros)} ${name}`)
}

if (flags.help) console.log(HELP)
else await main()
