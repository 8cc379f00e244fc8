import { describe, expect, it } from 'vitest'
import { ManualClock } from './manual-clock.js'
import { paced } from './pace.js'

function work(clock: ManualClock, ms: number): () => Promise<string> {
  return () => new Promise((resolve) => clock.after(ms, () => resolve('done')))
}

describe('paced work', () => {
  it('rests for seven times as long as it took, and not for ever', async () => {
    const clock = new ManualClock()
    expect(await clock.run(paced(clock, work(clock, 10)))).toBe('done')
    expect(clock.now()).toBe(80)
    await clock.run(paced(clock, work(clock, 1_000)))
    expect(clock.now()).toBe(80 + 1_000 + 400)
  })

  it('that fails says so at once', async () => {
    const clock = new ManualClock()
    await expect(clock.run(paced(clock, () => Promise.reject(new Error('no'))))).rejects.toThrow('no')
    expect(clock.now()).toBe(0)
  })
})
