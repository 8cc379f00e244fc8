import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { scratchDirectory } from './scratch.js'

/** That the benchmark runs and that no request of it fails; its figures are another matter. */
const bench = fileURLToPath(new URL('../bench/run.mjs', import.meta.url))

test('the benchmark runs', { timeout: 120_000 }, async () => {
  const options = ['--quick', '--seconds', '1', '--keys', '2000', '--connections', '16', '--only', 'all']
  const { stdout } = await promisify(execFile)(process.execPath, [bench, ...options, '--data', scratchDirectory()])
  const rows = stdout.split('\n').filter((line) => /^(put|get)-16-(bare|all) /.test(line))
  expect(rows.map((row) => row.split(' ')[0])).toEqual(['put-16-bare', 'put-16-all', 'get-16-bare', 'get-16-all'])
  expect(stdout).not.toContain('NaN')
})
