// @ts-check
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { mutants } from './mutants.mjs'

/**
 * `npm run bug-bank`: puts each mutant of `mutants.mjs` into a copy of the repository, builds it, and lets the simulator or
 * the tests look for it. Prints the mutant, the seeds that it took, and what caught it, then how many the seeds caught. Exits
 * with 1 when one survives, or when the copy without a mutant does not pass. A run that ends without a verdict has caught nothing.
 *
 * `npm run bug-bank -- [NAME …] [--seeds N]`: those alone; at most so many seeds (500).
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { seeds: { type: 'string', default: '500' } },
})
const chosen = mutants.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
if (chosen.length === 0) throw new Error(`no such mutant; there are ${mutants.map(({ name }) => name).join(', ')}`)

const copy = mkdtempSync(join(tmpdir(), 'cordillera-bug-bank-'))
process.on('exit', () => rmSync(copy, { recursive: true, force: true }))
let survivors = 0
let bySeeds = 0
copyRepository()
build()
for (const profile of new Set(chosen.flatMap((mutant) => mutant.profile ?? []))) {
  const clean = simulate(profile, 10)
  if (clean.seed !== undefined) throw new Error(`without a mutant ${profile} fails: ${clean.violation}`)
}
for (const test of new Set(chosen.flatMap((mutant) => mutant.test ?? []))) {
  const failure = runTests(test)
  if (failure !== undefined) throw new Error(`without a mutant there fail ${failure}`)
}
for (const mutant of chosen) {
  const caught = look(mutant)
  if (caught === undefined) survivors++
  else if (mutant.test === undefined) bySeeds++
  console.log(`${caught === undefined ? 'SURVIVED' : 'caught  '} ${mutant.name}: ${caught ?? mutant.row}`)
}
console.log(`${chosen.length - survivors} of ${chosen.length} mutants caught, ${bySeeds} of them by seeds`)
process.exitCode = survivors === 0 ? 0 : 1

/** Packages and tools are copied; what is installed is linked, but for the packages of the repository itself. */
function copyRepository() {
  const isSource = (/** @type {string} */ path) => !/(?:\/node_modules|\/\.turbo)$/.test(path)
  for (const name of ['packages', 'tools'])
    cpSync(join(root, name), join(copy, name), { recursive: true, filter: isSource })
  for (const name of ['package.json', 'tsconfig.json']) cpSync(join(root, name), join(copy, name))
  const modules = join(copy, 'node_modules')
  mkdirSync(join(modules, '@cordillera'), { recursive: true })
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== '@cordillera') symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
  for (const name of readdirSync(join(root, 'node_modules/@cordillera'))) {
    symlinkSync(join(copy, 'packages', name), join(modules, '@cordillera', name))
  }
}

function build() {
  execFileSync(join(root, 'node_modules/.bin/tsc'), ['-b', 'packages/simulator'], { cwd: copy, stdio: 'inherit' })
}

/** @param {import('./mutants.mjs').Mutant} mutant @returns {string | undefined} what caught it */
function look({ file, find, put, profile, test }) {
  const path = join(copy, file)
  const source = readFileSync(path, 'utf8')
  if (source.split(find).length !== 2) throw new Error(`${file} does not have this once: ${find}`)
  writeFileSync(
    path,
    source.replace(find, () => put),
  )
  try {
    if (test !== undefined) return runTests(test)
    build()
    const { seed, seeds, violation } = simulate(profile ?? 'swarm', Number(flags.seeds))
    return seed === undefined ? undefined : `${seeds} seeds of ${profile}; ${violation}`
  } finally {
    writeFileSync(path, source)
  }
}

/** @param {string} path */
function runTests(path) {
  const args = ['vitest', 'run', '--config', 'tools/vitest.config.mjs', '--reporter=json', path]
  const { stdout } = spawnSync('npx', ['--no-install', ...args], { cwd: copy, encoding: 'utf8', maxBuffer: 1 << 28 })
  const report = JSON.parse(stdout.slice(stdout.indexOf('{')))
  const failed = report.testResults.flatMap((/** @type {any} */ { assertionResults }) =>
    assertionResults.filter((/** @type {any} */ { status }) => status === 'failed'),
  )
  return failed.length === 0 ? undefined : `${failed.length} tests of ${path}; ${failed[0].fullName}`
}

/** @param {string} profile @param {number} seeds */
function simulate(profile, seeds) {
  const args = ['tools/sim.mjs', '--profile', profile, '--seeds', `1..${seeds}`, '--json', '--until-failure']
  const { stdout, status, signal, stderr } = spawnSync(process.execPath, args, {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  const lines = stdout.trim().split('\n')
  if (status === 0) return { seed: undefined, seeds: lines.length, violation: '' }
  const last = status === 1 ? JSON.parse(lines.at(-1) ?? '') : undefined
  if (last?.verdict !== 'fail')
    throw new Error(`the simulator ended with ${status ?? signal}, without a verdict\n${stderr}`)
  return { seed: last.seed, seeds: lines.length, violation: last.violations[0].split('\n')[0] }
}
