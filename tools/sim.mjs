// @ts-check

import { parseArgs } from 'node:util'
import { drawOptions, PROFILES, runSeed, shrink } from '@cordillera/simulator'
import { turnsOfNode } from '../packages/simulator/dist/testing/turns-of-node.js'

/**
 * `npm run sim`: runs seeds of the simulator and says what became of them, a line a seed on stdout; progress goes to
 * stderr. Exits with 1 when any promise was broken, and then says how to see it again; with 2 for bad arguments.
 */
const HELP = `npm run sim -- [options]
  --seed N          one seed
  --seeds A..B      all of A to B (1..20)
  --profile NAME    ${PROFILES.join(', ')} (swarm)
  --options JSON    exactly this run, as a failing one prints it
  --shrink          makes every run that fails smaller, and prints it
  --until-failure   no more seeds behind the first that fails
  --json            one object a seed, a line each
  --events          what happens, while it happens, on stderr`

/** What nobody waited for, of the seed at hand: a process would have died of it. @type {string[]} */
const unhandled = []
process.on('unhandledRejection', (error) =>
  unhandled.push(error instanceof Error ? (error.stack ?? error.message) : String(error)),
)

const run = parse()
if (run === undefined) {
  console.error(HELP)
  process.exitCode = 2
} else process.exitCode = await main(run)

function parse() {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: 'string' },
        seeds: { type: 'string' },
        profile: { type: 'string', default: 'swarm' },
        options: { type: 'string' },
        json: { type: 'boolean', default: false },
        shrink: { type: 'boolean', default: false },
        'until-failure': { type: 'boolean', default: false },
        events: { type: 'boolean', default: false },
      },
    })
    const profile = PROFILES.find((name) => name === values.profile)
    const [, first, last] = /^(\d{1,15})(?:\.\.(\d{1,15}))?$/.exec(values.seed ?? values.seeds ?? '1..20') ?? []
    if (profile === undefined || first === undefined || (values.seed !== undefined && last !== undefined))
      return undefined
    const seeds = { from: Number(first), to: Number(last ?? first) }
    if (seeds.to < seeds.from) return undefined
    return { ...values, profile, seeds, options: values.options === undefined ? undefined : JSON.parse(values.options) }
  } catch {
    return undefined
  }
}

/** @param {NonNullable<ReturnType<typeof parse>>} run */
async function main({ profile, seeds, options, json, events, shrink: shrinks, 'until-failure': untilFailure }) {
  const count = options === undefined ? seeds.to - seeds.from + 1 : 1
  const all = { failed: 0, ms: /** @type {number[]} */ ([]), operations: 0, virtualMs: 0 }
  const startedAt = performance.now()
  for (let i = 0; i < count; i++) {
    const chosen = options ?? drawOptions(seeds.from + i, profile)
    const began = performance.now()
    const report = await runOnce(chosen, events)
    const ms = performance.now() - began
    all.ms.push(ms)
    all.operations += report.operations
    all.virtualMs += report.virtualMs
    if (report.violations.length > 0) all.failed++
    console.log(json ? JSON.stringify(resultOf(report)) : lineOf(report, ms))
    if (report.violations.length > 0 && !json) explain(report)
    if (shrinks && report.violations.length > 0) await printSmaller(chosen)
    progress(i + 1, count, all.failed, startedAt)
    if (untilFailure && all.failed > 0) break
  }
  const rate = (all.operations / (all.virtualMs / 1_000)).toFixed(0)
  console.error(
    `${all.ms.length} seeds, ${all.failed} failed; ${median(all.ms).toFixed(0)} ms a seed at the median, ${rate} operations per virtual second`,
  )
  return all.failed === 0 ? 0 : 1
}

/** @param {import('@cordillera/simulator').SeedOptions} options */
async function runOnce(options, events = false) {
  const onEvent = events ? { onEvent: (/** @type {string} */ text) => console.error(text) } : {}
  const ended = await runSeed({ options, runTurns: turnsOfNode, ...onEvent })
  const rejections = unhandled.splice(0).map((error) => `unhandled rejection: ${error}`)
  return { ...ended, violations: [...ended.violations, ...rejections] }
}

/** @param {import('@cordillera/simulator').SeedOptions} options */
async function printSmaller(options) {
  const smallest = await shrink(options, {
    tryRun: async (candidate) => {
      const { violations, struck } = await runOnce(candidate)
      return violations.length > 0 ? { struck } : undefined
    },
    onSmaller: ({ faultsMs, faults }) =>
      console.error(`smaller: ${faultsMs} ms, without ${faults.leftOut?.length ?? 0} faults`),
  })
  const report = await runOnce(smallest)
  console.error(`smallest, with ${[...report.faults.keys()].join(', ') || 'no faults'}: ${report.violations[0]}`)
  console.error(`npm run sim -- --options '${JSON.stringify(smallest)}'`)
}

/** @param {import('@cordillera/simulator').SeedReport} report */
function resultOf(report) {
  const { options, virtualMs, events, operations, faults, traceHash, violations, bank } = report
  return {
    seed: options.seed,
    options,
    virtualSeconds: virtualMs / 1_000,
    events,
    operations,
    faults: Object.fromEntries(faults),
    traceHash,
    verdict: violations.length === 0 ? 'pass' : 'fail',
    violations,
    ...(bank === undefined ? {} : { bank }),
  }
}

/** @param {import('@cordillera/simulator').SeedReport} report @param {number} ms */
function lineOf({ options, virtualMs, operations, faults, traceHash, violations, bank }, ms) {
  const kinds = [...faults].map(([kind, times]) => (times === 1 ? kind : `${kind} ×${times}`)).join(', ')
  const verdict = violations.length === 0 ? 'pass' : 'FAIL'
  return `${verdict} ${options.seed} ${traceHash} ${(virtualMs / 1_000).toFixed(0)} s in ${ms.toFixed(0)} ms, ${operations} operations${bank === undefined ? '' : ` (${bank.transfers} transfers)`}; ${kinds || 'no faults'}`
}

/** @param {import('@cordillera/simulator').SeedReport} report */
function explain({ options, violations }) {
  for (const violation of violations) console.log(`  ${violation}`)
  console.log(`  npm run sim -- --profile ${options.profile} --seed ${options.seed}`)
  console.log(`  options ${JSON.stringify(options)}`)
}

/** @param {number} done @param {number} count @param {number} failed @param {number} startedAt */
function progress(done, count, failed, startedAt) {
  const perSecond = done / ((performance.now() - startedAt) / 1_000)
  const text = `${done} of ${count} seeds, ${failed} failed, ${perSecond.toFixed(1)} a second, ${((count - done) / perSecond).toFixed(0)} s left`
  if (process.stderr.isTTY) process.stderr.write(`\r${text}\x1b[K${done === count ? '\n' : ''}`)
  else if (done % 100 === 0 && done < count) console.error(text)
}

/** @param {number[]} values */
function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}
