import { formatRows, rounded } from '../summary.mjs'

/** From a run to what is printed, and to the line that is kept. */
const PHASE_COLUMNS = [
  ['', 'name'],
  ['s', 'seconds', 1],
  ['writes', 'writes', 0],
  ['writes/s', 'perSec', 0],
  ['p50 ms', 'p50Ms', 2],
  ['p99 ms', 'p99Ms', 2],
  ['max ms', 'maxMs', 0],
  ['failed', 'failed', 0],
]

const NODE_COLUMNS = [
  ['while one is down', 'name'],
  ['RSS before', 'rssQuietMiB', 0],
  ['RSS MiB', 'rssMaxMiB', 0],
  ['later', 'rssLater', 2],
  ['log MiB', 'logMaxMiB', 0],
  ['later', 'logLater', 2],
  ['logged MiB', 'logWrittenMiB', 0],
  ['cache MiB', 'cacheMaxMiB', 0],
]

/** Prints the run. Returns the line of `results.jsonl`. */
export function printReport({ phases, claims, ...run }) {
  const rows = [...phases].map(([name, figures]) => rowOf(name, figures))
  const ratios = ratiosOf(phases)
  console.log(
    `\n${run.writes} writes of ${run.valueBytes} B at ${run.ratePerSec}/s with one of three nodes down, ${run.ranges} ranges, Node.js ${run.node}, ${run.cores} cores, ${run.commit}\n`,
  )
  console.log(formatRows(rows, PHASE_COLUMNS))
  console.log(`\n${formatRows(run.nodes, NODE_COLUMNS)}`)
  console.log(`\n${describeReturn(run, phases, ratios).join('\n')}\n`)
  for (const { claim, verdict, detail } of claims) console.log(`${verdict.padEnd(8)}  ${claim}: ${detail}`)
  return {
    ...run,
    nodes: run.nodes.map(roundAll),
    phases: rows.map(roundAll),
    ratios: roundAll(ratios),
    claims: Object.fromEntries(claims.map(({ claim, verdict }) => [claim, verdict])),
  }
}

function rowOf(name, { failures, ...figures }) {
  const failed = Object.values(failures).reduce((sum, count) => sum + count, 0)
  return { name, ...figures, perSec: figures.writes / figures.seconds, failed, ...(failed > 0 ? { failures } : {}) }
}

/** The p99 while the node returned, to that of the other phases under the same load. */
function ratiosOf(phases) {
  const p99Ms = (phase) => phases.get(phase).p99Ms
  return {
    toQuiet: p99Ms('return') / p99Ms('quiet'),
    toDown: p99Ms('return') / p99Ms('down'),
    toAfter: p99Ms('return') / p99Ms('after'),
  }
}

function describeReturn({ returned, snapshots, lagMax, quietLagMax }, phases, { toQuiet, toDown, toAfter }) {
  const { seconds } = phases.get('return')
  const count = (value) => (value === undefined ? 'not reported' : `${value}`)
  return [
    `${returned ? 'caught up after' : 'NOT caught up after'} ${seconds.toFixed(1)} s (no lag above ${lagMax} entries; quiet: at most ${quietLagMax})`,
    `p99 while it returned: ${toQuiet.toFixed(2)} × quiet, ${toDown.toFixed(2)} × down, ${toAfter.toFixed(2)} × after`,
    `snapshots sent: ${count(snapshots.sent)}, installed: ${count(snapshots.installed)}, bytes sent: ${count(snapshots.bytesSent)}`,
  ]
}

function roundAll(figures) {
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, typeof value === 'number' ? rounded(value) : value]),
  )
}
