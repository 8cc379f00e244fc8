import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { scratchDirectory } from './scratch.js'

/** That the benchmarks run and that no request of them fails; their figures are another matter. */
const bench = fileURLToPath(new URL('../bench/run.mjs', import.meta.url))

test('the benchmark runs', { timeout: 120_000 }, async () => {
  const options = ['--quick', '--seconds', '1', '--keys', '2000', '--connections', '16', '--only', 'all']
  const { stdout } = await promisify(execFile)(process.execPath, [bench, ...options, '--data', scratchDirectory()])
  const rows = stdout.split('\n').filter((line) => /^(put|get)-16-(bare|all) /.test(line))
  expect(rows.map((row) => row.split(' ')[0])).toEqual(['put-16-bare', 'put-16-all', 'get-16-bare', 'get-16-all'])
  expect(stdout).not.toContain('NaN')
})

test('a node goes down under a steady load and returns', { timeout: 120_000 }, async () => {
  const options = ['--quick', '--seconds', '1', '--writes', '500', '--rate', '200', '--data', scratchDirectory()]
  const { stdout } = await promisify(execFile)(process.execPath, [bench, 'laggard', ...options])
  for (const phase of ['quiet', 'fall', 'down', 'return', 'after'])
    expect(stdout).toMatch(RegExp(`^${phase} +\\d`, 'm'))
  for (const claim of ['writes', 'returns']) expect(stdout).toMatch(RegExp(`^holds +${claim}:`, 'm'))
  expect(stdout).not.toContain('NaN')
})
