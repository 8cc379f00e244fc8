import { CordilleraError, type Key } from '@cordillera/base'
import { systemKey } from '@cordillera/ranges'
import type { SystemTable } from './system-table.js'

/**
 * Where people have cut ranges: no merge that placement decides on takes such a boundary away; a merge that a person asks for does.
 *
 * One record of the system range. Of more than {@link PINS_MAX}, or of very long ones, those that were put first are forgotten: they
 * go on as boundaries like any other.
 */
const KEY = systemKey('pins')
export const PINS_MAX = 256
/** All of them together: the record stays well below the size of a value, however its bytes are escaped. */
const PIN_BYTES_MAX = 128 << 10
const TRIES_MAX = 10

export class BoundaryPins {
  readonly #table: Pick<SystemTable, 'get' | 'put'>
  #known: ReadonlySet<Key> = new Set()

  constructor(table: Pick<SystemTable, 'get' | 'put'>) {
    this.#table = table
  }

  /** Whether a range that begins there does so by somebody's word; as read last, or written since. */
  has(start: Key): boolean {
    return this.#known.has(start)
  }

  async refresh(): Promise<void> {
    this.#known = new Set(readPins((await this.#table.get(KEY))?.value))
  }

  /** Remembers it; once it resolves that is durable. */
  pin(start: Key): Promise<void> {
    return this.#change((pins) => (pins.includes(start) ? pins : withinLimits([...pins, start])))
  }

  unpin(start: Key): Promise<void> {
    return this.#change((pins) => (pins.includes(start) ? pins.filter((one) => one !== start) : pins))
  }

  async #change(change: (pins: readonly Key[]) => readonly Key[]): Promise<void> {
    for (let tries = 0; ; tries++) {
      const row = await this.#table.get(KEY)
      const pins = readPins(row?.value)
      const next = change(pins)
      try {
        if (next !== pins) await this.#table.put(KEY, next, row?.version ?? 0)
        this.#known = new Set(next)
        return
      } catch (error) {
        const isLate = error instanceof CordilleraError && error.code === 'VERSION_MISMATCH'
        if (!isLate || tries >= TRIES_MAX) throw error
      }
    }
  }
}

function withinLimits(pins: readonly Key[]): readonly Key[] {
  let bytes = 0
  let first = pins.length
  while (first > 0 && pins.length - first < PINS_MAX) {
    bytes += pins[first - 1]!.length
    if (bytes > PIN_BYTES_MAX) break
    first--
  }
  return pins.slice(first)
}

function readPins(value: unknown): readonly Key[] {
  return Array.isArray(value) ? value.filter((pin): pin is Key => typeof pin === 'string') : []
}
