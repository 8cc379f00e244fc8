import { beforeEach, describe, expect, it } from 'vitest'
import { CallOrder } from './call-order.js'

let order: CallOrder
let started: string[]
beforeEach(() => {
  order = new CallOrder()
  started = []
})

function write(name: string, ...keys: string[]): void {
  order.whenFree(keys, () => started.push(name))
}

describe('a write', () => {
  it('starts within the call when nothing holds its keys', () => {
    order.beginRead('b')
    order.beginSpan('c', 'd')
    expect(order.isFree('a')).toBe(true)
    write('a', 'a', 'bb', 'd')
    expect(started).toEqual(['a'])
  })

  it('waits for every read of its key that was called before it, and for none that was called later', () => {
    const first = order.beginRead('k')
    const second = order.beginRead('k')
    write('w', 'k')
    const later = order.beginRead('k')
    order.endRead(first)
    expect(started).toEqual([])
    order.endRead(second)
    expect(started).toEqual(['w'])
    expect(order.isFree('k')).toBe(false)
    order.endRead(later)
    expect(order.isFree('k')).toBe(true)
  })

  it('that comes after a later read waits for the earlier ones as well', () => {
    const first = order.beginRead('k')
    write('one', 'k')
    const later = order.beginRead('k')
    write('two', 'k')
    order.endRead(later)
    expect(started).toEqual([])
    order.endRead(first)
    expect(started).toEqual(['one', 'two'])
    expect(order.isFree('k')).toBe(true)
  })

  it('waits for spans that hold one of its keys', () => {
    const [left, right] = [order.beginSpan('a', 'c'), order.beginSpan('c', 'e')]
    write('b', 'b')
    write('both', 'b', 'c', 'd')
    write('e', 'e')
    expect(started).toEqual(['e'])
    order.endSpan(right)
    order.endSpan(right)
    expect(started).toEqual(['e'])
    order.endSpan(left)
    expect(started).toEqual(['e', 'b', 'both'])
  })

  it('of one key starts before those that were called later, whatever else it waited for', () => {
    const span = order.beginSpan('a', 'z')
    const read = order.beginRead('k')
    write('one', 'k')
    order.endSpan(span)
    write('two', 'k')
    order.endRead(read)
    expect(started).toEqual(['one', 'two'])
  })
})

it('a write of a span waits for reads in it and for spans that overlap it', () => {
  const [inside, outside] = [order.beginRead('m'), order.beginRead('z')]
  const [overlapping, beside] = [order.beginSpan('a', 'n'), order.beginSpan('p', 'q')]
  order.whenSpanFree('m', 'p', () => started.push('span'))
  order.endRead(outside)
  order.endSpan(beside)
  order.endSpan(overlapping)
  expect(started).toEqual([])
  order.endRead(inside)
  expect(started).toEqual(['span'])
})
