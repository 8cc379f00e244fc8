import { fork } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bin, cpuSecondsOf, LocalCluster } from '../tools/local-cluster.mjs'
import { KEY_KINDS, VALUE_BYTES } from './keys.mjs'
import { fill, measure } from './measure.mjs'
import { DATA_PATH, describeRun, keepLine, makeRunDirectory } from './run-record.mjs'
import { GOALS, scenariosFor } from './scenarios.mjs'
import { formatGoals, formatRows, summarise } from './summary.mjs'

/**
 * `npm run bench` without a name: a real cluster of three processes against a bare `node:http` server, in turns, and a
 * line in `results.jsonl`. What is measured, and how to read it, is in README.md. Exits with 1 when a request failed.
 */
const BARE_SERVER = fileURLToPath(new URL('bare-server.mjs', import.meta.url))
const HELP = `npm run bench -- [options]          (laggard --help: the other benchmark)
  --rounds N           how often everything is measured (5)
  --seconds N          length of one measurement (8), after a warm-up of 2
  --connections N,N    (64,256)
  --keys N             how many (100000)
  --kind hex|user      hashes in hex, spread over all ranges (default), or user000…, in one range
  --only PART,PART     only scenarios whose name contains one of these: put, get-64, all …
  --data DIR           where the cluster keeps its data, on a real disk (bench/.data)
  --quick              one round of 2 s with 10,000 keys: does it run at all
  --list               print the scenarios and stop`

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    connections: { type: 'string' },
    keys: { type: 'string' },
    kind: { type: 'string', default: 'hex' },
    only: { type: 'string' },
    data: { type: 'string', default: DATA_PATH },
    quick: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const options = {
  rounds: Number(flags.rounds ?? (flags.quick ? 1 : 5)),
  seconds: Number(flags.seconds ?? (flags.quick ? 2 : 8)),
  warmupSeconds: flags.quick ? 0.5 : 2,
  keys: Number(flags.keys ?? (flags.quick ? 10_000 : 100_000)),
  connections: (flags.connections ?? '64,256').split(',').map(Number),
  kind: flags.kind,
}
const groups = scenariosFor({ connections: options.connections, only: flags.only })
const scenarios = groups.flatMap((group) => group.scenarios)

if (flags.help) console.log(HELP)
else if (flags.list) console.log(scenarios.map(({ name }) => name).join('\n'))
else process.exitCode = await main()

async function main() {
  if (!(options.kind in KEY_KINDS) || scenarios.length === 0) {
    console.error(HELP)
    return 1
  }
  if (!existsSync(bin)) {
    console.error('nothing is built: npm run build')
    return 1
  }
  const directory = makeRunDirectory(flags.data)
  const cluster = await LocalCluster.create({ directory })
  const bare = await startBare()
  try {
    await cluster.start()
    console.log(`Writing ${options.keys} keys …`)
    await fill({ ...options, urls: cluster.nodes.map(({ url }) => url), connections: 64 })
    const rows = summarise(scenarios, await runRounds(cluster, bare))
    report(rows)
    return rows.some(({ errors }) => errors !== undefined) ? 1 : 0
  } finally {
    bare.stop()
    await Promise.all(cluster.nodes.map((node) => node.stop()))
    rmSync(directory, { recursive: true, force: true })
  }
}

async function startBare() {
  const child = fork(BARE_SERVER)
  const { port } = await new Promise((done, failed) => child.once('message', done).once('exit', failed))
  return {
    url: `http://127.0.0.1:${port}`,
    cpuSeconds: () => cpuSecondsOf(child.pid),
    stop: () => child.kill(),
  }
}

/** Every round measures everything; within a group the order turns by one a round, so that none is always first. */
async function runRounds(cluster, bare) {
  const rounds = []
  for (let round = 0; round < options.rounds; round++) {
    const figures = new Map()
    for (const group of groups) {
      for (const scenario of turned(group.scenarios, round)) {
        await waitUntilIdle(cluster)
        const one = await measureScenario(scenario, cluster, bare)
        figures.set(scenario.name, one)
        const failed = Object.keys(one.errors).length > 0 ? `  ${JSON.stringify(one.errors)}` : ''
        console.log(
          `round ${round + 1}  ${scenario.name.padEnd(12)} ${one.requestsPerSec.toFixed(0).padStart(6)} req/s${failed}`,
        )
      }
    }
    rounds.push(figures)
  }
  return rounds
}

function turned(items, by) {
  const at = by % items.length
  return [...items.slice(at), ...items.slice(0, at)]
}

function measureScenario({ operation, connections, target }, cluster, bare) {
  const urls = { bare: [bare.url], one: [cluster.nodes[0].url], all: cluster.nodes.map(({ url }) => url) }[target]
  const job = { ...options, urls, connections, method: operation.toUpperCase() }
  return measure(job, target === 'bare' ? [bare] : cluster.nodes)
}

/** What the last measurement left to do (a flush of the state) must not burden the next. */
async function waitUntilIdle(cluster) {
  const STEP_MS = 250
  const IDLE_SHARE = 0.1
  for (let waitedMs = 0; waitedMs < 10_000; waitedMs += STEP_MS) {
    const before = totalCpuSeconds(cluster)
    await new Promise((done) => setTimeout(done, STEP_MS))
    if (totalCpuSeconds(cluster) - before <= (IDLE_SHARE * STEP_MS) / 1000) return
  }
}

function totalCpuSeconds({ nodes }) {
  return nodes.reduce((sum, node) => sum + node.cpuSeconds(), 0)
}

function report(rows) {
  const run = {
    ...describeRun(),
    ...options,
    valueBytes: VALUE_BYTES,
    rows,
  }
  console.log(
    `\nMedians of ${options.rounds} rounds of ${options.seconds} s, Node.js ${run.node}, ${run.cores} cores, ${run.commit}\n`,
  )
  console.log(formatRows(rows))
  console.log(`\n${formatGoals(GOALS, rows).join('\n')}`)
  for (const { name, errors } of rows)
    if (errors !== undefined) console.log(`FAILED  ${name}: ${JSON.stringify(errors)}`)
  if (!flags.quick) keepLine(run)
}
