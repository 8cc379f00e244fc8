import { describe, expect, it } from 'vitest'
import { stateEngineContract } from './engine-contract.js'
import { MemoryEngine } from './memory-engine.js'
import { ManualClock } from './testing/manual-clock.js'

const immediate = new (class extends ManualClock {
  override defer(callback: () => void): void {
    Promise.resolve().then(callback)
  }
})()

stateEngineContract({ describe, it, expect }, 'memory', async () => {
  let engine: MemoryEngine | undefined
  return {
    open: async () => {
      engine = engine === undefined ? new MemoryEngine({ clock: immediate }) : engine.reopen()
      return engine
    },
    dispose: async () => {},
  }
})
