import { existsSync, rmSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { bin, LocalCluster } from '../tools/local-cluster.mjs'
import { countSnapshots, decideClaims, summariseNodes } from './laggard/claims.mjs'
import { lagOf, leadsOf, Observer, readSnapshots } from './laggard/observer.mjs'
import { HELP, readOptions } from './laggard/options.mjs'
import { printReport } from './laggard/report.mjs'
import { SteadyLoad } from './laggard/steady-load.mjs'
import { describeRun, keepLine, makeRunDirectory } from './run-record.mjs'

/**
 * `npm run bench -- laggard`: what it costs the others that one of three nodes is down for many writes, and that it
 * returns while writes go on. The phases and the claims are in README.md. Exits with 1 when a claim is broken.
 */
/** What a change of the load, or of the leaders, has left behind is worked off after this. */
const SETTLE_MS = 3_000
const LED_SECONDS_MAX = 30
const SAMPLE_SECONDS_MAX = 30
/** How many times longer than planned the writes may take. */
const DOWN_PATIENCE = 3

const options = readOptions()
if (options === undefined) console.log(HELP)
else process.exitCode = await main(options)

async function main({ bounds, isQuick, dataPath, ...load }) {
  if (!existsSync(bin)) {
    console.error('nothing is built: npm run build')
    return 1
  }
  const directory = makeRunDirectory(dataPath)
  const cluster = await LocalCluster.create({ directory, initialRanges: load.ranges })
  try {
    await cluster.start()
    const run = await runScenario(cluster, load, bounds)
    const claims = decideClaims({ ...run, bounds: { ...bounds, ratePerSec: run.ratePerSec } })
    const line = printReport({ ...describeRun(), benchmark: 'laggard', ...load, ...run, bounds, claims })
    if (!isQuick) keepLine(line)
    return claims.some(({ claim, verdict }) => verdict === 'broken' && (!isQuick || isMeantQuick(claim))) ? 1 : 0
  } finally {
    await cluster.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Figures of a quick run are noise; that every write succeeds and the follower returns is not. */
function isMeantQuick(claim) {
  return claim === 'writes' || claim === 'returns'
}

async function runScenario(cluster, options, bounds) {
  const { laggard, laggardId, nodes } = await chooseLaggard(cluster)
  const addresses = nodes.map(({ url }) => new URL(url)).map(({ hostname, port }) => ({ host: hostname, port }))
  const load = await SteadyLoad.open({ ...options, addresses })
  const observer = new Observer({ nodes, sampleMs: options.sampleMs })
  try {
    const ratePerSec = await warmUp(load, options)
    const begin = (phase) => {
      observer.phase = phase
      load.begin(phase, ratePerSec)
      console.log(`${phase} …`)
    }
    begin('settle')
    await pause(SETTLE_MS)
    begin('quiet')
    await pause(options.seconds * 1000)
    await observer.until(() => true, SAMPLE_SECONDS_MAX)

    begin('fall')
    await laggard.kill()
    await untilLed(observer, laggardId)
    await pause(SETTLE_MS)
    begin('down')
    await load.untilAcknowledged(options.writes, (DOWN_PATIENCE * options.writes) / ratePerSec)
    await observer.until(() => true, SAMPLE_SECONDS_MAX)

    const snapshotsBefore = await Promise.all(nodes.map(readSnapshots))
    begin('return')
    laggard.start()
    const isBack = ({ ranges }) => lagOf(ranges, laggardId) <= options.lagMax
    const returned = (await observer.until(isBack, bounds.returnSecondsMax)) !== undefined
    begin('after')
    const snapshots = countSnapshots(
      snapshotsBefore,
      await Promise.all(nodes.map(readSnapshots)),
      returned ? await readSnapshots(laggard) : {},
    )
    await pause(options.seconds * 1000)
    const phases = await load.finish()
    await observer.stop()
    return { ratePerSec, phases, returned, snapshots, ...observationsOf(observer, laggardId) }
  } finally {
    load.kill()
  }
}

/** The node that leads least, and of those the latest: whoever dies takes as few leaderships along as can be. */
async function chooseLaggard({ nodes }) {
  const [{ nodes: registered }, { ranges }] = await Promise.all([
    nodes[0].json('/v1/admin/nodes'),
    nodes[0].json('/v1/admin/ranges'),
  ])
  const leads = registered.map(({ nodeId, httpAddress }) => ({
    nodeId,
    node: nodes.find((one) => one.httpAddress === httpAddress),
    count: leadsOf(ranges, nodeId),
  }))
  const least = leads.reduce((best, one) => (one.count <= best.count ? one : best))
  return { laggard: least.node, laggardId: least.nodeId, nodes: nodes.filter((node) => node !== least.node) }
}

/** The rate of the run: as asked, or a share of what the cluster can do in a closed loop. */
async function warmUp(load, { ratePerSec, loadShare, seconds }) {
  if (ratePerSec !== undefined) return ratePerSec
  console.log('What can it do? …')
  load.begin('warm-up')
  await pause(SETTLE_MS)
  load.begin('closed')
  const startMs = performance.now()
  await pause(Math.min(seconds * 1000, 5_000))
  const perSec = load.acknowledged / ((performance.now() - startMs) / 1000)
  if (perSec < 1) throw new Error('no write is acknowledged')
  return Math.ceil(loadShare * perSec)
}

async function untilLed(observer, laggardId) {
  const isLed = ({ ranges }) => ranges.every(({ leader }) => leader !== null && leader !== laggardId)
  if ((await observer.until(isLed, LED_SECONDS_MAX)) !== undefined) return
  throw new Error(`${LED_SECONDS_MAX} s after the kill there are still ranges without a leader`)
}

function observationsOf({ samples }, laggardId) {
  const [quiet, down] = ['quiet', 'down'].map((name) => samples.filter(({ phase }) => phase === name))
  return {
    quietLagMax: Math.max(...quiet.map(({ ranges }) => lagOf(ranges, laggardId) ?? 0)),
    nodes: summariseNodes({ quiet, down }),
  }
}
