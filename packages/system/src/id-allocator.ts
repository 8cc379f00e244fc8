import { type Clock, CordilleraError, type Version } from '@cordillera/base'
import { systemKey, type VersionedValue } from '@cordillera/ranges'
import type { Router } from '@cordillera/router'

/**
 * Ids that are given out once, ever, in the whole cluster: the next one of a name is kept in the system range, under
 * `next/<name>`, and taken by a conditional write. One whose taking has an unknown outcome is never used.
 */
export interface IdAllocatorParts {
  readonly router: () => Pick<Router, 'get' | 'put'>
  readonly clock: Clock
  readonly name: string
  /** The least id that the cluster's founding has left. The same on every node. */
  readonly first: number
}

const TIMEOUT_MS = 5_000

export class IdAllocator {
  readonly #parts: IdAllocatorParts

  constructor(parts: IdAllocatorParts) {
    this.#parts = parts
  }

  /**
   * The first of so many in a row. Rejects with `UNAVAILABLE`, `OVERLOADED`, `CLOSED` or `CORRUPT`; then nothing was taken, or
   * nobody has it.
   */
  async allocate(count = 1): Promise<number> {
    const deadlineMs = this.#parts.clock.now() + TIMEOUT_MS
    for (;;) {
      const known = await this.#read(deadlineMs)
      const id = known === undefined ? this.#parts.first : numberIn(known.value)
      if (await this.#tryTake(id + count, known?.version ?? 0, deadlineMs)) return id
    }
  }

  #read(deadlineMs: number): Promise<VersionedValue | undefined> {
    const { router, name } = this.#parts
    return new Promise((resolve, reject) => {
      router().get(systemKey('next', name), deadlineMs, (error, value) => (error ? reject(error) : resolve(value)))
    })
  }

  #tryTake(next: number, ifVersion: Version, deadlineMs: number): Promise<boolean> {
    const { router, name } = this.#parts
    const value = new TextEncoder().encode(String(next))
    const guard = { ifVersion }
    return new Promise((resolve, reject) => {
      const done = (error: CordilleraError | undefined): void => {
        // Somebody else was faster; or it was taken, and is nobody's.
        if (error?.code === 'VERSION_MISMATCH' || error?.code === 'OUTCOME_UNKNOWN') resolve(false)
        else if (error !== undefined) reject(error)
        else resolve(true)
      }
      router().put(systemKey('next', name), value, deadlineMs, done, guard)
    })
  }
}

function numberIn(bytes: Uint8Array): number {
  const id = Number(new TextDecoder().decode(bytes))
  if (!Number.isSafeInteger(id) || id < 1)
    throw new CordilleraError('CORRUPT', { detail: 'a counter of ids is no number' })
  return id
}
