import { expect, it } from 'vitest'
import { OperationWindow } from './operation-window.js'

function windowOf(operationsMax: number, bytesMax: number): { window: OperationWindow; seen: string[] } {
  const seen: string[] = []
  const [onBusy, onIdle] = [() => seen.push('busy'), () => seen.push('idle')]
  return { window: new OperationWindow({ operationsMax, bytesMax, onBusy, onIdle }), seen }
}

it('starts what has room at once and the rest in order, as others leave', () => {
  const { window, seen } = windowOf(2, 100)
  for (const name of ['a', 'b', 'c', 'd']) window.enter(10, () => seen.push(name))
  expect(seen).toEqual(['busy', 'a', 'b'])
  window.leave(10)
  expect(seen.slice(3)).toEqual(['c'])
  for (let i = 0; i < 3; i++) window.leave(10)
  expect(seen.slice(3)).toEqual(['c', 'd', 'idle'])
})

it('counts bytes, takes what is larger than all of them alone, and lets nothing pass it', () => {
  const { window, seen } = windowOf(10, 100)
  window.enter(60, () => seen.push('a'))
  window.enter(150, () => seen.push('large'))
  window.enter(1, () => seen.push('b'))
  expect(seen).toEqual(['busy', 'a'])
  window.leave(60)
  expect(seen).toEqual(['busy', 'a', 'large'])
  window.leave(150)
  expect(seen).toEqual(['busy', 'a', 'large', 'b'])
})

it('takes what comes while something starts behind what waits', () => {
  const { window, seen } = windowOf(1, 100)
  window.enter(1, () => seen.push('a'))
  window.enter(1, () => {
    seen.push('b')
    window.enter(1, () => seen.push('d'))
  })
  window.enter(1, () => seen.push('c'))
  for (let i = 0; i < 4; i++) window.leave(1)
  expect(seen.filter((name) => name !== 'busy')).toEqual(['a', 'b', 'c', 'd', 'idle'])
})

it('starts each of many, once and in order', () => {
  const { window, seen } = windowOf(3, 1_000)
  for (let i = 0; i < 10_000; i++) window.enter(1, () => seen.push(`${i}`))
  for (let i = 0; i < 10_000; i++) window.leave(1)
  expect(seen).toEqual(['busy', ...Array.from({ length: 10_000 }, (_, i) => `${i}`), 'idle'])
})
