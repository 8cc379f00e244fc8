import { Buffer } from 'node:buffer'
import { describe, expect, it } from 'vitest'
import { MemoryEngine } from './memory-engine.js'
import { ManualClock } from './testing/manual-clock.js'

function put(engine: MemoryEngine, key: string, value: string): Promise<void> {
  const batch = engine.batch()
  batch.put(key, Buffer.from(value))
  return batch.write()
}

describe('the memory engine', () => {
  it('loses in a crash what had not resolved, although it was visible', async () => {
    const clock = new ManualClock()
    const engine = new MemoryEngine({ clock, writeDelayMs: 5 })
    await clock.until(put(engine, 'a', 'durable'))
    let ended = false
    const onEnd = (): void => {
      ended = true
    }
    put(engine, 'a', 'visible').then(onEnd, onEnd)
    while (engine.get('a')?.toString() !== 'visible') await clock.turn()
    const after = engine.crash()
    await clock.pass(100)
    expect(after.get('a')?.toString()).toBe('durable')
    expect(ended).toBe(false)
    expect(() => engine.get('a')).toThrow()
  })

  it('keeps after a kill what was visible', async () => {
    const clock = new ManualClock()
    const engine = new MemoryEngine({ clock, writeDelayMs: 5 })
    void put(engine, 'a', 'visible')
    while (engine.get('a') === undefined) await clock.turn()
    expect(engine.kill().get('a')?.toString()).toBe('visible')
  })

  it('fails writes when told to, whole, and heals', async () => {
    const clock = new ManualClock()
    const engine = new MemoryEngine({ clock })
    engine.failWrites(new Error('EIO'))
    await expect(clock.until(put(engine, 'a', '1'))).rejects.toThrow('EIO')
    expect(engine.get('a')).toBeUndefined()
    engine.failWrites(undefined)
    await clock.until(put(engine, 'a', '2'))
    expect(engine.get('a')?.toString()).toBe('2')
  })
})
