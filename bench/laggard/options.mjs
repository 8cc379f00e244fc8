import { parseArgs } from 'node:util'
import { DATA_PATH } from '../run-record.mjs'

/** What a run does, and within which bounds its claims hold: read from the command line, checked, complete. */
const NUMBERS = {
  ranges: { argument: 'N', is: 'initial ranges besides the system range', preset: 4, max: 900 },
  writes: { argument: 'N', is: 'how many writes are acknowledged while the node is down', preset: 200_000 },
  'value-bytes': { argument: 'N', is: 'of each write', preset: 1024, max: 1024 * 1024 },
  keys: { argument: 'N', is: 'how many there are; each write takes one of them at random', preset: 200_000 },
  connections: { argument: 'N', is: 'at most so many writes are under way', preset: 128 },
  rate: { argument: 'N', is: 'writes a second (by default measured, see --load)' },
  load: { argument: 'SHARE', is: 'without --rate: of what a closed loop achieves', preset: 0.5, max: 1 },
  seconds: { argument: 'N', is: 'how long the phases with three nodes last', preset: 30 },
  'sample-ms': { argument: 'N', is: 'time between two looks at the nodes', preset: 500, max: 5_000 },
  lag: { argument: 'N', is: 'a replica with no more entries left to apply has caught up', preset: 200 },
  'rss-max': { argument: 'MIB', is: 'bound: resident memory of a node that stays', preset: 768 },
  'rss-later-max': {
    argument: 'RATIO',
    is: 'bound: mean of that, last third of the down phase over the second',
    preset: 1.15,
  },
  'log-max': { argument: 'MIB', is: 'bound: log segments in use on a node that stays', preset: 192 },
  'return-max': { argument: 'SECONDS', is: 'bound: until the node has caught up everywhere', preset: 120 },
  'p99-ratio-max': { argument: 'RATIO', is: 'bound: p99 while it returns over p99 before it was killed', preset: 2 },
  'rate-share-min': { argument: 'SHARE', is: 'bound: of the rate, kept in every phase', preset: 0.95, max: 1 },
  'snapshots-min': {
    argument: 'N',
    is: 'bound: snapshots that the returned node installs (one a range; 0 for few writes)',
    min: 0,
  },
}

const QUICK = { writes: 3_000, rate: 500, seconds: 2, keys: 5_000 }

/** How much of a range's log is kept for a laggard before it needs a snapshot. */
const LAGGARD_LOG_BYTES = 16 * 1024 * 1024

export const HELP = `npm run bench -- laggard [options]
${Object.entries(NUMBERS).map(describe).join('\n')}
  --data DIR                where the cluster keeps its data, on a real disk (bench/.data)
  --quick                   few writes at a low rate: does it run at all; keeps no figures, and only failed
                            writes and a node that does not return make it fail`

function describe([name, { argument, is, preset }]) {
  return `  ${`--${name} ${argument}`.padEnd(24)}  ${is}${preset === undefined ? '' : ` (${preset})`}`
}

/** Undefined when help is asked for. Throws for what makes no sense. */
export function readOptions(args = process.argv.slice(2)) {
  const { values: flags } = parseArgs({
    args,
    options: {
      ...Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, { type: 'string' }])),
      data: { type: 'string', default: DATA_PATH },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (flags.help) return undefined
  const number = (name) => parse(name, flags[name], (flags.quick ? QUICK[name] : undefined) ?? NUMBERS[name].preset)
  const load = {
    ranges: number('ranges'),
    writes: number('writes'),
    valueBytes: number('value-bytes'),
    keys: number('keys'),
    connections: number('connections'),
    ratePerSec: number('rate'),
    loadShare: number('load'),
    seconds: number('seconds'),
    sampleMs: number('sample-ms'),
    lagMax: number('lag'),
  }
  const bounds = {
    rssMaxMiB: number('rss-max'),
    rssLaterMax: number('rss-later-max'),
    logMaxMiB: number('log-max'),
    returnSecondsMax: number('return-max'),
    p99RatioMax: number('p99-ratio-max'),
    rateShareMin: number('rate-share-min'),
    snapshotsMin: number('snapshots-min') ?? snapshotsNeeded(load),
  }
  return { ...load, bounds, isQuick: flags.quick, dataPath: flags.data }
}

function parse(name, text, preset) {
  if (text === undefined) return preset
  const { argument, min = Number.MIN_VALUE, max = Number.MAX_SAFE_INTEGER } = NUMBERS[name]
  const value = Number(text)
  const isWhole = argument !== 'N' || Number.isInteger(value)
  if (text.trim() !== '' && isWhole && value >= min && value <= max) return value
  const range = `${min === 0 ? 'from 0' : 'above 0'}${max < Number.MAX_SAFE_INTEGER ? ` up to ${max}` : ''}`
  throw new Error(`--${name} is a ${argument === 'N' ? 'whole ' : ''}number ${range}; it is "${text}"`)
}

/** One a range, when each has certainly outgrown what is kept of its log. */
function snapshotsNeeded({ ranges, writes, valueBytes }) {
  return (writes / ranges) * valueBytes > 2 * LAGGARD_LOG_BYTES ? ranges : 0
}
