import { type Clock, type CordilleraError, type Key, prefixEnd, type Version } from '@cordillera/base'
import type { VersionedValue } from '@cordillera/ranges'
import type { Router } from '@cordillera/router'

/**
 * Records of the system range as JSON, read and written through the router. A record is written only over the version that its
 * writer has seen, so that of two who write one, one learns that it was late.
 */
export interface SystemTableParts {
  readonly router: () => Pick<Router, 'get' | 'put' | 'delete' | 'scan'>
  readonly clock: Clock
}

export interface TableRow {
  readonly key: Key
  readonly version: Version
  /** As parsed: whoever asked looks at it before it is believed. Undefined: no JSON. */
  readonly value: unknown
}

const TIMEOUT_MS = 5_000
const ROWS_MAX = 10_000
const BYTES_MAX = 16 << 20

export class SystemTable {
  readonly #parts: SystemTableParts

  constructor(parts: SystemTableParts) {
    this.#parts = parts
  }

  /** Undefined: there is none. Rejects as the router does. */
  get(key: Key): Promise<TableRow | undefined> {
    const { router, clock } = this.#parts
    return new Promise((resolve, reject) => {
      const done = (error: CordilleraError | undefined, found: VersionedValue | undefined): void => {
        if (error !== undefined) reject(error)
        else resolve(found && { key, version: found.version, value: parsed(found.value) })
      }
      router().get(key, clock.now() + TIMEOUT_MS, done)
    })
  }

  /** The new version. `ifVersion` 0: there is none yet. Rejects with `VERSION_MISMATCH`, and as the router does. */
  put(key: Key, value: unknown, ifVersion: Version): Promise<Version> {
    const { router, clock } = this.#parts
    const bytes = new TextEncoder().encode(JSON.stringify(value))
    return new Promise((resolve, reject) => {
      const done = (error: CordilleraError | undefined, version: Version): void => {
        if (error !== undefined) reject(error)
        else resolve(version)
      }
      router().put(key, bytes, clock.now() + TIMEOUT_MS, done, { ifVersion })
    })
  }

  delete(key: Key): Promise<void> {
    const { router, clock } = this.#parts
    return new Promise((resolve, reject) => {
      router().delete(key, clock.now() + TIMEOUT_MS, (error) => (error === undefined ? resolve() : reject(error)))
    })
  }

  /** Everything below the prefix, in order. */
  async list(prefix: Key): Promise<TableRow[]> {
    const { router, clock } = this.#parts
    const span = { start: prefix, end: prefixEnd(prefix)! }
    const plan = { ...span, reverse: false, limit: ROWS_MAX, bytesMax: BYTES_MAX, values: true, at: 0 }
    const { entries } = await router().scan(plan, clock.now() + TIMEOUT_MS)
    return entries.map(({ key, version, value }) => ({ key, version, value: parsed(value) }))
  }
}

/** Undefined: no JSON. */
export function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}
