import { InvariantViolation } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { spanContains } from './descriptor.js'
import { initialSpans } from './initial-spans.js'
import { isKeyspaceName, keyspacePrefix, keyspaceSpan, SYSTEM_SPAN, splitKeyspace, systemKey } from './keyspace.js'

describe('keyspaces', () => {
  it('have names of 1 to 64 harmless characters', () => {
    for (const name of ['a', 'default', 'Orders-2.eu_west', '0', 'x'.repeat(64)])
      expect(isKeyspaceName(name)).toBe(true)
    for (const name of ['', '-a', '.a', '_a', 'a/b', 'a\x00', 'a\n', 'é', 'x'.repeat(65)]) {
      expect(isKeyspaceName(name)).toBe(false)
    }
    expect(() => keyspacePrefix('a/b')).toThrow(InvariantViolation)
  })

  it('give their keys a prefix that is taken off again', () => {
    const key = `${keyspacePrefix('orders')}\x00a\x00`
    expect(key).toBe('orders\x00\x00a\x00')
    expect(splitKeyspace(key)).toEqual({ keyspace: 'orders', spread: false, key: '\x00a\x00' })
    expect(splitKeyspace(keyspacePrefix('orders'))).toEqual({ keyspace: 'orders', spread: false, key: '' })
  })

  it('do not contain system keys and bounds between keyspaces', () => {
    for (const key of ['', '\x00', '\x00node\x001', '\x01', 'orders', 'a/b\x00c'])
      expect(splitKeyspace(key)).toBeUndefined()
  })

  it('are disjoint although one name begins with another', () => {
    const short = keyspaceSpan('a')
    expect(spanContains(short, 'a\x00\xff\xff')).toBe(true)
    expect(spanContains(short, 'a-\x00x')).toBe(false)
    expect(spanContains(short, 'a.\x00')).toBe(false)
  })
})

describe('spread keyspaces', () => {
  it('lie beside the plain ones of their names, and hold none of their keys', () => {
    expect(keyspacePrefix('orders', true)).toBe('orders\x01')
    const [plain, spread] = [keyspaceSpan('orders'), keyspaceSpan('orders', true)]
    expect(spread).toEqual({ start: plain.end, end: 'orders\x02' })
    for (const key of ['orders\x00', 'orders\x00\x01', 'orders\x00\xff']) expect(spanContains(spread, key)).toBe(false)
    for (const key of ['orders-2\x01a', 'orders2\x00a']) expect(spanContains(spread, key)).toBe(false)
  })

  it('are told from plain ones by every key', () => {
    const split = (key: string) => splitKeyspace(key)
    expect(split('orders\x01fa\x00b')).toEqual({ keyspace: 'orders', spread: true, key: 'fa\x00b' })
    expect(split('orders\x00fa\x01b')).toEqual({ keyspace: 'orders', spread: false, key: 'fa\x01b' })
    expect(split('orders\x01')).toEqual({ keyspace: 'orders', spread: true, key: '' })
    for (const key of ['\x01', '\x01a', 'a/b\x01c']) expect(split(key)).toBeUndefined()
  })
})

describe('system keys', () => {
  it('lie in the system span and sort by number', () => {
    const keys = [2, 10, 9, 2 ** 53 - 1, 0].map((id) => systemKey('node', id)).sort()
    expect(keys).toEqual([0, 2, 9, 10, 2 ** 53 - 1].map((id) => systemKey('node', id)))
    for (const key of keys) expect(spanContains(SYSTEM_SPAN, key)).toBe(true)
  })

  it('cannot be confused by what is in their parts', () => {
    expect(() => systemKey('a\x00b')).toThrow(InvariantViolation)
    expect(() => systemKey('Ā')).toThrow(InvariantViolation)
    expect(() => systemKey(-1)).toThrow(InvariantViolation)
    expect(() => systemKey()).toThrow(InvariantViolation)
  })
})

describe('initial spans', () => {
  it('cover everything behind the system span exactly once, whatever their number', () => {
    for (const count of [1, 2, 3, 7, 16, 17, 100, 1000, 4096, 65_536]) {
      const spans = initialSpans(count)
      expect(spans).toHaveLength(count)
      expect(spans[0]!.start).toBe('\x01')
      expect(spans[count - 1]!.end).toBeNull()
      for (let i = 1; i < count; i++) {
        expect(spans[i]!.start).toBe(spans[i - 1]!.end)
        expect(spans[i]!.start > spans[i - 1]!.start).toBe(true)
      }
    }
  })

  it('are cut at single hex digits when there are 16', () => {
    const starts = initialSpans(16).map(({ start }) => start)
    expect(starts).toEqual(['\x01', ...Array.from('123456789abcdef', (digit) => `default\x00${digit}`)])
  })

  it('divide hex keys evenly', () => {
    for (const count of [3, 10, 1000]) {
      const starts = initialSpans(count).slice(1)
      const digits = starts[0]!.start.length - 'default\x00'.length
      starts.forEach(({ start }, i) => {
        expect(start.length).toBe('default\x00'.length + digits)
        const fraction = Number.parseInt(start.slice('default\x00'.length), 16) / 16 ** digits
        expect(Math.abs(fraction - (i + 1) / count)).toBeLessThan(1 / count / 1000)
      })
    }
  })

  it('refuse a number that is none', () => {
    for (const count of [0, -1, 1.5, 65_537, Number.NaN]) expect(() => initialSpans(count)).toThrow(InvariantViolation)
  })
})
