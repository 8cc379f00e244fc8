import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runSeed } from './run-seed.js'
import { drawOptions, type Profile, type SeedOptions } from './seed-options.js'
import { turnsOfNode } from './testing/turns-of-node.js'

const run = (seed: number, profile: Profile, faultsMs?: number) => {
  const options = drawOptions(seed, profile)
  return runSeed({ options: faultsMs === undefined ? options : { ...options, faultsMs }, runTurns: turnsOfNode })
}

const regressions: { found: string; options: SeedOptions }[] = JSON.parse(
  readFileSync(new URL('../regressions.json', import.meta.url), 'utf8'),
)

// Runs that once found a defect, as the shrinker left them. Vitest fails a run with an unhandled rejection.
test.each(regressions)('what it found once stays fixed: $found', async ({ options }) => {
  expect((await runSeed({ options, runTurns: turnsOfNode })).violations).toEqual([])
})

test.each(Array.from({ length: 100 }, (_, i) => i + 1))('seed %i keeps every promise', async (seed) => {
  const report = await run(seed, 'swarm')
  expect(report.violations).toEqual([])
  expect(report.operations).toBeGreaterThan(100)
})

test('the same seed is the same run, and another one is not', async () => {
  const [first, again, other] = [
    await run(77, 'swarm', 5_000),
    await run(77, 'swarm', 5_000),
    await run(78, 'swarm', 5_000),
  ]
  expect(again.traceHash).toBe(first.traceHash)
  expect(again.history).toEqual(first.history)
  expect(other.traceHash).not.toBe(first.traceHash)
})
