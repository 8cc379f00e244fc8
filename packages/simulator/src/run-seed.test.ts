import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runSeed } from './run-seed.js'
import { drawOptions, type Profile, type SeedOptions } from './seed-options.js'
import { turnsOfNode } from './testing/turns-of-node.js'
import type { RunTurns } from './virtual-clock.js'

/** Of one seed, in real time. A run takes one second, or ten when much goes on in it. */
const TIMEOUT_MS = 120_000

/** It ends with its test: one that goes round in circles would take its processor from all that follow. */
const runOf = (options: SeedOptions, signal: AbortSignal) => {
  const runTurns: RunTurns = (turn) =>
    turnsOfNode(() => {
      signal.throwIfAborted()
      return turn()
    })
  return runSeed({ options, runTurns })
}

const run = (seed: number, profile: Profile, faultsMs: number, signal: AbortSignal) =>
  runOf({ ...drawOptions(seed, profile), faultsMs }, signal)

const regressions: { found: string; options: SeedOptions }[] = JSON.parse(
  readFileSync(new URL('../regressions.json', import.meta.url), 'utf8'),
)

// Runs that once found a defect, as the shrinker left them. Vitest fails a run with an unhandled rejection.
test.for(regressions)(
  'what it found once stays fixed: $found',
  { timeout: TIMEOUT_MS },
  async (regression, { signal }) => {
    expect((await runOf(regression.options, signal)).violations).toEqual([])
  },
)

const seeds = Array.from({ length: 100 }, (_, i) => i + 1)
test.for(seeds)('seed %i keeps every promise', { timeout: TIMEOUT_MS }, async (seed, { signal }) => {
  const report = await runOf(drawOptions(seed, 'swarm'), signal)
  expect(report.violations).toEqual([])
  expect(report.operations).toBeGreaterThan(100)
})

test('the same seed is the same run, and another one is not', async ({ signal }) => {
  const [first, again, other] = [
    await run(77, 'swarm', 5_000, signal),
    await run(77, 'swarm', 5_000, signal),
    await run(78, 'swarm', 5_000, signal),
  ]
  expect(again.traceHash).toBe(first.traceHash)
  expect(again.history).toEqual(first.history)
  expect(other.traceHash).not.toBe(first.traceHash)
})

test('faults are counted, and can be left out one by one: that is how the shrinker works', async ({ signal }) => {
  const options = { ...drawOptions(5, 'network'), faultsMs: 5_000 }
  const without = (leftOut: readonly number[]) => runOf({ ...options, faults: { ...options.faults, leftOut } }, signal)
  const { struck } = await runOf(options, signal)
  expect(struck).toBeGreaterThan(3)
  const none = await without(Array.from({ length: struck }, (_, i) => i))
  expect(none.struck).toBe(struck)
  expect([...none.faults]).toEqual([])
  const last = await without(Array.from({ length: struck - 1 }, (_, i) => i))
  expect([...last.faults.values()]).toEqual([1])
})
