import { rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { LocalCluster } from '../tools/local-cluster.mjs'
import { EtcdCluster, etcdVersion } from './etcd/etcd-cluster.mjs'
import { VALUE_BYTES } from './keys.mjs'
import { fill, measure } from './measure.mjs'
import { DATA_PATH, describeRun, keepLine, makeRunDirectory } from './run-record.mjs'
import { formatRows, median, rounded } from './summary.mjs'

/**
 * `npm run bench -- etcd`: this engine beside etcd, three processes each on the same disk, asked in turns by the same
 * generator over HTTP; etcd through its JSON gateway, with its own defaults. Both make a write durable on a majority before
 * they answer, and both read linearizably. Every figure is one of the same round; exits with 1 when a request failed.
 */
const HELP = `npm run bench -- etcd [options]
  --rounds N           how often everything is measured (5)
  --seconds N          length of one measurement (8), after a warm-up of 2
  --connections N      (64)
  --keys N             how many (20000)
  --data DIR           where both keep their data, on a real disk (bench/.data)
  --quick              one round of 1 s with 1,000 keys: does it run at all; keeps no figures`

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    connections: { type: 'string', default: '64' },
    keys: { type: 'string' },
    data: { type: 'string', default: DATA_PATH },
    quick: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const options = {
  rounds: Number(flags.rounds ?? (flags.quick ? 1 : 5)),
  seconds: Number(flags.seconds ?? (flags.quick ? 1 : 8)),
  warmupSeconds: flags.quick ? 0.5 : 2,
  keys: Number(flags.keys ?? (flags.quick ? 1_000 : 20_000)),
  connections: Number(flags.connections),
  kind: 'hex',
}
/** How long the nodes work, unmeasured, before the first round: V8 compiles what is hot by then. */
const FIRST_WARMUP_SECONDS = flags.quick ? 0.5 : 20
const COLUMNS = [
  ['', 'name'],
  ['req/s', 'requestsPerSec', 0],
  ['p50 ms', 'p50Ms', 2],
  ['p99 ms', 'p99Ms', 2],
  ['CPU µs/req', 'cpuMicrosPerRequest', 0],
  ['of etcd', 'ratio', 2],
  ['least', 'ratioMin', 2],
  ['most', 'ratioMax', 2],
]
const FIGURES = ['requestsPerSec', 'p50Ms', 'p99Ms', 'cpuMicrosPerRequest']

if (flags.help) console.log(HELP)
else process.exitCode = await main()

async function main() {
  const version = etcdVersion()
  if (version === undefined) {
    console.error('etcd is not installed (Debian: apt-get install etcd-server); nothing was measured')
    return 1
  }
  const directory = makeRunDirectory(flags.data)
  const cluster = await LocalCluster.create({ directory })
  const etcd = await EtcdCluster.create({ directory })
  try {
    await Promise.all([cluster.start(), etcd.start()])
    const scenarios = scenariosOf(cluster, etcd)
    await warmUp(scenarios)
    const rounds = []
    for (let round = 0; round < options.rounds; round++) rounds.push(await measureAll(turned(scenarios, round)))
    return report(version, scenarios, rounds)
  } finally {
    await Promise.all([cluster.close(), etcd.close()])
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Writes and reads, of each engine, to one node (etcd: its leader) and to all. */
function scenariosOf(cluster, etcd) {
  const urls = (nodes, target) => (target === 'one' ? nodes.slice(0, 1) : nodes).map(({ url }) => url)
  return ['PUT', 'GET'].flatMap((method) =>
    ['one', 'all'].flatMap((target) => {
      const name = `${method.toLowerCase()}-${options.connections}-${target}`
      const job = { ...options, method }
      return [
        { name: `${name}-etcd`, job: { ...job, api: 'etcd', urls: urls(etcd.nodes, target) }, nodes: etcd.nodes },
        { name, job: { ...job, api: 'kv', urls: urls(cluster.nodes, target) }, nodes: cluster.nodes },
      ]
    }),
  )
}

async function warmUp(scenarios) {
  for (const { job, name } of scenarios.filter(({ name }) => name.startsWith('put') && name.includes('all'))) {
    console.log(`Writing ${job.keys} keys, then warming up: ${name}`)
    await fill(job)
    await measure({ ...job, warmupSeconds: 0, seconds: FIRST_WARMUP_SECONDS }, [])
  }
}

function turned(scenarios, round) {
  return round % 2 === 0 ? scenarios : [...scenarios].reverse()
}

async function measureAll(scenarios) {
  const figures = new Map()
  for (const { name, job, nodes } of scenarios) {
    // Counters of a log are not compared: etcd has others.
    const servers = nodes.map((node) => ({ cpuSeconds: () => node.cpuSeconds() }))
    const one = await measure(job, servers)
    figures.set(name, one)
    console.log(`${name.padEnd(16)} ${one.requestsPerSec.toFixed(0).padStart(6)} req/s`)
  }
  return figures
}

function report(version, scenarios, rounds) {
  const rows = scenarios.map(({ name }) => rowOf(name, rounds))
  const run = { ...describeRun(), benchmark: 'etcd', etcd: version, ...options, valueBytes: VALUE_BYTES, rows }
  console.log(`\nMedians of ${options.rounds} rounds of ${options.seconds} s beside etcd ${version}, ${run.commit}\n`)
  console.log(formatRows(rows, COLUMNS))
  if (!flags.quick) keepLine(run)
  const failed = rows.filter(({ errors }) => errors !== undefined)
  for (const { name, errors } of failed) console.log(`FAILED  ${name}: ${JSON.stringify(errors)}`)
  return failed.length > 0 ? 1 : 0
}

function rowOf(name, rounds) {
  const row = { name }
  for (const figure of FIGURES) row[figure] = rounded(median(rounds.map((round) => round.get(name)[figure])))
  if (!name.endsWith('-etcd')) {
    const ratios = rounds.map((round) => round.get(name).requestsPerSec / round.get(`${name}-etcd`).requestsPerSec)
    row.ratio = rounded(median(ratios))
    row.ratioMin = rounded(Math.min(...ratios))
    row.ratioMax = rounded(Math.max(...ratios))
  }
  const errors = rounds.map((round) => round.get(name).errors).filter((one) => Object.keys(one).length > 0)
  if (errors.length > 0) row.errors = errors
  return row
}
