import { expect, it } from 'vitest'
import { PeerLives } from './peer-lives.js'

const life = (incarnation: number, recoveredBatch: number, nonce = 1) => ({ incarnation, recoveredBatch, nonce })

it('lets a start go on after a lost connection, and the next one begin with no less than was heard', () => {
  const lives = new PeerLives()
  expect(lives.begin(2, life(1, 0))).toBeUndefined()
  expect(lives.begin(2, life(1, 0))).toBeUndefined()
  lives.onDurable(2, 10)
  lives.onDurable(2, 8)
  expect(lives.begin(2, life(2, 9))).toMatch(/through batch 10, and start 2 found 9/)
  expect(lives.begin(2, life(2, 10))).toBeUndefined()
  expect(lives.begin(3, life(1, 0))).toBeUndefined()
})

it('counts what a start found as heard, and starts that it has not met', () => {
  const lives = new PeerLives()
  lives.begin(2, life(4, 50))
  expect(lives.begin(2, life(9, 49))).toBeDefined()
  expect(lives.begin(2, life(9, 50))).toBeUndefined()
})

it('takes neither an earlier start nor a second process of the same one', () => {
  const lives = new PeerLives()
  lives.begin(2, life(4, 50, 1))
  expect(lives.begin(2, life(3, 60, 1))).toMatch(/start 4 was met before/)
  expect(lives.begin(2, life(4, 50, 2))).toMatch(/another process/)
  // What was refused has changed nothing.
  expect(lives.begin(2, life(4, 50, 1))).toBeUndefined()
})

it('hears nothing of a node that it has not met', () => {
  const lives = new PeerLives()
  lives.onDurable(2, 10)
  expect(lives.begin(2, life(1, 0))).toBeUndefined()
})
