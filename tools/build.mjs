import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/**
 * `npm run build`: compiles every package, each after those that it imports, and only what has changed. It prints the
 * compiler's output when that fails, and sends no telemetry.
 */
const args = ['--no-install', 'turbo', 'run', 'build', '--ui=stream', '--output-logs=errors-only']
const { status, stdout, stderr, error } = spawnSync('npx', args, {
  cwd: fileURLToPath(new URL('..', import.meta.url)),
  env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1' },
  encoding: 'utf8',
  shell: process.platform === 'win32',
})
if (status !== 0) console.error(error?.message ?? stdout + stderr)
process.exitCode = status ?? 1
