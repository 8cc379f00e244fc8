import fc from 'fast-check'
import { expect, test } from 'vitest'
import { defaultStoreHealthLimits, StoreHealth } from './store-health.js'

/** What a disk does for a while: syncs of one duration, one after the other, or nothing at all. */
const phase = fc.record({
  forMs: fc.oneof(fc.integer({ min: 100, max: 5_000 }), fc.integer({ min: 100, max: 60_000 })),
  syncMs: fc.oneof(
    fc.constant(Number.POSITIVE_INFINITY),
    fc.integer({ min: 1, max: 100 }),
    fc.integer({ min: 200, max: 3_000 }),
  ),
})

interface Turn {
  readonly atMs: number
  readonly isHealthy: boolean
  readonly holdMs: number
}

/** When it became unfit and fit, and what was seen of its condition. */
function run(phases: readonly { readonly forMs: number; readonly syncMs: number }[]): { turns: Turn[]; dead: boolean } {
  const health = new StoreHealth(defaultStoreHealthLimits, 0)
  const turns: Turn[] = []
  let nowMs = 0
  let beganMs = 0
  let wasHealthy = true
  for (const { forMs, syncMs } of phases) {
    for (const untilMs = nowMs + forMs; nowMs < untilMs; ) {
      nowMs += 100
      while (nowMs - beganMs >= syncMs) {
        health.onSync(syncMs)
        beganMs = syncMs < 100 ? nowMs : beganMs + syncMs
      }
      const condition = health.check(nowMs, nowMs - beganMs)
      if (condition === 'dead') return { turns, dead: true }
      const isHealthy = condition === 'healthy'
      if (isHealthy !== wasHealthy) turns.push({ atMs: nowMs, isHealthy, holdMs: health.holdMs })
      wasHealthy = isHealthy
    }
  }
  return { turns, dead: false }
}

test('whatever a disk does, an unfit store stays so for its hold, and relapses lengthen that', () => {
  fc.assert(
    fc.property(fc.array(phase, { minLength: 1, maxLength: 60 }), (phases) => {
      const { holdMsMin, holdMsMax } = defaultStoreHealthLimits
      const { turns } = run(phases)
      for (const [i, turn] of turns.entries()) {
        expect(turn.isHealthy).toBe(i % 2 === 1)
        expect(turn.holdMs).toBeGreaterThanOrEqual(holdMsMin)
        expect(turn.holdMs).toBeLessThanOrEqual(holdMsMax)
        const before = turns[i - 1]
        if (before === undefined) continue
        if (turn.isHealthy) expect(turn.atMs - before.atMs).toBeGreaterThanOrEqual(turn.holdMs)
        else if (turn.atMs - before.atMs < 4 * before.holdMs) {
          expect(turn.holdMs).toBe(Math.min(2 * before.holdMs, holdMsMax))
        }
      }
    }),
    { numRuns: 500 },
  )
})

test('no disk makes a store flap: in half a minute it becomes unfit three times at most', () => {
  fc.assert(
    fc.property(fc.array(phase, { minLength: 1, maxLength: 100 }), (phases) => {
      const starts = run(phases).turns.filter(({ isHealthy }) => !isHealthy)
      for (const [i, { atMs }] of starts.entries()) {
        const fourth = starts[i + 3]
        if (fourth !== undefined) expect(fourth.atMs - atMs).toBeGreaterThan(30_000)
      }
    }),
    { numRuns: 500 },
  )
})

test('a disk that is well for good is believed in the end', () => {
  fc.assert(
    fc.property(fc.array(phase, { maxLength: 30 }), (phases) => {
      const before = run(phases)
      const { holdMsMax } = defaultStoreHealthLimits
      const { turns, dead } = run([...phases, { forMs: holdMsMax + 10_000, syncMs: 5 }])
      fc.pre(!before.dead && !dead)
      expect(turns.at(-1)?.isHealthy ?? true).toBe(true)
    }),
    { numRuns: 200 },
  )
})
