/**
 * What a run of the laggard says about the claims, from its figures alone. A claim holds, is broken, or is untested when
 * the run could not have broken it: too few writes for the bound, or a counter that the nodes do not report.
 */

/**
 * The memory and log of the nodes that stayed, while one was down, and their memory before. "Later" is the last third of
 * the time against the second: what grows with the laggard's absence grows there.
 */
export function summariseNodes({ quiet, down }) {
  return down[0].nodes.map(({ name }, i) => {
    const series = (figure, samples = down) => samples.map(({ nodes }) => nodes[i][figure])
    const logWritten = series('logWrittenMiB')
    return {
      name,
      rssQuietMiB: Math.max(...series('rssMiB', quiet)),
      rssMaxMiB: Math.max(...series('rssMiB')),
      rssLater: laterGrowth(series('rssMiB')),
      logMaxMiB: Math.max(...series('logMiB')),
      logLater: laterGrowth(series('logMiB')),
      logWrittenMiB: logWritten.at(-1) - logWritten[0],
      cacheMaxMiB: Math.max(...series('cacheMiB')),
    }
  })
}

/** The mean of the last third over that of the second; undefined for fewer values than say anything. */
export function laterGrowth(values) {
  const third = Math.floor(values.length / 3)
  if (third < THIRD_MIN) return undefined
  return mean(values.slice(-third)) / mean(values.slice(third, 2 * third))
}

const THIRD_MIN = 5

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** What was sent since `before`, and what the returned node has installed; undefined for what is not reported. */
export function countSnapshots(before, after, returned) {
  const since = (figure) => sum(after.map((one, i) => one[figure] - before[i][figure]))
  return { sent: since('sent'), installed: returned.installed, bytesSent: since('bytesSent') }
}

function sum(values) {
  const total = values.reduce((all, value) => all + value, 0)
  return Number.isNaN(total) ? undefined : total
}

/** @returns a list of `{ claim, verdict: 'holds' | 'broken' | 'untested', detail }` */
export function decideClaims({ phases, nodes, snapshots, returned, bounds }) {
  const rssLater = highest(nodes.map((one) => one.rssLater))
  const ratio = phases.get('return').p99Ms / phases.get('quiet').p99Ms
  return [
    everyWrite(phases),
    keptRate(phases, bounds),
    atMost('memory', highest(nodes.map((one) => one.rssMaxMiB)), bounds.rssMaxMiB, 'MiB resident at most'),
    atMost('memory-grows', rssLater, bounds.rssLaterMax, 'of the second third in the last'),
    logBound(nodes, bounds),
    {
      claim: 'returns',
      verdict: returned ? 'holds' : 'broken',
      detail: returned ? 'every replica has caught up' : `not in ${bounds.returnSecondsMax} s`,
    },
    snapshotBound(snapshots, bounds),
    atMost('p99', ratio, bounds.p99RatioMax, 'times the p99 of the quiet phase'),
  ]
}

/** While leaders are elected anew nobody is promised anything. */
function everyWrite(phases) {
  const failed = [...phases].filter(([name, { failures }]) => name !== 'fall' && Object.keys(failures).length > 0)
  const detail = failed.map(([name, { failures }]) => `${name} ${JSON.stringify(failures)}`).join(', ')
  return { claim: 'writes', verdict: failed.length === 0 ? 'holds' : 'broken', detail: detail || 'none failed' }
}

/** Latencies under a rate that is not kept say how long the run was, nothing else. */
function keptRate(phases, { ratePerSec, rateShareMin }) {
  const shares = STEADY_PHASES.map((name) => phases.get(name).writes / phases.get(name).seconds / ratePerSec)
  const least = Math.min(...shares)
  return {
    claim: 'rate',
    verdict: least >= rateShareMin ? 'holds' : 'broken',
    detail: `at least ${format(least)} of ${ratePerSec} writes/s in every phase, bound ${rateShareMin}`,
  }
}

const STEADY_PHASES = ['quiet', 'down', 'return', 'after']

function logBound(nodes, { logMaxMiB }) {
  const written = Math.min(...nodes.map((one) => one.logWrittenMiB))
  const claim = atMost('log', highest(nodes.map((one) => one.logMaxMiB)), logMaxMiB, 'MiB of segments in use at most')
  if (claim.verdict !== 'holds' || written > logMaxMiB) return claim
  return { ...claim, verdict: 'untested', detail: `${claim.detail}; only ${format(written)} MiB were logged` }
}

function snapshotBound({ installed }, { snapshotsMin }) {
  const claim = 'snapshots'
  if (installed === undefined) return { claim, verdict: 'untested', detail: 'not reported' }
  const detail = `${installed} installed, bound at least ${snapshotsMin}`
  if (snapshotsMin === 0) return { claim, verdict: 'untested', detail: `${detail}: the log may have been enough` }
  return { claim, verdict: installed >= snapshotsMin ? 'holds' : 'broken', detail }
}

function atMost(claim, value, bound, what) {
  if (value === undefined) return { claim, verdict: 'untested', detail: 'too few samples' }
  return { claim, verdict: value <= bound ? 'holds' : 'broken', detail: `${format(value)} ${what}, bound ${bound}` }
}

function highest(values) {
  return values.includes(undefined) ? undefined : Math.max(...values)
}

function format(value) {
  return String(Number(value.toPrecision(3)))
}
