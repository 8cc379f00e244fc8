import { Buffer } from 'node:buffer'
import { describe, expect, it } from 'vitest'
import { decodeStoredValue, encodeStoredValue, writeStoredValue } from './stored-value.js'

const corrupt = expect.objectContaining({ code: 'CORRUPT' })

describe('a stored value', () => {
  it('keeps every version of up to 53 bits, and empty values', () => {
    for (const version of [1, 255, 256, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 3, 2 ** 53 - 1]) {
      for (const value of [Buffer.alloc(0), Buffer.from('value')]) {
        expect(decodeStoredValue(encodeStoredValue(version, value))).toEqual({ version, value })
      }
    }
  })

  it('is written into room that is larger', () => {
    const target = Buffer.alloc(20, 0xee)
    expect(writeStoredValue(target, 7, Buffer.from('ab'))).toBe(10)
    expect(decodeStoredValue(target.subarray(0, 10))).toEqual({ version: 7, value: Buffer.from('ab') })
    expect(target[10]).toBe(0xee)
  })

  it('of another format, cut off, without a version or with too large a one is refused', () => {
    const bytes = Buffer.from(encodeStoredValue(1, Buffer.from('x')))
    expect(() => decodeStoredValue(bytes.subarray(0, 7))).toThrow(corrupt)
    for (const [at, byte] of [
      [0, 0],
      [0, 2],
      [1, 0],
      [7, 0x20],
    ] as const) {
      const broken = Buffer.from(bytes)
      broken[at] = byte
      expect(() => decodeStoredValue(broken)).toThrow(corrupt)
    }
  })
})
