import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * `npm test`: every check of the repository in a fixed order, and one last line that says how it went:
 * `N passed, N failed`.
 *
 * Tests are counted one by one; a check that is not a test (lint, types, build) counts only when it fails, and so does a
 * runner that crashes. It exits with 0 only when nothing failed, nothing was skipped and tests ran in every runner.
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const reports = mkdtempSync(join(tmpdir(), 'cordillera-checks-'))
const outcomes = []
try {
  runCommand('lint', 'npx', ['--no-install', 'biome', 'check', '--error-on-warnings', '.'])
  runCommand('packages', process.execPath, ['tools/check-packages.mjs'])
  runCommand('types of tests', 'npx', ['--no-install', 'tsc', '--project', 'tools/tsconfig.checks.json'])
  const built = runCommand('build', process.execPath, ['tools/build.mjs'])
  runTests('unit tests', 'tools/vitest.config.mjs')
  if (built) runTests('process tests', 'tools/vitest.process.config.mjs')
  else outcomes.push({ name: 'process tests (nothing was built)', passed: 0, failed: 1, seconds: 0 })
} finally {
  rmSync(reports, { recursive: true, force: true })
}
process.exitCode = summarise()

function runCommand(name, command, args) {
  const { status, seconds } = run(name, command, args)
  outcomes.push({ name, passed: 0, failed: status === 0 ? 0 : 1, seconds })
  return status === 0
}

function runTests(name, config) {
  const report = join(reports, `${outcomes.length}.json`)
  const reporters = ['--reporter=dot', '--reporter=json', `--outputFile.json=${report}`]
  const { status, seconds } = run(name, 'npx', ['--no-install', 'vitest', 'run', '--config', config, ...reporters])
  outcomes.push({ name, ...countTests(report, status), seconds })
}

/** A runner that reports no failure and still exits with an error (a file that does not load, a crash) counts as one. */
function countTests(report, status) {
  try {
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = JSON.parse(readFileSync(report, 'utf8'))
    const failed = numFailedTests + numPendingTests + numTodoTests
    const nothingRan = numPassedTests + numFailedTests === 0
    return { passed: numPassedTests, failed: Math.max(failed, status === 0 && !nothingRan ? 0 : 1) }
  } catch {
    return { passed: 0, failed: 1 }
  }
}

function run(name, command, args) {
  console.log(`\n== ${name}`)
  const startMs = performance.now()
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (error !== undefined) console.error(`${command}: ${error.message}`)
  return { status, seconds: (performance.now() - startMs) / 1000 }
}

/** Prints the outcome of every check, then the line that CI reads. The exit code. */
function summarise() {
  console.log('')
  for (const { name, passed, failed, seconds } of outcomes) {
    const verdict = failed > 0 ? 'FAILED' : 'ok'
    const tests = passed + failed > 1 || passed > 0 ? `  ${passed} passed, ${failed} failed` : ''
    console.log(`${verdict.padEnd(7)} ${name.padEnd(18)} ${seconds.toFixed(1).padStart(6)} s${tests}`)
  }
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0)
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0)
  console.log(`\n${passed} passed, ${failed} failed`)
  return failed === 0 && passed > 0 ? 0 : 1
}
