import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isoTime } from './iso-time.js'

it('writes times as the platform does', () => {
  const times = fc.integer({
    min: Date.parse('0001-01-01T00:00:00Z'),
    max: Date.UTC(9999, 11, 31, 23, 59, 59, 999),
  })
  fc.assert(
    fc.property(times, (ms) => {
      expect(isoTime(ms)).toBe(new Date(ms).toISOString())
    }),
    { numRuns: 2_000 },
  )
  for (const text of ['2000-02-29T23:59:59.999Z', '1900-03-01T00:00:00.000Z', '1970-01-01T00:00:00.000Z']) {
    expect(isoTime(Date.parse(text))).toBe(text)
  }
  expect(isoTime(Date.parse('2026-11-25T15:36:00.421Z') + 0.7)).toBe('2026-11-25T15:36:00.421Z')
})
