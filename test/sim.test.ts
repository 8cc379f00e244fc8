import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

/** The simulator's command: the same seeds are the same runs in two processes, and it says what it did. */
const SIM = fileURLToPath(new URL('../tools/sim.mjs', import.meta.url))

function sim(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [SIM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { out: '', err: '' }
  child.stdout.on('data', (text) => {
    output.out += text
  })
  child.stderr.on('data', (text) => {
    output.err += text
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...output })))
}

test('50 seeds in two processes are the same to the bit', { timeout: 240_000 }, async () => {
  const [one, other] = await Promise.all([sim('--seeds', '1..50', '--json'), sim('--seeds', '1..50', '--json')])
  expect([one.code, other.code]).toEqual([0, 0])
  expect(other.out).toBe(one.out)
  const results = one.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(results.map(({ seed }) => seed)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
  expect(new Set(results.map(({ traceHash }) => traceHash)).size).toBe(50)
  for (const result of results) {
    expect(result).toMatchObject({ verdict: 'pass', violations: [], options: { profile: 'swarm' } })
    expect(result.virtualSeconds).toBeGreaterThan(8)
    expect(result.events).toBeGreaterThan(result.operations)
    expect(result.operations).toBeGreaterThan(100)
  }
  const faults = new Set(results.flatMap((result) => Object.keys(result.faults)))
  expect(faults.size).toBe(27)
  console.log(one.err.trim().split('\n').at(-1))
})

test('what a failing seed prints is the same run', async () => {
  const [seed] = await Promise.all([sim('--seed', '7', '--json')])
  const { options, traceHash } = JSON.parse(seed.out)
  const again = await sim('--options', JSON.stringify(options), '--json')
  expect(JSON.parse(again.out).traceHash).toBe(traceHash)
})

test.each([
  ['--seed', 'x'],
  ['--seeds', '5..1'],
  ['--seed', '1..2'],
  ['--profile', 'storm'],
  ['--options', '{'],
  ['--unknown'],
])('refuses %s %s', async (...args) => {
  const { code, out, err } = await sim(...args)
  expect([code, out]).toEqual([2, ''])
  expect(err).toContain('npm run sim')
})
