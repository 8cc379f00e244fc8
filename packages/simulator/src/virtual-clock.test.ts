import { expect, test } from 'vitest'
import { turnsOfNode } from './testing/turns-of-node.js'
import { ProcessClock, VirtualClock } from './virtual-clock.js'

const clockAt = () => new VirtualClock({ runTurns: turnsOfNode })

test('events run in order of time, then of registration; time jumps', async () => {
  const clock = clockAt()
  const seen: string[] = []
  const note = (name: string) => () => seen.push(`${name}@${clock.now()}`)
  clock.after(20, note('c'))
  clock.after(10, note('a'))
  clock.after(10, note('b'))
  clock.after(30, note('never')).cancel()
  clock.after(1_000_000, note('far'))
  await clock.run(100)
  expect(seen).toEqual(['a@10', 'b@10', 'c@20'])
  expect(clock.now()).toBe(100)
})

test('promise jobs, however deep, run before the next event of the same moment', async () => {
  const clock = clockAt()
  const seen: string[] = []
  clock.after(1, () => {
    void (async () => {
      for (let i = 0; i < 500; i++) await null
      seen.push('jobs')
    })()
  })
  clock.after(1, () => seen.push('event'))
  clock.defer(() => seen.push('deferred'))
  await clock.run(2)
  expect(seen).toEqual(['deferred', 'jobs', 'event'])
})

test('what is deferred runs behind everything due, and what that defers a round later', async () => {
  const clock = clockAt()
  const seen: string[] = []
  clock.after(1, () => {
    clock.defer(() => {
      seen.push('deferred-1')
      clock.defer(() => seen.push('deferred-3'))
      clock.after(0, () => seen.push('due-3'))
    })
    clock.defer(() => seen.push('deferred-2'))
    clock.after(0, () => seen.push('due-2'))
    seen.push('due-1')
  })
  await clock.run(2)
  expect(seen).toEqual(['due-1', 'due-2', 'deferred-1', 'deferred-2', 'due-3', 'deferred-3'])
})

test('runUntil says whether the condition came to hold, and what was thrown', async () => {
  const clock = clockAt()
  let isDone = false
  clock.after(5, () => {
    isDone = true
  })
  expect(await clock.runUntil(() => isDone, 100)).toBe(true)
  expect(clock.now()).toBe(5)
  expect(await clock.runUntil(() => false, 100)).toBe(false)
  expect(clock.now()).toBe(105)
  clock.after(1, () => {
    throw new Error('thrown')
  })
  await expect(clock.run(10)).rejects.toThrow('thrown')
})

test('a dead process does nothing any more', async () => {
  const clock = clockAt()
  const process = new ProcessClock(clock)
  const seen: string[] = []
  process.after(1, () => seen.push('timer'))
  process.defer(() => seen.push('deferred'))
  process.kill()
  await clock.run(10)
  expect(seen).toEqual([])
})

test('the same events come in the same order for any heap of them', async () => {
  const clock = clockAt()
  const seen: number[] = []
  for (let i = 0; i < 50_000; i++) clock.after((i * 7919) % 1009, () => seen.push(clock.now()))
  await clock.run(2_000)
  expect(seen).toHaveLength(50_000)
  expect(seen).toEqual([...seen].sort((a, b) => a - b))
})
