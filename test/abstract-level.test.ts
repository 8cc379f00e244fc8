import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/**
 * The suite that `abstract-level` publishes for those who implement it, unmodified, in a process of its own. (How it is
 * laid out is said in `abstract-level-suite.mjs`.)
 */
const SUITE = fileURLToPath(new URL('abstract-level-suite.mjs', import.meta.url))
const run = promisify(execFile)

test("abstract-level's own suite passes on an embedded node", { timeout: 300_000 }, async () => {
  const { stdout } = await run(process.execPath, [SUITE], { maxBuffer: 64 << 20 })
  const [last] = stdout.trimEnd().split('\n').slice(-1)
  console.log(`abstract-level's suite, embedded: ${last}`)
  const [, tests, assertions, failed] = /^(\d+) tests, (\d+) assertions, (\d+) failed/.exec(last!)!.map(Number)
  expect(failed, stdout).toBe(0)
  // As many as there are; fewer would mean that some were skipped.
  expect(tests).toBeGreaterThanOrEqual(1_400)
  expect(assertions).toBeGreaterThanOrEqual(4_500)
})
