import { describe, expect, it } from 'vitest'
import { SystemClock } from './system-clock.js'

const clock = new SystemClock()

describe('SystemClock', () => {
  it('never runs a timer early', async () => {
    const early = await Promise.all(
      Array.from({ length: 50 }, (_, i) => {
        const dueMs = clock.now() + i / 7
        return new Promise<boolean>((resolve) => clock.after(i / 7, () => resolve(clock.now() < dueMs)))
      }),
    )
    expect(early).not.toContain(true)
  })

  it('does not run what was cancelled, and defers in order', async () => {
    const ran: string[] = []
    const timer = clock.after(0, () => ran.push('cancelled'))
    timer.cancel()
    timer.cancel()
    clock.defer(() => ran.push('first'))
    clock.defer(() => ran.push('second'))
    await new Promise<void>((resolve) => clock.after(2, resolve))
    expect(ran).toEqual(['first', 'second'])
  })
})
