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

test('faults are counted, and can be left out one by one: that is how the shrinker works', async () => {
  const options = { ...drawOptions(5, 'network'), faultsMs: 5_000 }
  const without = (leftOut: readonly number[]) =>
    runSeed({ options: { ...options, faults: { ...options.faults, leftOut } }, runTurns: turnsOfNode })
  const { struck } = await runSeed({ options, runTurns: turnsOfNode })
  expect(struck).toBeGreaterThan(3)
  const none = await without(Array.from({ length: struck }, (_, i) => i))
  expect(none.struck).toBe(struck)
  expect([...none.faults]).toEqual([])
  const last = await without(Array.from({ length: struck - 1 }, (_, i) => i))
  expect([...last.faults.values()]).toEqual([1])
})
