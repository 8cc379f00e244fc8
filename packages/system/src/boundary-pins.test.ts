import { CordilleraError, type Key } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { BoundaryPins, PINS_MAX } from './boundary-pins.js'
import type { TableRow } from './system-table.js'

function world() {
  let row: TableRow | undefined
  const table = {
    /** Before the next write somebody else makes one. */
    interfere: undefined as (() => Promise<void>) | undefined,
    get: async () => row,
    put: async (key: Key, value: unknown, ifVersion: number) => {
      const { interfere } = table
      table.interfere = undefined
      await interfere?.()
      if ((row?.version ?? 0) !== ifVersion) throw new CordilleraError('VERSION_MISMATCH')
      row = { key, version: ifVersion + 1, value: JSON.parse(JSON.stringify(value)) }
      return row.version
    },
  }
  return { table, size: () => JSON.stringify(row?.value).length }
}

describe('boundaries that people have put', () => {
  it('are remembered, by the next driver too, until a person takes one away', async () => {
    const { table } = world()
    const pins = new BoundaryPins(table)
    await pins.pin('d\x00\xffm')
    await pins.pin('d\x00\xffm')
    await pins.pin('d\x00t')
    await pins.unpin('d\x00t')
    await pins.unpin('d\x00z')
    const next = new BoundaryPins(table)
    expect(next.has('d\x00\xffm')).toBe(false)
    await next.refresh()
    for (const one of [pins, next]) {
      expect(['d\x00\xffm', 'd\x00t', 'd\x00z'].map((key) => one.has(key))).toEqual([true, false, false])
    }
  })

  it('are kept when two are written at once', async () => {
    const { table } = world()
    const pins = new BoundaryPins(table)
    table.interfere = () => new BoundaryPins(table).pin('a')
    await pins.pin('b')
    expect([pins.has('a'), pins.has('b')]).toEqual([true, true])
  })

  it('are forgotten, the oldest first, when there are too many, or too long ones', async () => {
    const { table, size } = world()
    const pins = new BoundaryPins(table)
    for (let i = 0; i <= PINS_MAX; i++) await pins.pin(`k${i}`)
    expect([pins.has('k0'), pins.has('k1'), pins.has(`k${PINS_MAX}`)]).toEqual([false, true, true])
    const long = (i: number) => `${i}`.padEnd(4_200, '\x00')
    for (let i = 0; i < 64; i++) await pins.pin(long(i))
    expect([pins.has('k1'), pins.has(long(0)), pins.has(long(63))]).toEqual([false, false, true])
    expect(size()).toBeLessThan(1 << 20)
  })
})
