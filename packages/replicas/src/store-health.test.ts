import { expect, test } from 'vitest'
import { defaultStoreHealthLimits, type StoreCondition, StoreHealth, type StoreHealthLimits } from './store-health.js'

/** A disk on which one sync follows the other, looked at every 100 ms. */
class Disk {
  readonly health: StoreHealth
  nowMs = 1_000
  /** Every condition that it was in, without repetitions. */
  readonly seen: StoreCondition[] = ['healthy']
  #beganMs = 1_000

  constructor(limits: StoreHealthLimits = defaultStoreHealthLimits) {
    this.health = new StoreHealth(limits, this.nowMs)
  }

  /** Syncs that take so long each, one after the other. */
  run(forMs: number, syncMs: number): this {
    const untilMs = this.nowMs + forMs
    while (this.nowMs < untilMs) {
      this.nowMs += 10
      if (this.nowMs - this.#beganMs >= syncMs) {
        this.health.onSync(this.nowMs - this.#beganMs)
        this.#beganMs = this.nowMs
      }
      if (this.nowMs % 100 === 0) this.look()
    }
    return this
  }

  look(): void {
    const condition = this.health.check(this.nowMs, this.nowMs - this.#beganMs)
    if (condition !== this.seen.at(-1)) this.seen.push(condition)
  }

  /** The process stands still in the middle of a sync. */
  pause(ms: number): this {
    this.nowMs += ms
    this.look()
    return this
  }
}

const NEVER = Number.POSITIVE_INFINITY

test('syncs of a good disk, and a bad one now and then, leave it healthy', () => {
  const disk = new Disk()
  for (let i = 0; i < 20; i++) disk.run(3_000, 20).run(600, 600)
  expect(disk.seen).toEqual(['healthy'])
})

test('a disk that is slow most of the time is slow soon', () => {
  const disk = new Disk().run(5_000, 20)
  const beganMs = disk.nowMs
  while (disk.health.condition === 'healthy') disk.run(100, 400)
  expect(disk.nowMs - beganMs).toBeLessThanOrEqual(2_500)
  expect(disk.seen).toEqual(['healthy', 'slow'])
})

test('a sync under way is a stall after a second, and the end after thirty', () => {
  const disk = new Disk().run(500, 20).run(900, NEVER)
  expect(disk.health.condition).toBe('healthy')
  disk.run(300, NEVER)
  expect(disk.health.condition).toBe('stalled')
  disk.run(28_000, NEVER)
  expect(disk.health.condition).toBe('stalled')
  disk.run(2_000, NEVER)
  expect(disk.health.condition).toBe('dead')
  disk.run(100_000, 10)
  expect(disk.seen).toEqual(['healthy', 'stalled', 'dead'])
})

test('after a stall it is healthy only once it has been well for a hold', () => {
  const disk = new Disk().run(3_000, NEVER)
  const endedMs = disk.nowMs
  while (disk.health.condition !== 'healthy') disk.run(100, 20)
  expect(disk.seen).toEqual(['healthy', 'stalled', 'slow', 'healthy'])
  expect(disk.nowMs - endedMs).toBeGreaterThan(5_000)
  expect(disk.nowMs - endedMs).toBeLessThan(10_000)
})

test('without a sync nothing shows that it is well', () => {
  const limits = defaultStoreHealthLimits
  const health = new StoreHealth(limits, 0)
  for (let nowMs = 100; nowMs <= 2_000; nowMs += 100) health.check(nowMs, nowMs)
  health.onSync(2_000)
  for (let nowMs = 2_100; nowMs <= 60_000; nowMs += 100) expect(health.check(nowMs, 0)).toBe('slow')
  for (let i = 0; i < 3; i++) health.onSync(5)
  expect(health.check(60_100, 0)).toBe('healthy')
})

test('relapses double the hold up to its maximum, and a long good time makes it short again', () => {
  const disk = new Disk({ ...defaultStoreHealthLimits, holdMsMax: 20_000 })
  const holds: number[] = []
  for (let i = 0; i < 4; i++) {
    disk.run(2_000, NEVER)
    while (disk.health.condition !== 'healthy') disk.run(100, 20)
    holds.push(disk.health.holdMs)
  }
  expect(holds).toEqual([5_000, 10_000, 20_000, 20_000])
  disk.run(90_000, 20).run(2_000, NEVER)
  expect(disk.health.holdMs).toBe(5_000)
})

test('a process that was stopped in the middle of a sync did not see a stall', () => {
  const disk = new Disk().run(1_000, 20).pause(120_000)
  expect(disk.health.condition).toBe('healthy')
  disk.run(5_000, 20)
  expect(disk.seen).toEqual(['healthy'])
})
